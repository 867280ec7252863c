//! [`PartFile`]: a file that gets its name only once it is complete.

use std::{
    fs::File,
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use cap_std::fs::{Dir, OpenOptions};

use crate::{
    checksum::{Checksum, Hasher},
    content::BLOCK,
    error::FileError,
    files::FileInfo,
    names,
};

/// A file that is written under a temporary name, next to its target, and gets its own name once it
/// is complete, verified and on disk. If it is dropped before that, it is removed. All methods may
/// block.
pub(crate) struct PartFile {
    name: String,
    /// The target's directory, or its nearest existing ancestor, so that an aborted transfer does
    /// not leave empty directories either.
    parent: Dir,
    /// The target, relative to `parent`.
    target: PathBuf,
    /// The temporary name in `parent`.
    part: String,
    file: File,
    hasher: Hasher,
    size: u64,
}

impl PartFile {
    pub(super) fn create(root: &Dir, name: &str) -> Result<Self, FileError> {
        let error = |error| FileError::io("write", name)(error);
        if root.metadata(name).is_ok_and(|found| found.is_dir()) {
            return Err(error(ErrorKind::IsADirectory.into()));
        }
        let (parent, target) = nearest(root, Path::new(name)).map_err(error)?;
        let (part, file) = temporary(&parent).map_err(error)?;
        Ok(Self {
            name: name.to_owned(),
            parent,
            target,
            part,
            file,
            hasher: Hasher::new(),
            size: 0,
        })
    }

    pub(crate) fn write(&mut self, data: &[u8]) -> Result<(), FileError> {
        self.file
            .write_all(data)
            .map_err(FileError::io("write", &self.name))?;
        self.hasher.update(data);
        self.size += data.len() as u64;
        Ok(())
    }

    /// Copies a range of another file.
    pub(crate) fn copy(
        &mut self,
        mut from: &File,
        offset: u64,
        size: u64,
    ) -> Result<(), FileError> {
        let read_error = |error| FileError::io("read", &self.name)(error);
        from.seek(SeekFrom::Start(offset)).map_err(read_error)?;
        let mut left = size;
        let mut block = Vec::with_capacity(BLOCK);
        while left > 0 {
            block.clear();
            let read = from
                .take(left.min(BLOCK as u64))
                .read_to_end(&mut block)
                .map_err(FileError::io("read", &self.name))?;
            if read == 0 {
                let name = self.name.clone();
                return Err(FileError::Changed { name });
            }
            self.write(&block)?;
            left -= read as u64;
        }
        Ok(())
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the number of bytes written.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Gives the file its name, replacing an existing one, if its checksum is right.
    pub(crate) fn commit(
        mut self,
        size: u64,
        checksum: Checksum,
        modified: SystemTime,
    ) -> Result<FileInfo, FileError> {
        if self.size != size {
            return Err(FileError::Size {
                name: self.name.clone(),
                expected: size,
                actual: self.size,
            });
        }
        if self.hasher.clone().finish() != checksum {
            let name = self.name.clone();
            return Err(FileError::Checksum { name });
        }
        self.publish(modified)
            .map_err(FileError::io("write", &self.name))?;
        Ok(FileInfo {
            name: std::mem::take(&mut self.name),
            size,
            modified: Some(modified.into()),
        })
    }

    fn publish(&mut self, modified: SystemTime) -> std::io::Result<()> {
        self.file.set_modified(modified)?;
        // Syncs before the rename, because the name could otherwise exist without the content after
        // a power failure.
        self.file.sync_all()?;
        let parent = self.target.parent();
        let directory = parent.filter(|path| !path.as_os_str().is_empty());
        if let Some(directory) = directory {
            self.parent.create_dir_all(directory)?;
        }
        self.parent.rename(&self.part, &self.parent, &self.target)?;
        self.part.clear();
        sync_directory(&self.parent, directory.unwrap_or(Path::new(".")))
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.part.is_empty()
            && let Err(error) = self.parent.remove_file(&self.part)
        {
            tracing::warn!(file = self.part, %error, "cannot remove a temporary file");
        }
    }
}

/// Returns the nearest existing directory above `name`, and the path from there.
fn nearest(root: &Dir, name: &Path) -> std::io::Result<(Dir, PathBuf)> {
    for parent in name.ancestors().skip(1) {
        let at_root = parent.as_os_str().is_empty();
        let path = if at_root { Path::new(".") } else { parent };
        match root.open_dir(path) {
            Ok(dir) => {
                let target = name.strip_prefix(parent).unwrap_or(name);
                return Ok((dir, target.to_owned()));
            }
            Err(error) if error.kind() == ErrorKind::NotFound && !at_root => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::NotFound.into())
}

fn temporary(dir: &Dir) -> std::io::Result<(String, File)> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    loop {
        let name = names::part(NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut options = OpenOptions::new();
        match dir.open_with(&name, options.read(true).write(true).create_new(true)) {
            Ok(file) => return Ok((name, file.into_std())),
            // The file was left by a killed process, or by one on another machine with the same
            // number.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes the rename durable over a power failure. Windows has no equivalent.
fn sync_directory(parent: &Dir, path: &Path) -> std::io::Result<()> {
    if cfg!(unix) {
        parent.open(path)?.sync_all()?;
    }
    Ok(())
}
