//! `files watch`: prints changes.

use std::time::Duration;

use nmfw::{Code, Status, Streaming};

use super::{
    Error,
    output::{self, line, note},
};
use crate::files::{
    Change, FilesClient, WatchRequest, WatchResponse, change::Kind, watch_response::Event,
};

/// Delay before a service is called again, and timeout for its answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Watches until interrupted. If the service becomes unavailable, waits for the next one, and
/// prints a note, because changes in between may be missed.
pub(crate) async fn watch(files: &FilesClient, directory: &str) -> Result<(), Error> {
    let mut began = false;
    loop {
        let ended = once(files, directory, &mut began).await?;
        // If there is no service at the start, that is an error.
        if !began || ended.code() != Code::Unavailable {
            return Err(ended.into());
        }
        loop {
            tokio::time::sleep(PAUSE).await;
            if files.wait_ready(PAUSE).await.is_ok() {
                break;
            }
        }
    }
}

/// Returns how the call ended; fails if the output cannot be written.
async fn once(files: &FilesClient, directory: &str, began: &mut bool) -> Result<Status, Error> {
    let request = WatchRequest {
        directory: directory.to_owned(),
    };
    let mut events = match files.watch(request).await {
        Ok(events) => events,
        Err(status) => return Ok(status),
    };
    loop {
        match event(&mut events).await {
            Ok(Event::Started(started)) => {
                let again = if *began {
                    " again, changes in between may be missed"
                } else {
                    ""
                };
                note(format_args!("watching{again} (files: {})", started.files));
                *began = true;
            }
            Ok(Event::Change(change)) => line(describe(&change))?,
            Err(status) => {
                if *began && status.code() == Code::Unavailable {
                    note(format_args!(
                        "waiting for the service: {}",
                        status.message()
                    ));
                }
                return Ok(status);
            }
        }
    }
}

async fn event(events: &mut Streaming<WatchResponse>) -> Result<Event, Status> {
    let response = events.message().await?;
    let response = response.ok_or_else(|| Status::unavailable("the service has ended the call"))?;
    let event = response.event;
    event.ok_or_else(|| Status::internal("the service sent an empty event"))
}

/// Formats a change as a line.
pub(crate) fn describe(change: &Change) -> String {
    let file = change.file.clone().unwrap_or_default();
    let name = output::name(&file);
    match change.kind() {
        Kind::Created => format!("created   {name}  {} bytes", file.size),
        Kind::Modified => format!("modified  {name}  {} bytes", file.size),
        Kind::Removed => format!("removed   {name}"),
        Kind::Unspecified => format!("changed   {name}"),
    }
}
