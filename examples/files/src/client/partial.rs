//! [`Partial`]: an incomplete file, kept for another attempt.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read, Seek, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use bytes::Bytes;

use crate::{
    blocking::blocking,
    checksum::{Checksum, Hasher},
    content::BLOCK,
    error::FileError,
    files::Prefix,
};

const SUFFIX: &str = ".files-partial";

/// A file being received, next to its target: `NAME.files-partial`. Unlike a
/// [`PartFile`](crate::store::PartFile), it stays when the transfer is interrupted, and the next
/// transfer continues from there; the final checksum covers the whole file.
pub(super) struct Partial {
    out: PathBuf,
    path: PathBuf,
    size: u64,
    /// `None` before the first data, so that an unknown name leaves no file behind, and while an
    /// operation uses the file.
    state: Option<State>,
}

struct State {
    /// Locked, because two transfers into one file would mix their content.
    file: File,
    hasher: Hasher,
    size: u64,
}

impl Partial {
    /// Opens and reads the file of an earlier attempt, if there is one.
    pub(super) async fn open(out: &Path) -> Result<Self, FileError> {
        let mut path = OsString::from(out);
        path.push(SUFFIX);
        let path = PathBuf::from(path);
        let state = {
            let (out, path) = (out.to_owned(), path.clone());
            blocking(move || {
                if out.is_dir() {
                    return Err(error("write", &out)(ErrorKind::IsADirectory.into()));
                }
                State::open(&path)
            })
            .await?
        };
        Ok(Self {
            out: out.to_owned(),
            path,
            size: state.as_ref().map_or(0, |state| state.size),
            state,
        })
    }

    /// Returns the size of the received data.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Returns the prefix to send to the service.
    pub(super) fn prefix(&self) -> Option<Prefix> {
        let state = self.state.as_ref()?;
        let sha256 = state.hasher.clone().finish().to_bytes();
        let size = state.size;
        (size > 0).then_some(Prefix { size, sha256 })
    }

    /// Restarts with an empty file.
    pub(super) async fn restart(&mut self) -> Result<(), FileError> {
        let (state, path) = (self.state.take(), self.path.clone());
        let state = blocking(move || State::empty(state, &path)).await?;
        self.size = 0;
        self.state = Some(state);
        Ok(())
    }

    pub(super) async fn write(&mut self, data: Bytes) -> Result<(), FileError> {
        let Some(mut state) = self.state.take() else {
            return Err(self.broken());
        };
        let path = self.path.clone();
        let state = blocking(move || {
            state.file.write_all(&data).map_err(error("write", &path))?;
            state.hasher.update(&data);
            state.size += data.len() as u64;
            Ok(state)
        })
        .await?;
        self.size = state.size;
        self.state = Some(state);
        Ok(())
    }

    /// Gives the file its name if its checksum is right; otherwise removes it, because continuing
    /// from it would not help.
    pub(super) async fn finish(
        &mut self,
        size: u64,
        checksum: Checksum,
        modified: Option<SystemTime>,
    ) -> Result<(), FileError> {
        let Some(state) = self.state.take() else {
            return Err(self.broken());
        };
        let (path, out) = (self.path.clone(), self.out.clone());
        blocking(move || {
            if state.size != size || state.hasher.finish() != checksum {
                fs::remove_file(&path).map_err(error("remove", &path))?;
                let name = out.to_string_lossy().into_owned();
                return Err(FileError::Checksum { name });
            }
            if let Some(time) = modified {
                state
                    .file
                    .set_modified(time)
                    .map_err(error("write", &path))?;
            }
            // Syncs before the rename, because the name could otherwise exist without the content
            // after a power failure.
            state.file.sync_all().map_err(error("write", &path))?;
            fs::rename(&path, &out).map_err(error("write", &out))?;
            sync_directory(&out).map_err(error("write", &out))
        })
        .await
    }

    fn broken(&self) -> FileError {
        let error = io::Error::other("an earlier write has failed");
        FileError::io("write", &self.path.to_string_lossy())(error)
    }
}

impl State {
    fn open(path: &Path) -> Result<Option<Self>, FileError> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(error("read", path)(cause)),
        };
        lock(&file, path)?;
        // A transfer that ended between the two lines above has renamed the file, which must not be
        // changed any more.
        if !path.exists() {
            return Ok(None);
        }
        let mut state = Self::new(file);
        let mut block = vec![0; BLOCK];
        loop {
            match state.file.read(&mut block) {
                Ok(0) => return Ok(Some(state)),
                Ok(read) => {
                    state.hasher.update(&block[..read]);
                    state.size += read as u64;
                }
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(cause) => return Err(error("read", path)(cause)),
            }
        }
    }

    fn empty(state: Option<Self>, path: &Path) -> Result<Self, FileError> {
        let mut file = match state {
            Some(state) => state.file,
            None => {
                let mut options = OpenOptions::new();
                let file = options.read(true).write(true).create_new(true).open(path);
                let file = file.map_err(|cause| match cause.kind() {
                    ErrorKind::AlreadyExists => busy(path),
                    _ => error("write", path)(cause),
                })?;
                lock(&file, path)?;
                file
            }
        };
        file.set_len(0).map_err(error("write", path))?;
        file.rewind().map_err(error("write", path))?;
        Ok(Self::new(file))
    }

    fn new(file: File) -> Self {
        Self {
            file,
            hasher: Hasher::new(),
            size: 0,
        }
    }
}

fn lock(file: &File, path: &Path) -> Result<(), FileError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(busy(path)),
        // Not every file system supports locks.
        Err(TryLockError::Error(error)) => {
            tracing::debug!(%error, "not locked");
            Ok(())
        }
    }
}

fn busy(path: &Path) -> FileError {
    FileError::Busy {
        name: path.to_string_lossy().into_owned(),
    }
}

fn error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError + use<> {
    FileError::io(what, &path.to_string_lossy())
}

/// Makes the rename durable over a power failure. Windows has no equivalent.
fn sync_directory(out: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let parent = out.parent().filter(|path| !path.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}
