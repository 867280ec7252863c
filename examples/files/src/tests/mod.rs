//! Tests of the commands against the service, in one process and without NATS, except for those in
//! `broker`.

mod broker;
mod get;
mod put;
mod sync;
mod watch;

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{files::FilesClient, service::FileService, store::Store};

/// A service, and a local directory.
struct Setup {
    temporary: TempDir,
    files: FilesClient,
    service: FileService,
}

impl Setup {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        fs::create_dir(temporary.path().join("served")).unwrap();
        fs::create_dir(temporary.path().join("local")).unwrap();
        let service = FileService::new(Store::open(&temporary.path().join("served")).unwrap());
        Self {
            temporary,
            files: FilesClient::local(service.clone()),
            service,
        }
    }

    fn served(&self, name: &str) -> PathBuf {
        self.temporary.path().join("served").join(name)
    }

    fn local(&self, name: &str) -> PathBuf {
        self.temporary.path().join("local").join(name)
    }

    /// Returns all files in the service's directory, temporary ones included.
    fn all_served(&self) -> Vec<String> {
        names(&self.served(""))
    }

    fn all_local(&self) -> Vec<String> {
        names(&self.local(""))
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Returns content whose blocks all differ.
fn content(size: usize) -> Vec<u8> {
    (0u32..).flat_map(u32::to_le_bytes).take(size).collect()
}

fn message(error: &crate::client::Error) -> String {
    crate::describe(&**error)
}
