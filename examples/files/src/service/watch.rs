//! `Watch`: tells what changes.
//!
//! Every call compares the directory as it is with what it has told, once in a while, and at once
//! when this service itself changed something. So there is no queue that could overflow: for a
//! caller that reads slowly, changes become one. And unlike the events of an operating system, this
//! works on network file systems and in containers, and has no limit on directories. What it costs
//! is a walk through the directory for each caller and interval.

use std::{collections::VecDeque, time::Duration};

use futures_util::{StreamExt, stream};
use nmfw::{Code, Context, Status, Stream};
use tokio::{sync::watch, time::timeout};

use super::list;
use crate::{
    changes::Snapshot,
    files::{Change, Started, WatchRequest, WatchResponse, watch_response::Event},
    store::Store,
};

/// How often to look for changes that others make.
const INTERVAL: Duration = Duration::from_millis(500);

/// Tells watching calls that this service itself has changed something.
#[derive(Debug, Default)]
pub(super) struct Doings(watch::Sender<()>);

impl Doings {
    /// Has every watching call look at once.
    pub(super) fn changed(&self) {
        self.0.send_modify(|()| {});
    }
}

struct Watching {
    store: Store,
    ctx: Context,
    doings: watch::Receiver<()>,
    directory: String,
    told: Snapshot,
    changes: VecDeque<Change>,
}

pub(super) async fn watch(
    store: &Store,
    doings: &Doings,
    ctx: Context,
    request: WatchRequest,
) -> Result<impl Stream<Item = Result<WatchResponse, Status>> + Send + 'static, Status> {
    // Before the first look, so that nothing falls between.
    let doings = doings.0.subscribe();
    let told = Snapshot::new(list(store, request.directory.clone()).await?.files);
    let started = Event::Started(Started {
        files: told.len() as u64,
    });
    let watching = Watching {
        store: store.clone(),
        ctx,
        doings,
        directory: request.directory,
        told,
        changes: VecDeque::new(),
    };
    let changes = stream::try_unfold(watching, |mut watching| async {
        let change = watching.next().await?;
        Ok(Some((response(Event::Change(change)), watching)))
    });
    Ok(stream::iter([Ok(response(started))]).chain(changes))
}

fn response(event: Event) -> WatchResponse {
    WatchResponse { event: Some(event) }
}

impl Watching {
    async fn next(&mut self) -> Result<Change, Status> {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return Ok(change);
            }
            self.wait().await?;
            let files = match list(&self.store, self.directory.clone()).await {
                Ok(listing) => listing.files,
                // The directory is gone, and may come back.
                Err(status) if status.code() == Code::NotFound => Vec::new(),
                Err(status) => return Err(status),
            };
            let now = Snapshot::new(files);
            self.changes = self.told.changes_to(&now);
            self.told = now;
        }
    }

    /// Waits until it is time to look again.
    async fn wait(&mut self) -> Result<(), Status> {
        tokio::select! {
            // The caller is to know that there may be more, elsewhere or later.
            () = self.ctx.stopping() => Err(Status::unavailable("the service stops")),
            // Both the time and a change end the wait.
            _ = timeout(INTERVAL, self.doings.changed()) => Ok(()),
        }
    }
}
