//! [`Store`]: a directory of files, and nothing outside of it.

mod part;
mod walk;

use std::{
    io::{self, ErrorKind},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use cap_std::{ambient_authority, fs::Dir};

pub(crate) use self::{part::PartFile, walk::Listing};
use crate::{content::Content, error::FileError, names};

/// A temporary file without writes for this long is considered abandoned.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// A directory of files that no name and no link can lead out of. All methods may block.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    dir: Arc<Dir>,
}

impl Store {
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let dir = Dir::open_ambient_dir(path, ambient_authority())
            .map_err(FileError::io("open the directory", &path.to_string_lossy()))?;
        Ok(Self { dir: Arc::new(dir) })
    }

    /// Lists all files in a sub-directory, or everywhere if `directory` is empty.
    pub(crate) fn list(&self, directory: &str) -> Result<Listing, FileError> {
        names::check_directory(directory)?;
        walk::walk(&self.dir, directory)
    }

    pub(crate) fn read(&self, name: &str) -> Result<Content, FileError> {
        names::check(name)?;
        // Checked first, because opening a named pipe would wait for a writer.
        let metadata = self.dir.metadata(name);
        if !metadata.map_err(FileError::io("read", name))?.is_file() {
            let name = name.to_owned();
            return Err(FileError::NotAFile { name });
        }
        let file = self.dir.open(name).map_err(FileError::io("read", name))?;
        Content::new(name, file.into_std())
    }

    /// Creates a file that gets its name only when it is committed.
    pub(crate) fn create(&self, name: &str) -> Result<PartFile, FileError> {
        names::check(name)?;
        PartFile::create(&self.dir, name)
    }

    /// Sets the modification time of a file.
    pub(crate) fn touch(&self, name: &str, modified: SystemTime) -> Result<(), FileError> {
        names::check(name)?;
        let mut options = cap_std::fs::OpenOptions::new();
        let file = self
            .dir
            .open_with(name, options.write(true))
            .map_err(FileError::io("write", name))?;
        file.into_std()
            .set_modified(modified)
            .map_err(FileError::io("write", name))
    }

    /// Removes a file, and the directories that become empty.
    pub(crate) fn remove(&self, name: &str) -> Result<(), FileError> {
        names::check(name)?;
        match self.dir.remove_file(name) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(FileError::io("remove", name)(error));
            }
            _ => {}
        }
        let mut parent = Path::new(name).parent();
        while let Some(directory) = parent.filter(|path| !path.as_os_str().is_empty()) {
            // The directory is probably not empty. An empty one that cannot be removed is harmless.
            if self.dir.remove_dir(directory).is_err() {
                break;
            }
            parent = directory.parent();
        }
        Ok(())
    }

    /// Removes the temporary files of killed processes. Those of running processes that share the
    /// directory are recently written and stay.
    pub(crate) fn sweep(&self) -> Result<(), FileError> {
        let now = SystemTime::now();
        for part in walk::parts(&self.dir)? {
            let age = |modified| now.duration_since(modified).unwrap_or_default();
            if part.modified.is_some_and(|time| age(time) > ABANDONED) {
                tracing::info!(
                    file = part.path,
                    "removing the temporary file of a killed transfer"
                );
                // Another process may be sweeping too.
                _ = self.dir.remove_file(&part.path);
            }
        }
        Ok(())
    }
}

/// Returns whether the file disappeared while it was read, which is not an error.
fn vanished(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}
