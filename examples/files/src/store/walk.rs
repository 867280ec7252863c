//! Lists the files of a directory and its sub-directories.

use std::{io, time::SystemTime};

use cap_std::fs::{Dir, DirEntry, Metadata};

use super::vanished;
use crate::{error::FileError, files::FileInfo, names};

/// The content of a directory.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Ordered by name.
    pub(crate) files: Vec<FileInfo>,
    /// Skipped entries: links to directories or out of the store, special files, and names that are
    /// not valid here.
    pub(crate) skipped: Vec<String>,
    /// Entries that could not be read.
    pub(crate) unreadable: Vec<FileError>,
}

/// A temporary file.
pub(super) struct Part {
    pub(super) path: String,
    pub(super) modified: Option<SystemTime>,
}

/// Returns all files below a directory. Links to files are followed; links to directories are not,
/// because they could form a cycle.
pub(super) fn walk(root: &Dir, directory: &str) -> Result<Listing, FileError> {
    let mut listing = Listing::default();
    each(root, directory, |path, entry| match entry {
        Err(error) => listing.unreadable.push(FileError::io("read", path)(error)),
        Ok(_) if names::is_part(file_name(path)) => {}
        Ok(None) => listing.skipped.push(path.to_owned()),
        Ok(Some(entry)) => match file_info(root, path, entry) {
            Ok(Some(file)) if names::check(path).is_ok() => listing.files.push(file),
            Ok(_) => listing.skipped.push(path.to_owned()),
            Err(error) if vanished(&error) => {}
            Err(error) => listing.unreadable.push(FileError::io("read", path)(error)),
        },
    })?;
    listing.files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(listing)
}

/// Returns all temporary files.
pub(super) fn parts(root: &Dir) -> Result<Vec<Part>, FileError> {
    let mut parts = Vec::new();
    each(root, "", |path, entry| {
        if let Ok(Some(entry)) = entry
            && names::is_part(file_name(path))
        {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            parts.push(Part {
                path: path.to_owned(),
                modified: modified.ok().map(cap_std::time::SystemTime::into_std),
            });
        }
    })?;
    Ok(parts)
}

/// Calls `visit` with every entry that is not a directory, with an approximate name for a name that
/// is not Unicode, and with errors.
fn each(
    root: &Dir,
    start: &str,
    mut visit: impl FnMut(&str, io::Result<Option<&DirEntry>>),
) -> Result<(), FileError> {
    let mut directories = vec![start.to_owned()];
    while let Some(directory) = directories.pop() {
        let at_root = directory.is_empty();
        let entries = match root.read_dir(if at_root { "." } else { &directory }) {
            Ok(entries) => entries,
            // At the start of the walk, this is an error.
            Err(error) if directory == start => {
                let directory = if at_root { "." } else { start };
                return Err(FileError::io("list", directory)(error));
            }
            Err(error) if vanished(&error) => continue,
            Err(error) => {
                visit(&directory, Err(error));
                continue;
            }
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    visit(&directory, Err(error));
                    break;
                }
            };
            let file_name = entry.file_name();
            let name = file_name.to_string_lossy();
            let path = if at_root {
                name.into_owned()
            } else {
                format!("{directory}/{name}")
            };
            match entry.file_type() {
                Ok(_) if file_name.to_str().is_none() => visit(&path, Ok(None)),
                Ok(kind) if kind.is_dir() => directories.push(path),
                Ok(_) => visit(&path, Ok(Some(&entry))),
                Err(error) if vanished(&error) => {}
                Err(error) => visit(&path, Err(error)),
            }
        }
    }
    Ok(())
}

/// Returns `None` if it is not a file.
fn file_info(root: &Dir, path: &str, entry: &DirEntry) -> io::Result<Option<FileInfo>> {
    let link = entry.file_type()?.is_symlink();
    let metadata: Metadata = if link {
        match root.metadata(path) {
            Ok(metadata) => metadata,
            // The link is broken, or leads out of the store.
            Err(_) => return Ok(None),
        }
    } else {
        entry.metadata()?
    };
    if !metadata.is_file() {
        return Ok(None);
    }
    Ok(Some(FileInfo {
        name: path.to_owned(),
        size: metadata.len(),
        modified: Some(metadata.modified()?.into_std().into()),
    }))
}

fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}
