//! A tool as a process: its input, its output, and its end.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use nmfw_tests::{
    eventually,
    process::{Output, run},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A tool with only the runner.
pub(crate) const TOOL: &str = env!("CARGO_BIN_EXE_tool");
/// A tool with its own flags and subcommands, and a service that fails.
pub(crate) const OWN_TOOL: &str = env!("CARGO_BIN_EXE_own_tool");

/// A blocked thread is given some 10 seconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(25);

/// Variables that affect the runner or its help.
const VARIABLES: [&str; 13] = [
    "NMFW_PORT",
    "PORT",
    "CONTEXT",
    "NATS_CONTEXT",
    "NATS_URL",
    "MAX_RECON",
    "NMFW_DEBUG",
    "DEBUG",
    "RUST_LOG",
    "NO_COLOR",
    "XDG_CONFIG_HOME",
    "COLUMNS",
    "CLICOLOR_FORCE",
];

fn command(program: &str, args: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    for name in VARIABLES {
        command.env_remove(name);
    }
    command
        .env("XDG_CONFIG_HOME", "/does/not/exist")
        .args(args)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs a tool to its end.
pub(crate) async fn output(program: &str, args: &[&str], variables: &[(&str, &str)]) -> Output {
    let command = command(program, args, variables);
    run(command.into()).await.unwrap()
}

/// A tool that serves; killed when dropped.
pub(crate) struct Tool {
    child: Mutex<Child>,
    text: Arc<Mutex<String>>,
}

impl Tool {
    pub(crate) fn start(program: &str, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = command(program, args, variables).spawn().unwrap();
        let text = Arc::new(Mutex::new(String::new()));
        let (said, stderr) = (Arc::clone(&text), child.stderr.take().unwrap());
        // Ends with the process.
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stderr);
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                said.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        let child = Mutex::new(child);
        Self { child, text }
    }

    /// Returns its whole log.
    pub(crate) fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// Returns the lines of its log, each of which has to be JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse = |line: &str| {
            let parsed: Result<Value, _> = serde_json::from_str(line);
            parsed.unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        self.text().lines().map(parse).collect()
    }

    /// Waits for a line.
    pub(crate) async fn line(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        eventually(LIMIT, || async {
            let mut lines = self.lines().into_iter();
            lines.find(|line| is_it(line)).ok_or_else(|| self.text())
        })
        .await
    }

    /// Waits until it serves.
    pub(crate) async fn serves(&self) {
        self.line(|line| line["msg"] == "serving").await;
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let pid = i32::try_from(self.child.lock().unwrap().id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    }

    /// Waits for the end of the process and of its output, and returns the exit status.
    pub(crate) async fn ended(&self) -> Option<i32> {
        let status = eventually(LIMIT, || async {
            let status = self.child.lock().unwrap().try_wait().unwrap();
            status.ok_or_else(|| self.text())
        })
        .await;
        // The reading thread drops its share at the end.
        eventually(LIMIT, || async { Arc::strong_count(&self.text) == 1 }).await;
        status.code()
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        _ = child.kill();
        _ = child.wait();
    }
}
