//! [`Cache`].

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::Schema;

/// A folder of schemas, each in a file that is named by its hash.
///
/// Several processes may use one folder at the same time. A file is written under another name and
/// then renamed, so that it is complete; its content is checked against the hash when it is read,
/// and a damaged one is removed.
///
/// All methods access the file system and block.
///
/// ```
/// use nmfw_schema::{Cache, Schema};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// let cache = Cache::open(folder)?; // Or `Cache::default_folder()`.
/// let schema = Schema::compile(["calc.proto"], ["../proto"])?;
/// cache.put(&schema)?;
/// assert!(cache.get(schema.hash()).is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    max_bytes: u64,
}

/// The end of a file's name, after the hash.
const EXTENSION: &str = "fds.zlib";

/// The beginning of the name of a file that is being written.
const UNFINISHED: &str = ".writing-";

/// The age after which an unfinished file belongs to a process that was killed.
const ABANDONED: Duration = Duration::from_secs(3_600);

impl Cache {
    /// The total size of the files in a new cache, in bytes: 64 MiB.
    pub const MAX_BYTES: u64 = 64 << 20;

    /// Returns the folder for the user's caches: `$XDG_CACHE_HOME/nmfw/schemas`, or
    /// `~/.cache/nmfw/schemas`; on macOS below `~/Library/Caches`, on Windows below
    /// `%LOCALAPPDATA%`.
    ///
    /// Yields nothing if the environment has no such folder.
    #[must_use]
    pub fn default_folder() -> Option<PathBuf> {
        // The specification ignores relative paths.
        let from = |name| {
            let folder = PathBuf::from(std::env::var_os(name)?);
            folder.is_absolute().then_some(folder)
        };
        let of_platform = || {
            if cfg!(windows) {
                from("LOCALAPPDATA")
            } else if cfg!(target_os = "macos") {
                Some(std::env::home_dir()?.join("Library/Caches"))
            } else {
                Some(std::env::home_dir()?.join(".cache"))
            }
        };
        let caches = from("XDG_CACHE_HOME").or_else(of_platform)?;
        Some(caches.join("nmfw").join("schemas"))
    }

    /// Opens a cache, and creates its folder if it does not exist.
    ///
    /// # Errors
    /// Fails if the folder cannot be created.
    pub fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder)?;
        Ok(Self {
            folder,
            max_bytes: Self::MAX_BYTES,
        })
    }

    /// Sets the total size of the files, in bytes. [`put`](Self::put) removes the files that were
    /// used longest ago until the size fits.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Returns the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the schema with a hash, as of [`Schema::hash`].
    ///
    /// Yields nothing if the cache does not have it, or only a damaged file, which is removed.
    #[must_use]
    pub fn get(&self, hash: &str) -> Option<Schema> {
        let path = self.path(hash)?;
        let mut file = File::open(&path).ok()?;
        let mut compressed = Vec::new();
        // Compressed data is at most a little larger than the data.
        let limit = Schema::MAX_BYTES as u64 + (1 << 20);
        let read = (&mut file).take(limit).read_to_end(&mut compressed);
        let schema = read
            .ok()
            .and_then(|_| Schema::from_compressed(&compressed).ok())
            .filter(|schema| schema.hash() == hash);
        match schema {
            // The order in which files are removed.
            Some(_) => _ = file.set_modified(SystemTime::now()),
            None => _ = fs::remove_file(&path),
        }
        schema
    }

    /// Adds a schema, and removes others if the cache is then too large.
    ///
    /// A schema that is larger than the cache is not added.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn put(&self, schema: &Schema) -> io::Result<()> {
        let compressed = schema.compressed();
        let size = compressed.len() as u64;
        let Some(path) = self.path(schema.hash()).filter(|_| size <= self.max_bytes) else {
            return Ok(());
        };
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "{UNFINISHED}{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let unfinished = self.folder.join(name);
        let written = write(&unfinished, compressed).and_then(|()| fs::rename(&unfinished, &path));
        if written.is_err() {
            _ = fs::remove_file(&unfinished);
        }
        written?;
        self.trim(&path)
    }

    /// Returns the path of a schema's file, if the hash is one.
    fn path(&self, hash: &str) -> Option<PathBuf> {
        let is_hash = hash.len() == 64
            && hash
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_hash.then(|| self.folder.join(format!("{hash}.{EXTENSION}")))
    }

    /// Removes the files that were used longest ago, except `kept`, and abandoned ones.
    fn trim(&self, kept: &Path) -> io::Result<()> {
        let now = SystemTime::now();
        let mut files = Vec::new();
        let mut total = 0_u64;
        for entry in fs::read_dir(&self.folder)? {
            // Another process may remove a file at the same time.
            let Ok(entry) = entry else { continue };
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let modified = metadata.modified().unwrap_or(now);
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(UNFINISHED) {
                if now
                    .duration_since(modified)
                    .is_ok_and(|age| age > ABANDONED)
                {
                    _ = fs::remove_file(entry.path());
                }
            } else if name.ends_with(EXTENSION) {
                total = total.saturating_add(metadata.len());
                files.push((modified, metadata.len(), entry.path()));
            }
        }
        files.sort();
        for (_, size, path) in files {
            if total <= self.max_bytes {
                break;
            }
            if path != kept {
                _ = fs::remove_file(path);
                total = total.saturating_sub(size);
            }
        }
        Ok(())
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    // A file that is complete by name should be so after a power failure, too.
    file.sync_data()
}
