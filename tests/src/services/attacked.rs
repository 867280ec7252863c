//! A service and its callers, each in a process that a peer attacks: the orders to such a process,
//! its reports, and a handle for it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::{
    failure::{Doing, Failure},
    instance::resident,
    process::OwnedChild,
};

/// Longer than a process with hardly any processor time takes to answer.
const LIMIT: Duration = Duration::from_secs(90);

/// The arguments of a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    /// The role of the process.
    pub role: Role,
    /// The URL of the broker, with the login.
    pub url: String,
    /// The path of its log.
    pub log: PathBuf,
}

/// The role of a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Role {
    /// Serves streams and the puppet.
    Service {
        /// The port of `/metrics` and `/healthz`.
        monitor: u16,
    },
    /// Calls that service, and optionally a hostile one.
    Callers {
        /// The subject of the hostile service.
        hostile: Option<String>,
        /// The number of the first call.
        first: u64,
    },
}

/// A line on the standard input of a process, which it answers with a line of JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Callers: make calls. Answered with [`Made`] since the last report, like the next two.
    Go,
    /// Callers: make no more calls, and wait for those in flight.
    Halt,
    /// Callers: report, and reset the counts.
    Report,
    /// Callers: make this many concurrent calls of each kind to the hostile service. Answered with
    /// [`Made`].
    CallHostile(usize),
    /// Service: report the number of runs of these calls, and of all calls. Answered with [`Ran`].
    Ran(Vec<u64>),
    /// Report the memory in use. Answered with a number of bytes.
    Allocated,
    /// Service: stop gracefully and end the process. Answered with [`Ran`] once it has stopped.
    Stop,
}

/// The calls of one kind.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Calls {
    /// Number of successful calls.
    pub good: u64,
    /// The 99th percentile of their times, in microseconds.
    pub p99: u64,
}

/// The calls of the callers since the last report.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Made {
    /// The time since that report, in microseconds.
    pub micros: u64,
    /// Calls to the honest service, by kind.
    pub calls: BTreeMap<String, Calls>,
    /// Failed calls to the honest service, by kind and error.
    pub failed: BTreeMap<String, u64>,
    /// The numbers of failed calls that were marked as not started.
    pub not_started: Vec<u64>,
    /// Calls to the hostile service, by code.
    pub hostile: BTreeMap<String, u64>,
    /// The maximum time by which one of these exceeded its deadline, in milliseconds.
    pub latest: u64,
}

/// The runs of a service.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ran {
    /// Numbered calls.
    pub calls: u64,
    /// Numbered calls that ran more than once.
    pub repeated: u64,
    /// The total number of runs of the requested calls.
    pub asked: u64,
}

/// A process, killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: OwnedChild,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Process {
    /// Starts a process, and returns when it is ready. The program is
    /// `env!("CARGO_BIN_EXE_attacked")`, which is defined only in tests.
    ///
    /// # Errors
    ///
    /// Fails if it does not start.
    pub async fn start(program: impl AsRef<Path>, orders: &Orders) -> Result<Self, Failure> {
        let text = serde_json::to_string(orders).doing("write orders")?;
        let mut command = Command::new(program.as_ref());
        command
            .arg(text)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = OwnedChild::spawn(&mut command).doing("start a process")?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::new("a process without pipes"));
        };
        let mut process = Self {
            child,
            input,
            output: BufReader::new(output).lines(),
            log: orders.log.clone(),
        };
        process.answer::<String>().await?;
        Ok(process)
    }

    /// Sends an order and returns its answer.
    ///
    /// # Errors
    ///
    /// Fails if the process has ended or does not answer.
    pub async fn order<T: DeserializeOwned>(&mut self, order: &Order) -> Result<T, Failure> {
        let mut line = serde_json::to_string(order).doing("write an order")?;
        line.push('\n');
        let written = self.input.write_all(line.as_bytes()).await;
        written.doing("send an order")?;
        self.answer().await
    }

    async fn answer<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let line = timeout(LIMIT, self.output.next_line()).await;
        let line = line.doing("wait for an answer")?.doing("read an answer")?;
        let line = line.ok_or_else(|| Failure::new("the process has ended"))?;
        serde_json::from_str(&line).doing(format_args!("read {line:?}"))
    }

    /// Returns the exit status; `None` while the process runs.
    ///
    /// # Errors
    ///
    /// Fails if the system does not report it.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.child.try_wait().doing("check a process")
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    ///
    /// Fails if it does not end.
    pub async fn exit(&mut self) -> Result<ExitStatus, Failure> {
        let exit = timeout(LIMIT, self.child.wait()).await;
        exit.doing("wait for a process")?
            .doing("wait for a process")
    }

    /// Returns its id; `None` once it has been seen to have ended.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Returns its resident memory in bytes.
    ///
    /// # Errors
    ///
    /// Fails if it has ended.
    pub fn resident(&self) -> Result<u64, Failure> {
        let id = self.child.id();
        let id = id.ok_or_else(|| Failure::new("the process has ended"))?;
        Ok(resident(&id.to_string())? * 1024)
    }

    /// Returns its log.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read.
    pub fn log(&self) -> Result<Vec<u8>, Failure> {
        fs::read(&self.log).doing("read a log")
    }
}
