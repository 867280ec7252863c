//! The service [`streams`](crate::streams) in a separate process, which can be killed.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::failure::{Doing, Failure};

/// The time limit for answers of a service.
const LIMIT: Duration = Duration::from_secs(5);

/// The counts of a service's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Calls that have begun.
    pub started: u64,
    /// Calls that completed.
    pub finished: u64,
    /// Calls that were dropped before they completed.
    pub dropped: u64,
}

impl Counts {
    /// Returns the number of running calls.
    #[must_use]
    pub fn running(self) -> u64 {
        self.started - self.finished - self.dropped
    }
}

/// Returns the subject at which the process also serves the puppet.
#[must_use]
pub fn puppet_subject(subject: &str) -> String {
    format!("{subject}.puppet")
}

/// A process, killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    input: ChildStdin,
    output: mpsc::Receiver<String>,
}

impl Process {
    /// Starts a service. The program is `env!("CARGO_BIN_EXE_streams")`, which is defined only in
    /// tests.
    ///
    /// # Errors
    ///
    /// Fails if it does not start.
    pub fn serve(program: impl AsRef<Path>, url: &str, subject: &str) -> Result<Self, Failure> {
        Self::start(program.as_ref(), &["serve", url, subject])
    }

    /// Starts a client with `calls` calls of each kind that never end.
    ///
    /// # Errors
    ///
    /// Fails if it does not start.
    pub fn call(
        program: impl AsRef<Path>,
        url: &str,
        subject: &str,
        calls: u64,
    ) -> Result<Self, Failure> {
        let calls = calls.to_string();
        Self::start(program.as_ref(), &["call", url, subject, &calls])
    }

    fn start(program: &Path, args: &[&str]) -> Result<Self, Failure> {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .doing(format_args!("start {}", program.display()))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::new("a process without pipes"));
        };
        let (sender, lines) = mpsc::channel();
        // Ends with the process.
        std::thread::spawn(move || {
            let mut lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.try_for_each(|line| sender.send(line))
        });
        Ok(Self {
            child,
            input,
            output: lines,
        })
    }

    /// Returns the counts of the service's calls.
    ///
    /// # Errors
    ///
    /// Fails if it does not report them.
    pub fn counts(&mut self) -> Result<Counts, Failure> {
        writeln!(self.input).doing("query the service")?;
        let line = self
            .output
            .recv_timeout(LIMIT)
            .doing("read the answer of the service")?;
        serde_json::from_str(&line).doing(format_args!("read {line:?}"))
    }

    /// Returns its resident memory in MiB.
    ///
    /// # Errors
    ///
    /// Fails if the system does not report it.
    pub fn resident(&self) -> Result<u64, Failure> {
        let path = format!("/proc/{}/statm", self.child.id());
        let statm = std::fs::read_to_string(&path).doing(format_args!("read {path}"))?;
        let pages = statm.split_whitespace().nth(1).unwrap_or_default();
        let pages: u64 = pages.parse().doing(format_args!("read {statm:?}"))?;
        Ok(pages * 4096 / (1024 * 1024))
    }

    /// Sends `SIGKILL`. Returns when the process has ended.
    ///
    /// # Errors
    ///
    /// Fails if it could not be killed.
    pub fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill().doing("kill a process")?;
        self.child
            .wait()
            .map(drop)
            .doing("wait for a killed process")
    }

    /// Sends `SIGSTOP`: the process keeps its connections open, and does not answer.
    ///
    /// # Errors
    ///
    /// Fails if it does not run.
    pub fn freeze(&self) -> Result<(), Failure> {
        self.signal(Signal::STOP, "freeze a process")
    }

    /// Sends `SIGCONT`: the process continues.
    ///
    /// # Errors
    ///
    /// Fails if it does not run.
    pub fn thaw(&self) -> Result<(), Failure> {
        self.signal(Signal::CONT, "thaw a process")
    }

    fn signal(&self, signal: Signal, doing: &str) -> Result<(), Failure> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Failure::new("a process without an id"))?;
        kill_process(pid, signal).doing(doing)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.kill();
    }
}
