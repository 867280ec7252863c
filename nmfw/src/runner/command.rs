//! [`Command`]: the subcommands that a tool of a service has.

use std::{ffi::OsString, process::ExitCode};

use clap::{FromArgMatches, Subcommand};

use super::{IntoServices, Permissions, Run};

// Included, as clap would take a comment here for the text of a help.
#[doc = include_str!("../docs/cli/command.md")]
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Run the service until SIGINT or SIGTERM
    ///
    /// Any number of instances share the requests, on this machine and on others; they need not know
    /// of each other.
    ///
    /// At the first signal it takes no more requests, and those under way may come to their end
    /// while the grace period lasts. A second signal ends it at once.
    Run(Run),

    /// Print the NATS permissions that a user needs
    ///
    /// They are the least that is enough for an instance of the service, for its clients, or for some
    /// of its methods; also what one account exports to another. It connects to nothing.
    Permissions(Permissions),
}

impl Command {
    /// Does what the command says with these services.
    pub async fn execute(self, services: impl IntoServices) -> ExitCode {
        match self {
            Self::Run(run) => run.serve(services).await,
            Self::Permissions(permissions) => permissions.print(services),
        }
    }
}

/// Reads a command line for a tool that has these subcommands.
pub(super) fn parse(
    tool: clap::Command,
    args: impl IntoIterator<Item = OsString>,
) -> Result<Command, clap::Error> {
    let mut tool = Command::augment_subcommands(tool);
    let mut matches = tool.try_get_matches_from_mut(args)?;
    Command::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut tool))
}
