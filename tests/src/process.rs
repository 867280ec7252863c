//! Running programs, and their output.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::failure::{Doing, Failure};

/// The time that a program may take for one command.
const RUN_LIMIT: Duration = Duration::from_secs(30);

/// The time that a service may take to start or to stop.
const SERVICE_LIMIT: Duration = Duration::from_secs(20);

/// The time that the system may take to end a killed process.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// A child process that is killed when dropped, and has ended then.
#[derive(Debug)]
pub struct OwnedChild(Child);

impl OwnedChild {
    /// Starts a command.
    ///
    /// # Errors
    ///
    /// Fails if the command cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        command.spawn().map(Self)
    }
}

impl Deref for OwnedChild {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for OwnedChild {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for OwnedChild {
    fn drop(&mut self) {
        // An error means that the process has ended.
        _ = self.0.start_kill();
        let end = std::time::Instant::now() + KILL_LIMIT;
        while matches!(self.0.try_wait(), Ok(None)) && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The output of a program, and its exit status.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit status.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

impl Output {
    /// Returns the output, if the program succeeded.
    ///
    /// # Errors
    ///
    /// Fails with the exit status and the whole output.
    pub fn success(self) -> Result<Self, Failure> {
        if self.status.success() {
            return Ok(self);
        }
        Err(Failure::new(format!(
            "{}\n{}{}",
            self.status, self.stdout, self.stderr
        )))
    }

    /// Parses the JSON on the standard output of a successful program.
    ///
    /// # Errors
    ///
    /// See [`success`](Self::success); also fails if the output is not such JSON.
    pub fn json<T: DeserializeOwned>(self) -> Result<T, Failure> {
        let output = self.success()?;
        serde_json::from_str(&output.stdout)
            .doing(format_args!("read JSON from {:?}", output.stdout))
    }
}

/// Runs the command to its end.
///
/// # Errors
///
/// Fails if the command does not start, or does not end within half a minute.
pub async fn run(mut command: Command) -> Result<Output, Failure> {
    let told = told(&command);
    let [stdout, stderr] = [NamedTempFile::new(), NamedTempFile::new()];
    let stdout = stdout.doing("create a file for output")?;
    let stderr = stderr.doing("create a file for errors")?;
    command
        .stdout(stdout.reopen().doing("open the file for output")?)
        .stderr(stderr.reopen().doing("open the file for errors")?);
    let child = OwnedChild::spawn(&mut command);
    let mut child = child.doing(format_args!("start `{told}`"))?;
    let status = timeout(RUN_LIMIT, child.wait()).await;
    let status = status
        .map_err(|_| Failure::new(format!("`{told}` did not end within {RUN_LIMIT:?}")))?
        .doing(format_args!("wait for `{told}`"))?;
    Ok(Output {
        status,
        stdout: text(&stdout),
        stderr: text(&stderr),
    })
}

fn text(file: &NamedTempFile) -> String {
    fs::read(file.path())
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// A program that serves until it is stopped; killed when dropped.
#[derive(Debug)]
pub struct Running {
    told: String,
    child: OwnedChild,
    log: NamedTempFile,
}

impl Running {
    /// Starts the command and waits until it prints `ready`.
    ///
    /// # Errors
    ///
    /// Fails if it does not, with its output.
    pub async fn start(mut command: Command, ready: &str) -> Result<Self, Failure> {
        let told = told(&command);
        let log = NamedTempFile::new().doing("create a log file")?;
        let file = log.as_file();
        command
            .stdout(file.try_clone().doing("share the log file")?)
            .stderr(file.try_clone().doing("share the log file")?);
        let child = OwnedChild::spawn(command.stdin(Stdio::null()));
        let child = child.doing(format_args!("start `{told}`"))?;
        let mut running = Self { told, child, log };
        let end = Instant::now() + SERVICE_LIMIT;
        while !running.log().contains(ready) {
            let ended = running.child.try_wait().doing("check the program")?;
            if ended.is_some() || Instant::now() > end {
                return Err(Failure::new(format!(
                    "`{}` did not print {ready:?} ({})\n{}",
                    running.told,
                    ended.map_or("still running".to_owned(), |status| status.to_string()),
                    running.log()
                )));
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(running)
    }

    /// Returns its output so far.
    #[must_use]
    pub fn log(&self) -> String {
        text(&self.log)
    }

    /// Stops it with `SIGTERM` and waits for its end.
    ///
    /// # Errors
    ///
    /// Fails if it does not end in time, in which case it is killed.
    pub async fn stop(mut self) -> Result<ExitStatus, Failure> {
        if let Some(pid) = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
        {
            kill_process(pid, Signal::TERM).doing(format_args!("stop `{}`", self.told))?;
        }
        timeout(SERVICE_LIMIT, self.child.wait())
            .await
            .map_err(|_| Failure::new(format!("`{}` did not end\n{}", self.told, self.log())))?
            .doing(format_args!("wait for `{}`", self.told))
    }
}

impl Drop for Running {
    #[allow(
        clippy::print_stderr,
        reason = "the test runner shows it with the failed test"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- `{}`\n{}---", self.told, self.log());
        }
    }
}

/// Creates a command with arguments, and without input.
pub(crate) fn command<A: AsRef<OsStr>>(
    program: &Path,
    args: impl IntoIterator<Item = A>,
) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    command
}

fn told(command: &Command) -> String {
    crate::install::told(command.as_std())
}
