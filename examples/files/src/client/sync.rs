//! `files sync`: makes the service's files match a directory.

use std::path::Path;

use nmfw::{Status, StreamSender, Streaming};
use tokio::sync::mpsc;

use super::{Error, output::note, progress::Progress};
use crate::{
    blocking::blocking,
    content::Content,
    delta::{Delta, OldBlocks, Step},
    error::FileError,
    files::{
        CopyRange, FileInfo, FileList, FilesClient, SyncDone, SyncEnd, SyncRequest, SyncResponse,
        SyncStart, sync_request::Part, sync_response,
    },
    store::{Listing, Store},
};

/// Number of files per message of the list, which makes tens of KiB.
const FILES: usize = 500;
/// Maximum number of queued requests.
const QUEUE: usize = 4;
/// Maximum block size that a service may request.
const MAX_BLOCK: u32 = 4 * 1024 * 1024;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Remove files that are not in the directory.
    pub(crate) delete: bool,
    /// Also compare the content of files whose size and time are equal.
    pub(crate) compare_content: bool,
}

/// A file that the service requests, with the blocks of its old version.
struct Wanted {
    file: FileInfo,
    block_size: usize,
    old: OldBlocks,
}

type Requests = StreamSender<SyncRequest>;

/// Sends the differences.
pub(crate) async fn sync(
    files: &FilesClient,
    directory: &Path,
    options: Options,
) -> Result<SyncDone, Error> {
    let (store, listing) = {
        let directory = directory.to_owned();
        blocking(move || {
            let store = Store::open(&directory)?;
            let listing = store.list("")?;
            Ok((store, listing))
        })
        .await?
    };
    let Listing {
        files: local,
        skipped,
        unreadable,
    } = listing;
    // A file that cannot be read must not look like a removed one.
    if let Some(error) = unreadable.into_iter().next() {
        return Err(error.into());
    }
    for name in skipped {
        note(format_args!("skipped, because it is not a file: {name:?}"));
    }

    let progress = Progress::new("comparing", 0);
    let (requests, queue) = Streaming::channel(QUEUE);
    // Unbounded, so that answers are read even if requests stall: a failing service sends its error
    // after the wants. The queue is bounded by 1/2000 of the size of the differences.
    let (wants, wanted) = mpsc::unbounded_channel();
    let sending = async {
        send_list(&requests, &local, options).await;
        match send_files(&store, requests, wanted, &progress).await {
            Ok(()) => std::future::pending().await,
            Err(error) => error,
        }
    };
    let receiving = async {
        let responses = files.sync(queue).await?;
        receive(responses, &local, wants, &progress).await
    };
    // Both halves end with the call, or with a local file that cannot be read, which cancels the
    // call.
    tokio::select! {
        done = receiving => done,
        error = sending => Err(error),
    }
}

/// Formats the result as a line.
pub(crate) fn summary(done: &SyncDone) -> String {
    let (stored, unchanged, removed) = (done.stored, done.unchanged, done.removed);
    format!("{stored} sent, {unchanged} unchanged, {removed} removed")
}

async fn send_list(requests: &Requests, local: &[FileInfo], options: Options) {
    let start = SyncStart {
        delete: options.delete,
        compare_content: options.compare_content,
    };
    send(requests, Part::Start(start)).await;
    for files in local.chunks(FILES) {
        let files = files.to_vec();
        send(requests, Part::Files(FileList { files })).await;
    }
    send(requests, Part::FilesEnd(SyncEnd {})).await;
}

/// Sends the requested new versions until there are no more.
async fn send_files(
    store: &Store,
    requests: Requests,
    mut wanted: mpsc::UnboundedReceiver<Wanted>,
    progress: &Progress,
) -> Result<(), Error> {
    while let Some(Wanted {
        file,
        block_size,
        old,
    }) = wanted.recv().await
    {
        let mut content = {
            let (store, name) = (store.clone(), file.name.clone());
            blocking(move || store.read(&name)).await?
        };
        progress.message(file.name.clone());
        check_unchanged(&content, &file)?;
        let mut delta = Delta::new(old, block_size as u64);
        loop {
            let (rest, block) = content.read_block(block_size).await?;
            content = rest;
            if block.is_empty() {
                break;
            }
            progress.advance(block.len() as u64);
            for step in delta.push(block) {
                send(&requests, part(step)).await;
            }
        }
        if let Some(step) = delta.finish() {
            send(&requests, part(step)).await;
        }
        let checksum = blocking(|| content.finish()).await?;
        send(&requests, Part::FileEnd(checksum.to_bytes())).await;
    }
    Ok(())
}

/// Checks that the content still matches its announcement, for a clearer error than the service's.
fn check_unchanged(content: &Content, file: &FileInfo) -> Result<(), Error> {
    if content.info() == *file {
        return Ok(());
    }
    let name = file.name.clone();
    Err(FileError::Changed { name }.into())
}

fn part(step: Step) -> Part {
    match step {
        Step::Copy { offset, size } => Part::Copy(CopyRange { offset, size }),
        Step::Data(data) => Part::Data(data),
    }
}

/// If the call has ended, waits for [`sync`] to end, because the answers contain the reason.
async fn send(requests: &Requests, part: Part) {
    let request = SyncRequest { part: Some(part) };
    if requests.send(request).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn receive(
    mut responses: Streaming<SyncResponse>,
    local: &[FileInfo],
    wants: mpsc::UnboundedSender<Wanted>,
    progress: &Progress,
) -> Result<SyncDone, Error> {
    let mut wants = Some(wants);
    let mut unfinished: Option<(u64, Wanted)> = None;
    while let Some(response) = responses.message().await? {
        match response.part {
            Some(sync_response::Part::Want(want)) => {
                let mut wanted = match unfinished.take() {
                    Some((index, wanted)) if index == want.index => wanted,
                    Some(_) => return Err(broken("half a file")),
                    None => new(local, want.index, want.block_size)?,
                };
                if !wanted.old.extend(&want.blocks) {
                    return Err(broken("half a checksum"));
                }
                if want.more {
                    unfinished = Some((want.index, wanted));
                    continue;
                }
                progress.expect(wanted.file.size);
                let queue = wants
                    .as_ref()
                    .ok_or_else(|| broken("a message after the end"))?;
                // Fails only if the sending side has failed, which also ends this side.
                _ = queue.send(wanted);
            }
            Some(sync_response::Part::WantsEnd(_)) => wants = None,
            Some(sync_response::Part::Done(done)) => return Ok(done),
            None => return Err(broken("an empty answer")),
        }
    }
    Err(broken("an incomplete answer"))
}

fn new(local: &[FileInfo], index: u64, block_size: u32) -> Result<Wanted, Error> {
    let file = usize::try_from(index)
        .ok()
        .and_then(|index| local.get(index));
    let file = file.ok_or_else(|| broken("a file that does not exist"))?;
    if block_size == 0 || block_size > MAX_BLOCK {
        return Err(broken("an invalid block size"));
    }
    Ok(Wanted {
        file: file.clone(),
        block_size: block_size as usize,
        old: OldBlocks::default(),
    })
}

fn broken(what: &str) -> Error {
    Status::internal(format!("the service sent {what}")).into()
}
