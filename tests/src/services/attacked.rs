//! A service and its callers, each in a process of its own that a peer attacks: their orders, their
//! reports, and a handle on such a process.

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

/// Longer than a process that is starved of its processor takes to answer.
const LIMIT: Duration = Duration::from_secs(90);

/// What a process is started with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    /// What it is.
    pub role: Role,
    /// Of the broker, with the login.
    pub url: String,
    /// The file that it logs to.
    pub log: PathBuf,
}

/// What a process is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Role {
    /// Serves streams and the puppet.
    Service {
        /// The port of `/metrics` and `/healthz`.
        monitor: u16,
    },
    /// Calls that service, and possibly a hostile one.
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
    /// Callers: report, and begin to count anew.
    Report,
    /// Callers: make this many calls of each kind at a time to the hostile service. Answered with [`Made`].
    CallHostile(usize),
    /// Service: how often the calls of these numbers, and all calls, have run. Answered with [`Ran`].
    Ran(Vec<u64>),
    /// Service: stop in good order and end the process. Answered with [`Ran`] once it has stopped.
    Stop,
}

/// The calls of one kind.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Calls {
    /// Calls that have succeeded.
    pub good: u64,
    /// The 99th percentile of their times, in microseconds.
    pub p99: u64,
}

/// What callers have done since the last report.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Made {
    /// The time since that report, in microseconds.
    pub micros: u64,
    /// Calls to the honest service, by their kind.
    pub calls: BTreeMap<String, Calls>,
    /// Calls to the honest service that failed, by their kind and what they ended with.
    pub failed: BTreeMap<String, u64>,
    /// The numbers of those that were marked as not started.
    pub not_started: Vec<u64>,
    /// Calls to the hostile service, by the code that they ended with.
    pub hostile: BTreeMap<String, u64>,
    /// Of these, the longest beyond its deadline, in milliseconds.
    pub latest: u64,
}

/// What a service has run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ran {
    /// Numbered calls.
    pub calls: u64,
    /// Those that ran more than once.
    pub repeated: u64,
    /// How often those ran that were asked for, together.
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
    /// Starts one, and returns when it is ready. The program is `env!("CARGO_BIN_EXE_attacked")`,
    /// which only tests know.
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

    /// Gives an order and returns its answer.
    ///
    /// # Errors
    ///
    /// Fails if the process has ended or does not answer.
    pub async fn order<T: DeserializeOwned>(&mut self, order: &Order) -> Result<T, Failure> {
        let mut line = serde_json::to_string(order).doing("write an order")?;
        line.push('\n');
        let written = self.input.write_all(line.as_bytes()).await;
        written.doing("give an order")?;
        self.answer().await
    }

    async fn answer<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let line = timeout(LIMIT, self.output.next_line()).await;
        let line = line.doing("wait for an answer")?.doing("read an answer")?;
        let line = line.ok_or_else(|| Failure::new("the process has ended"))?;
        serde_json::from_str(&line).doing(format_args!("read {line:?}"))
    }

    /// Returns how the process ended; `None` if it runs.
    ///
    /// # Errors
    ///
    /// Fails if the system does not say so.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.child.try_wait().doing("look after a process")
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    ///
    /// Fails if it does not.
    pub async fn exit(&mut self) -> Result<ExitStatus, Failure> {
        let exit = timeout(LIMIT, self.child.wait()).await;
        exit.doing("wait for a process")?
            .doing("wait for a process")
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

    /// Returns what it has logged.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read.
    pub fn log(&self) -> Result<Vec<u8>, Failure> {
        fs::read(&self.log).doing("read a log")
    }
}
