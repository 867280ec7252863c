//! The program in a clean environment.

use std::{
    io::Write,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

/// The time that a command may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);

/// The output of a command.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) line: String,
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Returns standard output of a command that succeeded.
    pub(crate) fn ok(self) -> String {
        assert_eq!(
            self.status, 0,
            "{}\n{}{}",
            self.line, self.stdout, self.stderr
        );
        self.stdout
    }

    /// Returns the JSON on standard output of a command that succeeded.
    pub(crate) fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).unwrap()
    }
}

/// A program that is killed at the end of a test.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// The program, with a home and a cache of its own.
#[derive(Debug)]
pub(crate) struct Program {
    home: TempDir,
    url: Option<String>,
}

impl Program {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: Some(url.to_owned()),
            ..Self::offline()
        }
    }

    /// Creates a program without an address of a NATS server.
    pub(crate) fn offline() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            url: None,
        }
    }

    pub(crate) fn home(&self) -> &std::path::Path {
        self.home.path()
    }

    /// Returns the command of a line. Words in single quotes may have spaces.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nmfw"));
        command
            .args(words(line))
            .env_clear()
            .env("HOME", self.home.path())
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(url) = &self.url {
            command.env("NATS_URL", url);
        }
        command
    }

    /// Runs a line.
    pub(crate) async fn run(&self, line: &str) -> Output {
        self.run_with(line, "").await
    }

    /// Runs a line that succeeds, and returns the bytes on standard output.
    pub(crate) async fn run_raw(&self, line: &str) -> Vec<u8> {
        let mut command = self.command(line);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    /// Runs a line with standard input.
    pub(crate) async fn run_with(&self, line: &str, input: &str) -> Output {
        let mut command = self.command(line);
        let input = input.to_owned();
        let running = tokio::task::spawn_blocking(move || {
            let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            // A command that reads nothing closes it.
            _ = stdin.write_all(input.as_bytes());
            drop(stdin);
            child.wait_with_output().unwrap()
        });
        let output = tokio::time::timeout(LIMIT, running).await;
        let output = output
            .unwrap_or_else(|_| panic!("`{line}` did not end"))
            .unwrap();
        Output {
            line: line.to_owned(),
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        match at % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}
