//! The commands against the service, in this process: without NATS, but for those in `broker`.

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

/// A service, and a directory of its caller.
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

    /// What is in the directory of the service, temporary files included.
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

/// Content of several blocks, none of which are the same.
fn content(size: usize) -> Vec<u8> {
    (0u32..).flat_map(u32::to_le_bytes).take(size).collect()
}

fn message(error: &crate::client::Error) -> String {
    crate::describe(&**error)
}
