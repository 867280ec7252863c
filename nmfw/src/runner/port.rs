//! [`Port`]: the port for metrics and probes, and its origin.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, parser::ValueSource};

use super::variable;

const ID: &str = "port";

/// The port from the command line or the environment. Written by hand, because clap's derived code
/// does not report which of the two was used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Port {
    /// 0 for none.
    number: u16,
    variable: Option<&'static str>,
}

impl Port {
    /// Returns the port to listen on, if any. If a variable has set it, its name is logged, because
    /// the platform may have set it for another purpose.
    pub(super) fn open(self) -> Option<u16> {
        let Self { number, variable } = self;
        if number == 0 {
            return None;
        }
        if let Some(variable) = variable {
            tracing::info!(
                port = number,
                variable,
                "serving HTTP on all addresses because an environment variable sets the port: \
                 NMFW_PORT=0 disables it"
            );
        }
        Some(number)
    }
}

fn counting() -> &'static str {
    variable::counting("NMFW_PORT", "PORT")
}

fn number(text: &str) -> Result<u16, &'static str> {
    match text {
        // An empty variable counts as unset.
        "" => Ok(0),
        _ => text
            .parse()
            .map_err(|_| "it must be a number from 1 to 65535"),
    }
}

impl Args for Port {
    fn augment_args(command: Command) -> Command {
        let arg = Arg::new(ID)
            .long("port")
            .value_name("PORT")
            .value_parser(number)
            .env(counting())
            .hide_env(true)
            .help_heading("Service")
            .help("Serve metrics and probes over HTTP on this port [env: NMFW_PORT, PORT]")
            .long_help(
                "Serve metrics and probes over HTTP on this port\n\nThe paths are /metrics, /healthz and \
                 /readyz, on all addresses of the machine, without authentication. By default, and \
                 with 0, no port is opened. Some platforms set $PORT for other purposes; $NMFW_PORT \
                 takes precedence, and 0 keeps the port closed.\n\n[env: NMFW_PORT, PORT]",
            );
        command.arg(arg)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Port {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let is_from_variable = matches.value_source(ID) == Some(ValueSource::EnvVariable);
        Ok(Self {
            number: matches.get_one(ID).copied().unwrap_or_default(),
            variable: is_from_variable.then(counting),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        if matches.contains_id(ID) {
            *self = Self::from_arg_matches(matches)?;
        }
        Ok(())
    }
}
