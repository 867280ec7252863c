//! The cache: files that can be deleted at any time.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use nmfw_schema::Cache;

/// Returns the folder, in which the one for schemas is.
pub(crate) fn folder() -> Option<PathBuf> {
    Some(Cache::default_folder()?.parent()?.to_owned())
}

/// Reads a file of at most `max` bytes; `None` if there is none.
pub(crate) fn read(path: &Path, max: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)
        .ok()?
        .take(limit)
        .read_to_end(&mut bytes)
        .ok()?;
    (bytes.len() <= max).then_some(bytes)
}

/// Writes a file whole, so that another process does not read a part of it. Without effect if that
/// is not possible, because everything works without the cache.
pub(crate) fn write(path: &Path, bytes: &[u8]) {
    let Some(folder) = path.parent() else {
        return;
    };
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let written = fs::create_dir_all(folder)
        .and_then(|()| fs::write(&part, bytes))
        .and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        _ = fs::remove_file(part);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn files_are_written_whole_and_read_up_to_their_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a").join("b");
        assert_eq!(read(&path, 10), None);
        write(&path, b"12345");
        assert_eq!(read(&path, 5).as_deref(), Some(&b"12345"[..]));
        assert_eq!(read(&path, 4), None);
        assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 1);
    }
}
