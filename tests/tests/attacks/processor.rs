//! The processors: an attacker and the broker have one, the attacked side and its peers another. The
//! share that other programs of the machine use does not count as an effect of an attack.

use std::{fs, process::Command, sync::LazyLock, thread};

use nmfw_tests::{
    chosen,
    failure::{Doing, Failure},
};

/// The number of processors, before anything is moved to one.
pub(crate) static COUNT: LazyLock<usize> =
    LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from));

/// The processor of attackers and of the broker.
pub(crate) const ATTACKERS: usize = 0;

/// The processor of services and their callers.
pub(crate) const ATTACKED: usize = 1;

/// Moves all threads of a process to a processor; does nothing in the short suite, nor on a machine
/// with only one. Threads and processes that these start later inherit the processor.
pub(crate) fn pin(process: u32, processor: usize) -> Result<(), Failure> {
    taskset(&["-a", "-c", "-p"], &process.to_string(), processor)
}

/// Moves this thread to a processor.
pub(crate) fn pin_this_thread(processor: usize) -> Result<(), Failure> {
    let thread = fs::read_link("/proc/thread-self").doing("find this thread")?;
    let id = thread.file_name().unwrap_or_default().to_string_lossy();
    taskset(&["-c", "-p"], &id, processor)
}

fn taskset(options: &[&str], id: &str, processor: usize) -> Result<(), Failure> {
    if !chosen("attacks") || *COUNT < 2 {
        return Ok(());
    }
    let mut command = Command::new("taskset");
    command.args(options).arg(processor.to_string()).arg(id);
    let done = command.output().doing("run taskset, of util-linux")?;
    if done.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    Err(Failure::new(format!("taskset {options:?}: {told}")))
}

/// The processor time used so far, in ticks of the system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// By all processors, idle time included.
    all: u64,
    /// By the programs of the machine and by other machines on the same hardware.
    busy: u64,
    /// By the measured processes.
    own: u64,
}

impl Used {
    /// Reads the times of the machine, of this process and of `others`.
    pub(crate) fn now(others: &[u32]) -> Result<Self, Failure> {
        let stat = fs::read_to_string("/proc/stat").doing("read the times of the processors")?;
        let first = stat.lines().next().unwrap_or_default();
        // user nice system idle iowait irq softirq steal; the rest is part of the first two.
        let times: Vec<u64> = numbers(first).take(8).collect();
        let all = times.iter().sum();
        let idle = times.get(3..5).map_or(0, |idle| idle.iter().sum());
        let mut own = 0;
        for process in others.iter().copied().chain([std::process::id()]) {
            let path = format!("/proc/{process}/stat");
            let stat = fs::read_to_string(&path).doing(format_args!("read {path}"))?;
            // The name may contain spaces; user and system time are the 12th and 13th number after.
            let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
            own += numbers(after).skip(11).take(2).sum::<u64>();
        }
        let busy = all - idle;
        Ok(Self { all, busy, own })
    }

    /// Returns the part of the processors that others have left since `before`.
    pub(crate) fn left_since(&self, before: &Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        let busy = self.busy.saturating_sub(before.busy);
        let own = self.own.saturating_sub(before.own);
        1.0 - (busy.saturating_sub(own) as f64 / all as f64).min(0.95)
    }
}

/// Returns the words of a line that are numbers; others, such as a state, count as 0.
fn numbers(line: &str) -> impl Iterator<Item = u64> {
    let words = line.split_ascii_whitespace();
    words
        .skip_while(|word| word.starts_with("cpu"))
        .map(|word| word.parse().unwrap_or(0))
}
