//! [`Arguments`]: the command line.

use std::{ffi::OsString, time::Duration};

use clap::{Args, CommandFactory, FromArgMatches, Parser, ValueEnum};

use crate::{commands::Command, duration, failure::Exit};

/// Lists, describes, calls, checks and watches services on NATS
///
/// Knows the services of nmfw and, as far as they go, all micro services of NATS (ADR-32).
#[derive(Debug, Parser)]
#[command(
    name = "nmfw",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,

    #[command(flatten)]
    pub(crate) global: Global,
}

/// The options of all commands.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    #[command(flatten)]
    pub(crate) connect: nmfw::cli::Connect,

    /// Wait at most this long for a connection, and for answers of discovery
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = duration::parse,
        default_value = "5s",
        global = true,
        help_heading = "Connection"
    )]
    pub(crate) timeout: Duration,

    /// Print JSON, for programs
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,

    /// Use colors: auto (on terminals, unless $NO_COLOR is set), always or never
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        default_value_t = Color::Auto,
        hide_possible_values = true,
        hide_default_value = true,
        global = true,
        help_heading = "Output"
    )]
    pub(crate) color: Color,
}

/// When output is colored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On terminals, unless $NO_COLOR is set
    Auto,
    Always,
    Never,
}

impl Arguments {
    pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut command = command();
        let mut matches = command.try_get_matches_from_mut(args)?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
    }
}

/// Returns the command with all subcommands, also for completions and man pages.
pub(crate) fn command() -> clap::Command {
    let command = Arguments::command()
        // The options of a connection are global here.
        .mut_arg("context", |arg| arg.global(true))
        .mut_arg("server", |arg| arg.global(true))
        // A command ends with its connection.
        .mut_arg("max_recon", |arg| arg.hide(true));
    let exits = exits(&command);
    command.after_long_help(exits)
}

fn exits(command: &clap::Command) -> String {
    let header = *command.get_styles().get_header();
    let literal = *command.get_styles().get_literal();
    let mut text = format!("{header}Exit status:{header:#}\n");
    for (number, meaning) in [
        ("0", "Success"),
        ("1", "An error"),
        ("2", "The command line is invalid"),
        (
            "3",
            "The NATS server cannot be reached, or refuses the connection",
        ),
        ("4", "No service, method or instance has this name"),
        ("5", "The command ran and found problems"),
        ("64 + code", "A call ended with this gRPC code:"),
    ] {
        text.push_str(&format!("  {literal}{number:<9}{literal:#}  {meaning}\n"));
    }
    for code in nmfw::Code::ALL.iter().skip(1) {
        let (number, name) = (Exit::Status(*code).number(), code.name());
        text.push_str(&format!(
            "             {literal}{number}{literal:#} {name}\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn the_command_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn global_options_go_anywhere() {
        let parse = |line: &str| Arguments::parse(line.split(' ').map(OsString::from)).unwrap();
        for line in [
            "nmfw --json --timeout 2s --server a ls",
            "nmfw ls --json --timeout 2s --server a",
        ] {
            let global = parse(line).global;
            assert!(global.json && global.timeout == Duration::from_secs(2));
            assert!(format!("{:?}", global.connect).contains("***"));
        }
    }
}
