//! An instance of the puppet and of the streams service in its own process, which records the calls
//! that it runs, and can be stopped as container runtimes do.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{ChildStdout, Command},
    time::timeout,
};

use crate::{
    failure::{Doing, Failure},
    process::OwnedChild,
};

/// The metadata key with the id of a call. It stays the same when a call is sent again.
pub const CALL_ID: &str = "call-id";

/// The time limit for each step of an instance.
const LIMIT: Duration = Duration::from_secs(20);

/// The arguments of an instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    /// The URL of the broker.
    pub url: String,
    /// The file to which it writes the ids of its calls, each before its handler begins.
    pub journal: PathBuf,
    /// The grace period of handlers when it stops.
    pub grace: Duration,
    /// Whether the process, with its connection, stays when the server has ended.
    pub lingers: bool,
    /// Maximum number of concurrent handlers per method; otherwise the default.
    pub concurrency: Option<usize>,
    /// Maximum number of waiting calls per method; otherwise the default.
    pub queue: Option<usize>,
}

/// The reports of an instance on its standard output, one line of JSON each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The instance accepts calls.
    Serving,
    /// The instance is stopping while these handlers are running.
    Stopping {
        /// Handlers of calls with one message each way.
        unary: u64,
        /// Handlers of streams.
        streams: u64,
    },
    /// The server of the instance has ended.
    Stopped {
        /// Number of handlers, including those of streams, that did not complete.
        dropped: u64,
    },
}

/// A process, killed when dropped.
#[derive(Debug)]
pub struct Instance {
    child: OwnedChild,
    reports: Lines<BufReader<ChildStdout>>,
    journal: PathBuf,
}

impl Instance {
    /// Starts a process, and returns when it serves. The program is
    /// `env!("CARGO_BIN_EXE_instance")`, which is defined only in tests.
    ///
    /// # Errors
    ///
    /// Fails if it does not start.
    pub async fn start(program: impl AsRef<Path>, orders: &Orders) -> Result<Self, Failure> {
        let orders_text = serde_json::to_string(orders).doing("write orders")?;
        let mut command = Command::new(program.as_ref());
        command.arg(orders_text).stdout(Stdio::piped());
        let mut child = OwnedChild::spawn(&mut command).doing("start an instance")?;
        let output = child.stdout.take();
        let output = output.ok_or_else(|| Failure::new("an instance without output"))?;
        let mut instance = Self {
            child,
            reports: BufReader::new(output).lines(),
            journal: orders.journal.clone(),
        };
        match instance.report().await? {
            Report::Serving => Ok(instance),
            other => Err(Failure::new(format!(
                "{other:?} instead of the report that it serves"
            ))),
        }
    }

    /// Returns its next report.
    ///
    /// # Errors
    ///
    /// Fails if there is none.
    pub async fn report(&mut self) -> Result<Report, Failure> {
        let line = timeout(LIMIT, self.reports.next_line());
        let line = line.await.doing("wait for a report of an instance")?;
        let line = line.doing("read a report of an instance")?;
        let line = line.ok_or_else(|| Failure::new("an instance ended without a report"))?;
        serde_json::from_str(&line).doing(format_args!("read {line:?}"))
    }

    /// Sends `SIGTERM`.
    ///
    /// # Errors
    ///
    /// Fails if it does not run.
    pub fn terminate(&self) -> Result<(), Failure> {
        let pid = self.id()?;
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Failure::new("an instance without an id"))?;
        kill_process(pid, Signal::TERM).doing("terminate an instance")
    }

    /// Sends `SIGKILL`. Returns when the process has ended.
    ///
    /// # Errors
    ///
    /// Fails if it could not be killed.
    pub async fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill().await.doing("kill an instance")
    }

    /// Waits for the process to end by itself; returns `None` if it does not within `limit`.
    ///
    /// # Errors
    ///
    /// Fails if the system does not report it.
    pub async fn exit(&mut self, limit: Duration) -> Result<Option<ExitStatus>, Failure> {
        match timeout(limit, self.child.wait()).await {
            Ok(exit) => exit.map(Some).doing("wait for an instance"),
            Err(_) => Ok(None),
        }
    }

    /// Returns its resident memory in KiB.
    ///
    /// # Errors
    ///
    /// Fails if the system does not report it.
    pub fn resident(&self) -> Result<u64, Failure> {
        resident(&self.id()?.to_string())
    }

    fn id(&self) -> Result<u32, Failure> {
        let id = self.child.id();
        id.ok_or_else(|| Failure::new("the instance has ended"))
    }

    /// Adds the calls that it has run so far to the runs of each call.
    ///
    /// # Errors
    ///
    /// Fails if the journal cannot be read.
    pub fn add_runs(&self, runs: &mut HashMap<String, u32>) -> Result<(), Failure> {
        for id in self.journal()?.lines() {
            *runs.entry(id.to_owned()).or_default() += 1;
        }
        Ok(())
    }

    /// Returns the number of its calls whose ids begin with `prefix`.
    ///
    /// # Errors
    ///
    /// Fails if the journal cannot be read.
    pub fn has_run(&self, prefix: &str) -> Result<usize, Failure> {
        let journal = self.journal()?;
        Ok(journal.lines().filter(|id| id.starts_with(prefix)).count())
    }

    fn journal(&self) -> Result<String, Failure> {
        fs::read_to_string(&self.journal).doing("read a journal")
    }
}

/// Returns the resident memory of a process in KiB, by its id or `self`.
///
/// # Errors
///
/// Fails if the system does not report it.
pub fn resident(process: &str) -> Result<u64, Failure> {
    let path = format!("/proc/{process}/statm");
    let statm = fs::read_to_string(&path).doing(format_args!("read {path}"))?;
    let pages = statm.split_whitespace().nth(1).unwrap_or_default();
    let pages: u64 = pages.parse().doing(format_args!("read {statm:?}"))?;
    Ok(pages * 4)
}
