//! Clients, services and tools that others wrote: nats-py, nats.js, the `nats` CLI, `nsc`, Go nmfw,
//! Prometheus, an OpenTelemetry collector.
//!
//! A machine need not have them. A test that cannot get one says so through [`or_not_run`], plainly
//! and past the capture of test output; it is never counted as a check that was made.

mod go_nmfw;
mod nats_cli;
mod node;
mod nsc;
mod process;
mod prometheus;
pub mod protoc;
mod python;
mod rotel;

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

pub use go_nmfw::{GoNmfw, GoService, go_nmfw};
pub use nats_cli::{NatsCli, nats_cli};
pub use node::{Node, node};
pub use nsc::{Nsc, nsc};
pub use process::{Output, Running};
pub use prometheus::{Programs as Prometheus, programs as prometheus};
pub use python::{Python, python};
pub use rotel::{CollectedSpan, Collector, Rotel, rotel};

use crate::failure::Failure;

/// A foreign tool cannot be had on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAvailable {
    /// Why, and where it helps, what to set or install.
    pub why: String,
}

impl NotAvailable {
    fn new(why: impl Into<String>) -> Self {
        Self { why: why.into() }
    }
}

impl fmt::Display for NotAvailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for NotAvailable {}

/// The tool, or `None` after a line `NOT RUN: <test>: <why>` on stderr.
///
/// ```no_run
/// # async fn test() {
/// use nmfw_tests::foreign::{or_not_run, python};
///
/// let Some(python) = or_not_run("nats_py_sees_it", python().await) else { return };
/// # }
/// ```
pub fn or_not_run<T>(test: &str, tool: Result<T, NotAvailable>) -> Option<T> {
    match tool {
        Ok(tool) => Some(tool),
        Err(NotAvailable { why }) => {
            // Not `eprintln!`, which the test runner keeps to itself when the test passes. One
            // write, so that parallel tests do not mix their lines.
            let line = format!(
                "NOT RUN: {test}: {}\n",
                why.trim_end().replace('\n', "\n    ")
            );
            let _ = std::io::stderr().write_all(line.as_bytes());
            None
        }
    }
}

/// A script in `tests/foreign`.
fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("foreign")
        .join(name)
}

/// Looks for a tool once in a process, where blocking for an installation is fine.
async fn found_once(
    cell: &'static OnceLock<Result<PathBuf, NotAvailable>>,
    find: fn() -> Result<PathBuf, NotAvailable>,
) -> Result<PathBuf, NotAvailable> {
    tokio::task::spawn_blocking(move || cell.get_or_init(find).clone())
        .await
        .map_err(|e| NotAvailable::new(format!("looking for it failed: {e}")))?
}

/// Turns what an installation reported into the reason for doing without.
fn not_installed(failure: &Failure) -> NotAvailable {
    NotAvailable::new(format!("installation failed: {failure}"))
}
