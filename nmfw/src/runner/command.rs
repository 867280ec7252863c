//! [`Command`]: the subcommands of a service's tool.

use std::{ffi::OsString, process::ExitCode};

use clap::{FromArgMatches, Subcommand};

use super::{IntoServices, Permissions, Run};

// Included from a file, because clap would use a comment here as a help text.
#[doc = include_str!("../docs/cli/command.md")]
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Run the service until SIGINT or SIGTERM
    ///
    /// Any number of instances share the requests, on this machine and on others, without knowing
    /// each other.
    ///
    /// After the first signal the service accepts no more requests, and completes those in flight
    /// within the grace period. A second signal ends it at once.
    Run(Run),

    /// Print the NATS permissions that a user needs
    ///
    /// Prints the least permissions for an instance of the service, for its clients, or for some of
    /// its methods, and exports from one account to another. Needs no connection.
    Permissions(Permissions),
}

impl Command {
    /// Executes the command with these services.
    pub async fn execute(self, services: impl IntoServices) -> ExitCode {
        match self {
            Self::Run(run) => run.serve(services).await,
            Self::Permissions(permissions) => permissions.print(services),
        }
    }
}

/// Parses a command line for a tool with these subcommands.
pub(super) fn parse(
    tool: clap::Command,
    args: impl IntoIterator<Item = OsString>,
) -> Result<Command, clap::Error> {
    let mut tool = Command::augment_subcommands(tool);
    let mut matches = tool.try_get_matches_from_mut(args)?;
    Command::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut tool))
}
