//! Starts a peer's processes, or reports why that is impossible.

use std::path::{Path, PathBuf};

use nmfw_tests::Failure;
use tokio::process::Command;

use crate::{
    foreign,
    peer::Peer,
    setup::{Listener, Setup},
};

/// A program with the subcommands `serve` and `call` of this one.
#[derive(Clone, Debug)]
pub(crate) struct Launcher {
    pub(crate) peer: Peer,
    program: PathBuf,
    /// Arguments before the role.
    first: Vec<PathBuf>,
    /// Environment variables.
    variables: Vec<(&'static str, PathBuf)>,
    /// The folder of callgrind's logs, if it is used.
    callgrind: Option<PathBuf>,
}

/// The kind of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Server,
    /// This number of clients, each with a connection.
    Clients(usize),
}

impl Launcher {
    /// Returns the launcher of this program.
    pub(crate) fn own(peer: Peer) -> Result<Self, Failure> {
        let program = std::env::current_exe();
        Ok(Self {
            peer,
            program: program.map_err(|error| Failure::new(error.to_string()))?,
            first: Vec::new(),
            variables: Vec::new(),
            callgrind: None,
        })
    }

    pub(crate) fn foreign(
        peer: Peer,
        program: PathBuf,
        first: Vec<PathBuf>,
        variables: Vec<(&'static str, PathBuf)>,
    ) -> Self {
        Self {
            peer,
            program,
            first,
            variables,
            callgrind: None,
        }
    }

    /// Installs a peer's requirements. The error is the reason for skipping the peer.
    pub(crate) fn of(peer: Peer) -> Result<Self, Failure> {
        match peer {
            peer if peer.is_rust() => Self::own(peer),
            Peer::NatsPy => foreign::python(peer),
            peer => foreign::go(peer),
        }
    }

    /// Returns the launcher under callgrind, which logs to a file named after the role.
    pub(crate) fn under_callgrind(&self, logs: &Path) -> Self {
        Self {
            callgrind: Some(logs.to_owned()),
            ..self.clone()
        }
    }

    pub(crate) fn command(&self, part: Part, address: &str, setup: &Setup) -> Command {
        let role = match part {
            Part::Server => "serve",
            Part::Clients(_) => "call",
        };
        let mut command = if let Some(logs) = &self.callgrind {
            let mut command = Command::new("valgrind");
            command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
            command.arg(format!("--log-file={}", logs.join(role).display()));
            command.arg(&self.program);
            command
        } else {
            Command::new(&self.program)
        };
        command.args(&self.first);
        command.envs(self.variables.iter().cloned());
        command.arg(role);
        command.arg(self.peer.to_string()).arg(address);
        if let Part::Clients(count) = part {
            command.arg("--clients").arg(count.to_string());
        }
        // Optional arguments are omitted for peers that do not support them.
        if setup.counting {
            command.arg("--counting");
        }
        if setup.listener != Listener::Off {
            command.arg("--listener").arg(setup.listener.to_string());
        }
        if let Some((many, count)) = setup.many
            && part == Part::Server
        {
            command.arg("--many").arg(many.to_string());
            command.arg("--count").arg(count.to_string());
        }
        command
    }
}
