//! Clients, services and tools in other languages: nats-py, nats.js, the `nats` CLI, `nsc`, Go nmfw,
//! Prometheus, an OpenTelemetry collector, protoc, protobuf's conformance runner.
//!
//! The tools are installed and run only with `NMFW_TEST=all`, and may then still be missing on a
//! machine. A test that does not run for that reason reports it through [`or_not_run`], past the
//! capture of test output.

#[cfg(unix)]
mod conformance;
mod go_nmfw;
mod nats_cli;
mod node;
mod nsc;
mod prometheus;
mod protoc;
mod python;
mod rotel;

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Once, OnceLock};

#[cfg(unix)]
pub use conformance::{Conformance, conformance};
pub use go_nmfw::{GoNmfw, GoService, go_nmfw};
pub use nats_cli::{NatsCli, nats_cli};
pub use node::{Node, node};
pub use nsc::{Nsc, nsc};
pub use prometheus::{Programs as Prometheus, programs as prometheus};
pub use protoc::{Protoc, protoc};
pub use python::{Python, python};
pub use rotel::{CollectedSpan, Collector, Rotel, rotel};

pub use crate::process::{Output, Running};

use crate::chosen;
use crate::failure::Failure;

/// The reason why a foreign tool is not available on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAvailable {
    /// The reason and, where it helps, the variable to set or the program to install.
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

/// Returns an error unless foreign tools are enabled by `NMFW_TEST=all`.
fn asked_for() -> Result<(), NotAvailable> {
    if chosen("all") {
        Ok(())
    } else {
        Err(NotAvailable::new("NMFW_TEST is not `all`"))
    }
}

/// Returns the tool, or `None` after printing a line `NOT RUN: <test>: <why>` to stderr. Without
/// `NMFW_TEST=all`, a single line is printed for all tests of the process.
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
            static SAID: Once = Once::new();
            if chosen("all") {
                let why = why.trim_end().replace('\n', "\n    ");
                say(&format!("NOT RUN: {test}: {why}\n"));
            } else {
                SAID.call_once(|| say(LEFT_OUT));
            }
            None
        }
    }
}

const LEFT_OUT: &str = "NOT RUN: tests with nats-py, nats.js, nats, nsc, Go nmfw, Prometheus, a collector \
                        or protoc, which NMFW_TEST=all runs\n";

/// Writes past the test runner, which captures `eprintln!` of passing tests. In one write, so that
/// parallel tests do not mix their lines.
fn say(line: &str) {
    _ = std::io::stderr().write_all(line.as_bytes());
}

/// Returns the path of a script in `tests/foreign`.
fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("foreign")
        .join(name)
}

/// Finds a tool once per process, on a thread where blocking for an installation is allowed.
async fn found_once(
    cell: &'static OnceLock<Result<PathBuf, NotAvailable>>,
    find: fn() -> Result<PathBuf, NotAvailable>,
) -> Result<PathBuf, NotAvailable> {
    asked_for()?;
    tokio::task::spawn_blocking(move || cell.get_or_init(find).clone())
        .await
        .map_err(|e| NotAvailable::new(format!("the search failed: {e}")))?
}

/// Converts the error of an installation into the reason why the tool is not available.
fn not_installed(failure: &Failure) -> NotAvailable {
    NotAvailable::new(format!("installation failed: {failure}"))
}
