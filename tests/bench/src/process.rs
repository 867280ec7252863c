//! The processes of a setup: starting, controlling, measuring and stopping them.

use std::{
    fs,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nmfw_tests::{Failure, failure::Doing, process::OwnedChild};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::protocol::{Job, Outcome, READY};

/// Time limit for a process to become ready.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Time limit for a job, beyond its own duration.
const JOB_LIMIT: Duration = Duration::from_secs(30);

/// Time limit for a process to exit by itself, which is slow under callgrind.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// A server, a client or a broker. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: OwnedChild,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    /// The address that it reported with `ready`.
    pub(crate) address: String,
}

impl Process {
    /// Starts the process and waits until it is ready.
    pub(crate) async fn start(mut command: Command, name: String) -> Result<Self, Failure> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = OwnedChild::spawn(&mut command).doing(format_args!("start {name}"))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = output.ok_or_else(|| Failure::new("a process without output"))?;
        let mut process = Self {
            name,
            child,
            input,
            output: BufReader::new(output).lines(),
            address: String::new(),
        };
        let line = process.line(START_LIMIT).await?;
        let address = line.strip_prefix(READY).ok_or_else(|| {
            Failure::new(format!(
                "{} is not ready: it printed {line:?}",
                process.name
            ))
        })?;
        process.address = address.trim().to_owned();
        Ok(process)
    }

    /// Executes a job in a client.
    pub(crate) async fn run(&mut self, job: Job) -> Result<Outcome, Failure> {
        let text = serde_json::to_string(&job).doing("write JSON")?;
        self.say(&text).await?;
        let limit = JOB_LIMIT + Duration::from_millis(job.millis);
        self.outcome(limit).await
    }

    /// Reads the outcome of a job, or of a server's counting.
    pub(crate) async fn outcome(&mut self, limit: Duration) -> Result<Outcome, Failure> {
        let line = self.line(limit).await?;
        serde_json::from_str(&line).doing(format_args!("read {line:?} of {}", self.name))
    }

    pub(crate) async fn say(&mut self, line: &str) -> Result<(), Failure> {
        let name = &self.name;
        let Some(input) = &mut self.input else {
            return Err(Failure::new(format!("{name} is stopping")));
        };
        let line = format!("{line}\n");
        let told = input.write_all(line.as_bytes()).await;
        told.doing(format_args!("write to {name}"))
    }

    pub(crate) async fn line(&mut self, limit: Duration) -> Result<String, Failure> {
        let name = &self.name;
        match timeout(limit, self.output.next_line()).await {
            Ok(Ok(Some(line))) => Ok(line),
            Ok(Ok(None)) => Err(Failure::new(format!("{name} has ended"))),
            Ok(Err(error)) => Err(error).doing(format_args!("read from {name}")),
            Err(_) => Err(Failure::new(format!(
                "{name} printed nothing for {limit:?}"
            ))),
        }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Stops the process, by force if necessary.
    pub(crate) async fn stop(mut self) -> Option<ExitStatus> {
        self.input = None;
        match timeout(STOP_LIMIT, self.child.wait()).await {
            Ok(status) => status.ok(),
            Err(_) => {
                self.child.kill().await.ok();
                None
            }
        }
    }
}

/// Returns the CPU seconds of processes, over all their threads.
pub(crate) fn cpu_seconds(pids: &[u32]) -> f64 {
    pids.iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok())
        .filter_map(|stat| cpu_ticks(&stat, OWN))
        .map(seconds)
        .sum()
}

/// Returns the CPU seconds of this process's ended children and their descendants.
pub(crate) fn children_cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    cpu_ticks(&stat, OF_CHILDREN).map_or(0.0, seconds)
}

/// Index of user and system time in a line of `/proc/<pid>/stat`, counted after the name.
const OWN: usize = 11;
const OF_CHILDREN: usize = 13;

/// Returns user and system time from a line of `/proc/<pid>/stat`. The name may contain any
/// characters, so fields are counted from the closing parenthesis.
fn cpu_ticks(stat: &str, first: usize) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(first);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

/// Returns the busy time of all cores since the machine started.
pub(crate) fn busy_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.lines()
        .next()
        .and_then(busy_ticks)
        .map_or(0.0, seconds)
}

/// Returns all ticks except idle and I/O wait from the first line of `/proc/stat`.
fn busy_ticks(line: &str) -> Option<u64> {
    let fields: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .take(8)
        .filter_map(|field| field.parse().ok())
        .collect();
    match *fields.as_slice() {
        [user, nice, system, _idle, _iowait, irq, softirq, steal] => {
            Some(user + nice + system + irq + softirq + steal)
        }
        _ => None,
    }
}

fn seconds(ticks: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (ticks, per_second) = (ticks as f64, rustix::param::clock_ticks_per_second() as f64);
    ticks / per_second
}

/// Returns the resident memory of processes in bytes.
pub(crate) fn resident(pids: &[u32]) -> u64 {
    pids.iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/statm")).ok())
        .filter_map(|statm| statm.split_whitespace().nth(1)?.parse::<u64>().ok())
        .map(|pages| pages * rustix::param::page_size() as u64)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_times_of_a_process_with_any_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194304 100 0 0 0 17 5 4 3 20 0 1 0 99 1000";
        assert_eq!(cpu_ticks(stat, OWN), Some(22));
        assert_eq!(cpu_ticks(stat, OF_CHILDREN), Some(7));
        assert_eq!(cpu_ticks("42 (short) S 1", OWN), None);
        let line = "cpu  10 20 30 1000 500 1 2 3 0 0";
        assert_eq!(busy_ticks(line), Some(66));
        assert_eq!(busy_ticks("cpu 1"), None);
    }

    #[test]
    fn this_process_uses_cpu_and_memory() {
        let pid = std::process::id();
        let before = cpu_seconds(&[pid]);
        let mut sum = 0_u64;
        while cpu_seconds(&[pid]) <= before {
            sum = (0..1_000_000).fold(sum, |sum: u64, n| sum.wrapping_add(n * n));
        }
        assert!(sum != 1);
        assert!(resident(&[pid]) > 100_000);
        assert!(busy_seconds() > 0.0);
    }
}
