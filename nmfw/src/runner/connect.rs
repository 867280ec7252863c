//! [`Connect`]: the connection arguments, from the command line and the environment.

use std::{fmt, num::NonZeroUsize};

use clap::Args;

use crate::{ConnectOptions, Connection, Error};

// Included from a file, because clap would use a comment here as a help text.
#[doc = include_str!("../docs/cli/connect.md")]
#[derive(Clone, Default, Args)]
#[group(id = "nmfw::cli::Connect")]
pub struct Connect {
    // Not clap's `env`, with which a variable would conflict with the other flag.
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "server",
        help_heading = "Connection",
        help = "Connect with this context of the nats command [env: CONTEXT]",
        long_help = "\
Connect with this context of the nats command, which contains servers and credentials: a name \
from `nats context ls`, or the path of a file that ends in .json.

Without --context and --server, the first of these that is set is used: $CONTEXT, $NATS_CONTEXT, \
$NATS_URL, the context that `nats context select` has selected, nats://localhost:4222.

[env: CONTEXT]"
    )]
    context: Option<String>,

    #[arg(
        long,
        value_name = "URL",
        help_heading = "Connection",
        help = "Connect to these NATS servers, separated by commas [env: NATS_URL]",
        long_help = "\
Connect to one of these NATS servers, separated by commas: host, host:4222, \
nats://user:password@host, tls://host. Other users of the machine can see a command line, so keep \
a password in a context or in the variable instead.

[env: NATS_URL]"
    )]
    server: Option<String>,

    /// Exit after this number of failed reconnect attempts in a row
    ///
    /// The service then ends with an error. With -1, the default, it retries forever, because NATS
    /// servers come back.
    #[arg(
        long,
        value_name = "N",
        value_parser = attempts,
        allow_negative_numbers = true,
        env = "MAX_RECON",
        hide_env_values = true,
        help_heading = "Connection"
    )]
    max_recon: Option<Attempts>,
}

/// The maximum number of reconnect attempts; `None` for no limit.
#[derive(Clone, Copy, Debug)]
struct Attempts(Option<NonZeroUsize>);

fn attempts(text: &str) -> Result<Attempts, &'static str> {
    match text {
        // An empty variable counts as unset.
        "" | "-1" => Ok(Attempts(None)),
        _ => text
            .parse()
            .map(|attempts| Attempts(Some(attempts)))
            .map_err(|_| "it must be a number of at least 1, or -1 to retry forever"),
    }
}

impl Connect {
    /// Connects to these servers, whatever the command line and the environment contain, for a
    /// program with its own broker, such as the embedded one.
    #[must_use]
    pub fn to(servers: impl Into<String>) -> Self {
        Self {
            server: Some(servers.into()),
            ..Self::default()
        }
    }

    /// Connects.
    ///
    /// # Errors
    /// See [`ConnectOptions::connect`] and [`ConnectOptions::connect_context`].
    pub async fn connect(&self) -> Result<Connection, Error> {
        self.connect_with(ConnectOptions::new()).await
    }

    /// Connects with options for settings without an argument.
    ///
    /// # Errors
    /// See [`connect`](Self::connect).
    pub async fn connect_with(&self, mut options: ConnectOptions) -> Result<Connection, Error> {
        if let Some(Attempts(attempts)) = self.max_recon {
            options = options.max_reconnects(attempts.map(NonZeroUsize::get));
        }
        if let Some(context) = &self.context {
            return options.connect_context(context).await;
        }
        if let Some(servers) = &self.server {
            return options.connect(servers).await;
        }
        match std::env::var("CONTEXT") {
            Ok(context) if !context.is_empty() => options.connect_context(&context).await,
            _ => options.connect_env().await,
        }
    }
}

/// Formats without the servers, whose URLs can contain passwords.
impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("context", &self.context)
            .field("server", &self.server.as_ref().map(|_| "***"))
            .field("max_recon", &self.max_recon)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        connect: Connect,
    }

    fn max_recon(text: &str) -> Result<Option<usize>, String> {
        let cli = Cli::try_parse_from(["x", "--max-recon", text]).map_err(|e| e.to_string())?;
        let Attempts(attempts) = cli.connect.max_recon.unwrap();
        Ok(attempts.map(NonZeroUsize::get))
    }

    #[test]
    fn attempts_are_counted_from_one() {
        assert_eq!(max_recon("60"), Ok(Some(60)));
        assert_eq!(max_recon("-1"), Ok(None));
        assert_eq!(max_recon(""), Ok(None));
        for wrong in ["0", "-2", "many", "1.5"] {
            let error = max_recon(wrong).unwrap_err();
            assert!(error.contains("a number of at least 1, or -1"), "{error}");
        }
    }

    #[test]
    fn debug_shows_no_url() {
        let cli = Cli::parse_from(["x", "--server", "nats://me:hunter2@host"]);
        let shown = format!("{cli:?}");
        assert!(
            shown.contains("***") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
