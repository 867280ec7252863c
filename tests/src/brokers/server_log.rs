//! The output of a server, kept for failing tests.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use crate::failure::{Doing, Failure};
use crate::install::tail;

/// The output of a server. A clone reads the same log and keeps its directory.
#[derive(Debug, Clone)]
pub struct ServerLog {
    dir: Arc<TempDir>,
}

impl ServerLog {
    pub(crate) fn new() -> Result<Self, Failure> {
        let dir = tempfile::Builder::new()
            .prefix("nmfw-nats-server-")
            .tempdir()
            .doing("create a directory for nats-server")?;
        Ok(Self { dir: Arc::new(dir) })
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn path(&self) -> PathBuf {
        self.dir().join("server.log")
    }

    pub(crate) fn appender(&self) -> Result<File, Failure> {
        let path = self.path();
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .doing(format_args!("open {}", path.display()))
    }

    /// Returns the output so far; empty if it cannot be read.
    #[must_use]
    pub fn text(&self) -> String {
        fs::read(self.path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Returns the text without its first `start` bytes.
    pub(crate) fn text_from(&self, start: usize) -> String {
        self.text().get(start..).unwrap_or_default().to_owned()
    }

    /// Prints the end of the log into the output of the failing test.
    #[allow(
        clippy::print_stderr,
        reason = "the test runner shows it with the failed test"
    )]
    pub fn print(&self) {
        eprintln!("{}", self.shown());
    }

    pub(crate) fn shown(&self) -> String {
        let end = tail(&self.text(), 60);
        format!("--- end of the nats-server log\n{end}\n---")
    }
}
