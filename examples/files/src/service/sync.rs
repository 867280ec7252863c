//! `Sync`: makes the service's files match the caller's.

mod manifest;
mod plan;
mod receive;

use futures_util::{StreamExt, stream};
use nmfw::{Context, Status, Stream, StreamSender, Streaming};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use self::manifest::Manifest;
use super::{FileService, list};
use crate::{
    blocking::blocking,
    files::{SyncDone, SyncRequest, SyncResponse, sync_response::Part},
};

/// Maximum number of queued answers.
const QUEUE: usize = 8;

type Answers = StreamSender<SyncResponse>;

/// Runs in a separate task, which ends with the stream: it has to read requests even while the
/// caller does not read the answers; otherwise both sides could wait for each other.
pub(super) fn sync(
    service: FileService,
    ctx: Context,
    requests: Streaming<SyncRequest>,
) -> impl Stream<Item = Result<SyncResponse, Status>> + Send + 'static {
    let (answers, queue) = Streaming::channel(QUEUE);
    let work = async move {
        if let Err(status) = run(&service, requests, &answers).await {
            answers.fail(status).await;
        }
    };
    let task = AbortOnDropHandle::new(tokio::spawn(work.instrument(ctx.span())));
    stream::unfold((queue, task), |(mut queue, task)| async {
        let answer = queue.next().await?;
        Some((answer, (queue, task)))
    })
}

async fn run(
    service: &FileService,
    mut requests: Streaming<SyncRequest>,
    answers: &Answers,
) -> Result<(), Status> {
    let manifest = manifest::read(&mut requests).await?;
    let existing = list(&service.store, String::new()).await?.files;
    let (in_the_way, other) = manifest.not_among(&existing);
    let mut removed = 0;
    remove(service, in_the_way, &mut removed).await?;

    // Unbounded, but no larger than the manifest, so that the sending half never waits for the
    // receiving half.
    let (planned, plan) = mpsc::unbounded_channel();
    let plan_all = async {
        let send = plan::send(&service.store, &manifest, &existing, answers, &planned);
        let wanted = send.await?;
        // Marks the end of the plan for the receiving half.
        drop(planned);
        Ok(wanted)
    };
    let receive_all = receive::receive(service, &manifest, requests, plan);
    let (wanted, stored) = tokio::try_join!(plan_all, receive_all)?;

    remove(service, other, &mut removed).await?;
    let total = manifest.files.len() as u64;
    let done = SyncDone {
        stored,
        unchanged: total - stored,
        removed,
    };
    tracing::info!(wanted, stored, removed, "synchronized");
    answer(answers, Part::Done(done)).await
}

async fn remove(
    service: &FileService,
    names: Vec<String>,
    removed: &mut u64,
) -> Result<(), Status> {
    for name in names {
        let store = service.store.clone();
        blocking(move || store.remove(&name)).await?;
        *removed += 1;
        service.doings.changed();
    }
    Ok(())
}

async fn answer(answers: &Answers, part: Part) -> Result<(), Status> {
    answers.send(SyncResponse { part: Some(part) }).await
}
