//! [`Run`]: serves according to a command line.

use std::{net::Ipv4Addr, process::ExitCode};

use clap::Args;
use futures_util::{StreamExt, stream::BoxStream};

use super::{
    BoxError, Connect, IntoServices, Log, exit, failure, help, log::process, port::Port,
    signals::Signals,
};
use crate::{
    ConnectOptions, Connection, Server,
    server::{Ending, Running},
};

// Included from a file, because clap would use a comment here as a help text.
#[doc = include_str!("../docs/cli/run.md")]
#[derive(Clone, Debug, Default, Args)]
#[group(id = "nmfw::cli::Run")]
#[command(defer(help::finish))]
#[non_exhaustive]
pub struct Run {
    /// The connection.
    #[command(flatten)]
    pub connect: Connect,

    /// Serve only these methods, separated by commas
    ///
    /// Methods are named as in the .proto: Add, or calc.Calc.Add if several services have an Add.
    /// Requests for other methods go to instances that serve them.
    #[arg(
        long,
        value_name = "A,B",
        value_delimiter = ',',
        help_heading = "Service"
    )]
    pub methods: Option<Vec<String>>,

    /// The port for metrics and probes.
    #[command(flatten)]
    port: Port,

    /// The logging arguments.
    #[command(flatten)]
    pub log: Log,
}

impl Run {
    /// Serves until SIGINT or SIGTERM, and returns the exit status.
    ///
    /// Sets up logging, connects, serves and drains; errors are printed. See the
    /// [module](super#exit-status) for the exit statuses.
    ///
    /// The process always ends: if handlers had to be dropped, it exits within 5 seconds after this
    /// function has returned, even if one of them blocks its thread, and at once on a third signal.
    pub async fn serve(self, services: impl IntoServices) -> ExitCode {
        let services = services.into_services();
        process::serves(&services);
        let add = async |server: Server| Ok(services.into_iter().fold(server, Server::add_service));
        self.serve_with(add).await
    }

    /// Serves the server that `add` returns, given one with a connection and no services.
    ///
    /// ```no_run
    /// # fn calc(_: &nmfw::Connection, _: String) -> nmfw::server::Service { unimplemented!() }
    /// # async fn example(run: nmfw::cli::Run) -> std::process::ExitCode {
    /// use std::time::Duration;
    ///
    /// run.serve_with(async |server| {
    ///     let rates = tokio::fs::read_to_string("rates.toml").await?;
    ///     let calc = calc(server.connection(), rates); // for clients of other services
    ///     Ok(server.add_service(calc).grace(Duration::from_secs(60)))
    /// })
    /// .await
    /// # }
    /// ```
    ///
    /// Logging is set up before, and a signal aborts it.
    pub async fn serve_with(
        self,
        add: impl AsyncFnOnce(Server) -> Result<Server, BoxError>,
    ) -> ExitCode {
        match self.try_serve(add).await {
            Ok(ending) => ExitCode::from(exit::status(ending)),
            Err(error) => failure(&*error),
        }
    }

    /// Returns a server with the methods and the port of the command line, for programs that
    /// already have a connection.
    pub fn server(&self, connection: Connection) -> Server {
        let mut server = Server::new(connection);
        if let Some(port) = self.port.open() {
            server = server.metrics((Ipv4Addr::UNSPECIFIED, port));
        }
        match &self.methods {
            Some(methods) => server.only(methods.iter().map(|name| name.trim())),
            None => server,
        }
    }

    async fn try_serve(
        self,
        add: impl AsyncFnOnce(Server) -> Result<Server, BoxError>,
    ) -> Result<Ending, BoxError> {
        self.log.init()?;
        let (signals, requests) = Signals::listen()?;
        let ending = self.work(&signals, requests, add).await?;
        if ending != Ending::Drained {
            signals.over(exit::status(ending));
        }
        Ok(ending)
    }

    async fn work(
        self,
        signals: &Signals,
        mut requests: BoxStream<'static, ()>,
        add: impl AsyncFnOnce(Server) -> Result<Server, BoxError>,
    ) -> Result<Ending, BoxError> {
        let name = process::name();
        tracing::info!(nmfw = env!("CARGO_PKG_VERSION"), "starting {name}");
        let ready = async {
            let options = ConnectOptions::new().name(name);
            let nats = self.connect.connect_with(options).await?;
            add(self.server(nats)).await
        };
        let server = tokio::select! {
            biased;
            // Nothing has started.
            Some(()) = requests.next() => return Ok(Ending::Drained),
            server = ready => server?,
        };
        process::serves(server.services());
        signals.grace(server.grace_period());
        let started = |running: &Running| process::runs(running.services());
        Ok(server.serve_while(requests, started).await?)
    }
}
