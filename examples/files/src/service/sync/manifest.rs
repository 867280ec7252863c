//! The caller's files: the first phase of a `Sync`.

use std::collections::HashMap;

use nmfw::{Status, Streaming};

use crate::{
    files::{FileInfo, SyncRequest, sync_request::Part},
    names,
};

/// Bounds the memory for names.
const MAX_FILES: usize = 1_000_000;

#[derive(Debug, Default)]
pub(super) struct Manifest {
    pub(super) files: Vec<FileInfo>,
    pub(super) compare_content: bool,
    delete: bool,
}

pub(super) async fn read(requests: &mut Streaming<SyncRequest>) -> Result<Manifest, Status> {
    let Some(Part::Start(start)) = next(requests).await? else {
        return Err(Status::invalid_argument("a sync must begin with a start"));
    };
    let mut manifest = Manifest {
        files: Vec::new(),
        compare_content: start.compare_content,
        delete: start.delete,
    };
    loop {
        match next(requests).await? {
            Some(Part::Files(list)) => manifest.add(list.files)?,
            Some(Part::FilesEnd(_)) => break,
            Some(_) => {
                return Err(Status::invalid_argument(
                    "the list of files is not terminated",
                ));
            }
            None => {
                return Err(Status::invalid_argument(
                    "the sync ended before the end of the list of files",
                ));
            }
        }
    }
    manifest.check()?;
    Ok(manifest)
}

pub(super) async fn next(requests: &mut Streaming<SyncRequest>) -> Result<Option<Part>, Status> {
    match requests.message().await? {
        None => Ok(None),
        Some(SyncRequest { part: Some(part) }) => Ok(Some(part)),
        Some(SyncRequest { part: None }) => Err(Status::invalid_argument("a part is empty")),
    }
}

impl Manifest {
    fn add(&mut self, files: Vec<FileInfo>) -> Result<(), Status> {
        if self.files.len() + files.len() > MAX_FILES {
            return Err(Status::resource_exhausted(format!(
                "the list of files exceeds the limit of {MAX_FILES} files"
            )));
        }
        for file in &files {
            names::check(&file.name)?;
        }
        self.files.extend(files);
        Ok(())
    }

    /// Checks, before any change, that no name occurs twice or is also a directory of another name.
    fn check(&self) -> Result<(), Status> {
        let mut names: Vec<&str> = self.files.iter().map(|file| &*file.name).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let message = format!("the list of files contains {:?} twice", pair[0]);
            return Err(Status::invalid_argument(message));
        }
        Ok(())
    }

    /// Returns the existing entries that the caller does not have, for removal: first those where
    /// the caller has a directory, or that are below a name where the caller has a file, then all
    /// others.
    pub(super) fn not_among(&self, existing: &[FileInfo]) -> (Vec<String>, Vec<String>) {
        if !self.delete {
            return (Vec::new(), Vec::new());
        }
        // Every name, and every parent directory.
        let mut here: HashMap<&str, Kind> = HashMap::new();
        for file in &self.files {
            here.insert(&file.name, Kind::File);
            for directory in directories(&file.name) {
                here.entry(directory).or_insert(Kind::Directory);
            }
        }
        let is_file = |name: &str| matches!(here.get(name), Some(Kind::File));
        let extra = existing.iter().filter(|file| !is_file(&file.name));
        extra
            .map(|file| file.name.clone())
            .partition(|name| here.contains_key(&**name) || directories(name).any(is_file))
    }
}

enum Kind {
    File,
    Directory,
}

/// Returns the directories of a name: `a` and `a/b` for `a/b/c`.
fn directories(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').map(|(end, _)| &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<FileInfo> {
        let file = |name: &&str| FileInfo {
            name: (*name).to_owned(),
            ..FileInfo::default()
        };
        names.iter().map(file).collect()
    }

    fn manifest(names: &[&str], delete: bool) -> Manifest {
        Manifest {
            files: files(names),
            compare_content: false,
            delete,
        }
    }

    #[test]
    fn only_on_demand_is_anything_removed() {
        let existing = files(&["a", "b"]);
        let (first, last) = manifest(&["a"], false).not_among(&existing);
        assert!(first.is_empty() && last.is_empty());
        let (first, last) = manifest(&["a"], true).not_among(&existing);
        assert!(first.is_empty());
        assert_eq!(last, ["b"]);
    }

    #[test]
    fn what_is_in_the_way_goes_first() {
        let existing = files(&["dir/x/y", "file", "old", "same"]);
        let (first, last) = manifest(&["dir", "file/x", "same"], true).not_among(&existing);
        assert_eq!(first, ["dir/x/y", "file"]);
        assert_eq!(last, ["old"]);
    }

    #[test]
    fn a_name_comes_once() {
        manifest(&["a", "a/b", "b"], false).check().unwrap();
        manifest(&["a", "b", "a"], false).check().unwrap_err();
    }
}
