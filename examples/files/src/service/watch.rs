//! `Watch`: reports changes.
//!
//! Every call compares the directory with its last report, periodically and at once after a change
//! by this service. There is no queue that could overflow: for a slow caller, changes are merged.
//! Unlike the events of an operating system, this works on network file systems and in containers,
//! and has no limit on directories. It costs one scan of the directory per caller and interval.

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

/// Interval of scans for changes from outside.
const INTERVAL: Duration = Duration::from_millis(500);

/// Notifies watching calls of changes by this service.
#[derive(Debug, Default)]
pub(super) struct Doings(watch::Sender<()>);

impl Doings {
    /// Makes every watching call scan at once.
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
    // Subscribed before the first scan, so that no change is missed.
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
                // The directory was removed and may be created again.
                Err(status) if status.code() == Code::NotFound => Vec::new(),
                Err(status) => return Err(status),
            };
            let now = Snapshot::new(files);
            self.changes = self.told.changes_to(&now);
            self.told = now;
        }
    }

    /// Waits until the next scan.
    async fn wait(&mut self) -> Result<(), Status> {
        tokio::select! {
            // An error, so that the caller continues with another instance.
            () = self.ctx.stopping() => Err(Status::unavailable("the service is stopping")),
            // Either the interval or a change ends the wait.
            _ = timeout(INTERVAL, self.doings.changed()) => Ok(()),
        }
    }
}
