//! The new versions: the third phase of a `Sync`.

use std::time::SystemTime;

use bytes::Bytes;
use nmfw::{Status, Streaming};
use tokio::sync::mpsc;

use super::{
    super::{modified, put},
    FileService, Manifest, manifest,
};
use crate::{
    blocking::blocking,
    checksum::Checksum,
    content::{BLOCK, Content},
    error::FileError,
    files::{CopyRange, FileInfo, SyncRequest, sync_request::Part},
    store::{PartFile, Store},
};

/// Stores the planned files until the plan ends. Returns their number.
pub(super) async fn receive(
    service: &FileService,
    manifest: &Manifest,
    mut requests: Streaming<SyncRequest>,
    mut plan: mpsc::UnboundedReceiver<usize>,
) -> Result<u64, Status> {
    let mut stored = 0;
    while let Some(index) = plan.recv().await {
        let file = &manifest.files[index];
        let mut patch = Patch::new(service.store.clone(), file.clone(), modified(file)?);
        let changed = loop {
            let step = match manifest::next(&mut requests).await? {
                Some(Part::Copy(range)) => Step::Copy(range),
                Some(Part::Data(data)) => Step::Data(data),
                Some(Part::FileEnd(sum)) => Step::End(put::checksum(&sum)?),
                Some(_) => {
                    return Err(Status::invalid_argument(
                        "a message of the sync is not a part of a file",
                    ));
                }
                None => {
                    let message = format!("the sync ended before {:?} was complete", file.name);
                    return Err(Status::invalid_argument(message));
                }
            };
            patch = match step {
                Step::Copy(range) => blocking(move || patch.copy(range).map(|()| patch)).await?,
                Step::Data(data) => blocking(move || patch.write(&data).map(|()| patch)).await?,
                Step::End(checksum) => break blocking(move || patch.finish(checksum)).await?,
            };
        };
        if changed {
            tracing::info!(file = file.name, size = file.size, "stored");
            stored += 1;
        }
        service.doings.changed();
    }
    Ok(stored)
}

enum Step {
    Copy(CopyRange),
    Data(Bytes),
    End(Checksum),
}

/// A new version being built. All of its methods may block.
struct Patch {
    store: Store,
    file: FileInfo,
    modified: SystemTime,
    /// The old version, opened on first use.
    old: Option<Content>,
    /// The new version, created by the first step or by the end of an empty file.
    part: Option<PartFile>,
    /// Whether the new version equals the old one so far. If it does until the end, at most the
    /// time differs, and the file is kept.
    same: bool,
}

impl Patch {
    fn new(store: Store, file: FileInfo, modified: SystemTime) -> Self {
        Self {
            store,
            file,
            modified,
            old: None,
            part: None,
            same: false,
        }
    }

    fn copy(&mut self, range: CopyRange) -> Result<(), FileError> {
        let old = match self.old.take() {
            Some(old) => old,
            None => self.store.read(&self.file.name)?,
        };
        let whole = range.offset == 0 && range.size == old.size() && old.size() == self.file.size;
        if whole && self.part.is_none() && !self.same {
            self.same = true;
            self.old = Some(old);
            return Ok(());
        }
        let end = range.offset.checked_add(range.size);
        if end.is_none_or(|end| end > old.size()) {
            // The announced old version was longer.
            let name = self.file.name.clone();
            return Err(FileError::Changed { name });
        }
        self.part(range.size)?
            .copy(old.file(), range.offset, range.size)?;
        self.old = Some(old);
        Ok(())
    }

    fn write(&mut self, data: &[u8]) -> Result<(), FileError> {
        self.part(data.len() as u64)?.write(data)
    }

    /// Returns the new version, if its announced size leaves room for `more` bytes.
    fn part(&mut self, more: u64) -> Result<&mut PartFile, FileError> {
        let written = match &self.part {
            _ if self.same => self.file.size,
            Some(part) => part.size(),
            None => 0,
        };
        let actual = written.saturating_add(more);
        if actual > self.file.size {
            return Err(FileError::Size {
                name: self.file.name.clone(),
                expected: self.file.size,
                actual,
            });
        }
        let part = match self.part.take() {
            Some(part) => part,
            None => self.store.create(&self.file.name)?,
        };
        Ok(self.part.insert(part))
    }

    /// Finishes the file; returns whether its content has changed.
    fn finish(mut self, checksum: Checksum) -> Result<bool, FileError> {
        if self.file.size == 0 && self.part.is_none() {
            // An empty file has no copy step that would show that it is unchanged.
            self.old = self.store.read(&self.file.name).ok();
            self.same = self.old.as_ref().is_some_and(|old| old.size() == 0);
        }
        if self.same {
            self.check_old(checksum)?;
            self.store.touch(&self.file.name, self.modified)?;
            return Ok(false);
        }
        self.part(0)?;
        if let Some(part) = self.part.take() {
            part.commit(self.file.size, checksum, self.modified)?;
        }
        Ok(true)
    }

    /// Checks that the kept file still equals the caller's.
    fn check_old(&mut self, checksum: Checksum) -> Result<(), FileError> {
        let name = self.file.name.clone();
        let Some(mut old) = self.old.take() else {
            return Err(FileError::Changed { name });
        };
        while !old.read(BLOCK)?.is_empty() {}
        if old.finish()? != checksum {
            return Err(FileError::Changed { name });
        }
        Ok(())
    }
}
