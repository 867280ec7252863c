//! The files that the service requests: the second phase of a `Sync`.

use std::collections::HashMap;

use nmfw::Status;
use tokio::sync::mpsc;

use super::{Answers, Manifest, answer};
use crate::{
    blocking::blocking,
    checksum::Checksum,
    content::{BLOCK, Content},
    error::FileError,
    files::{FileInfo, SyncEnd, Want, sync_response::Part},
    store::Store,
};

/// Number of block checksums per answer: 32 KiB.
const BLOCKS: usize = 1024;

/// Requests all files that are missing or different. Returns their number.
pub(super) async fn send(
    store: &Store,
    manifest: &Manifest,
    existing: &[FileInfo],
    answers: &Answers,
    planned: &mpsc::UnboundedSender<usize>,
) -> Result<u64, Status> {
    let existing: HashMap<_, _> = existing.iter().map(|file| (&*file.name, file)).collect();
    let mut wanted = 0;
    for (index, file) in manifest.files.iter().enumerate() {
        let here = existing.get(&*file.name);
        let looks_the_same =
            here.is_some_and(|here| here.size == file.size && here.modified == file.modified);
        if looks_the_same && !manifest.compare_content {
            continue;
        }
        wanted += 1;
        // Fails only if the receiving half has failed, which ends the call.
        _ = planned.send(index);
        let mut old = match here {
            None => None,
            Some(here) => open(store, here.name.clone()).await?,
        };
        loop {
            let (blocks, rest) = match old {
                None => (Vec::new(), None),
                Some(old) => blocking(|| checksums(old)).await?,
            };
            let want = Want {
                index: index as u64,
                block_size: BLOCK as u32,
                blocks: blocks.into(),
                more: rest.is_some(),
            };
            answer(answers, Part::Want(want)).await?;
            if rest.is_none() {
                break;
            }
            old = rest;
        }
    }
    answer(answers, Part::WantsEnd(SyncEnd {})).await?;
    Ok(wanted)
}

/// Returns `None` if the file has been removed meanwhile.
async fn open(store: &Store, name: String) -> Result<Option<Content>, Status> {
    let store = store.clone();
    let opened = blocking(move || match store.read(&name) {
        Ok(content) => Ok(Some(content)),
        Err(FileError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error),
    });
    Ok(opened.await?)
}

/// Returns the checksums of the next blocks, and the file if it has more of them.
fn checksums(mut file: Content) -> Result<(Vec<u8>, Option<Content>), FileError> {
    let mut sums = Vec::new();
    for _ in 0..BLOCKS {
        let block = file.read(BLOCK)?;
        if block.is_empty() {
            break;
        }
        sums.extend_from_slice(Checksum::of(&block).as_bytes());
    }
    let more = file.left() > 0;
    Ok((sums, more.then_some(file)))
}
