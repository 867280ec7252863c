//! [`Run`]: serving, as a command line says it.

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

// Included, as clap would take a comment here for the text of a help.
#[doc = include_str!("../docs/cli/run.md")]
#[derive(Clone, Debug, Default, Args)]
#[group(id = "nmfw::cli::Run")]
#[command(defer(help::finish))]
#[non_exhaustive]
pub struct Run {
    /// Where NATS is.
    #[command(flatten)]
    pub connect: Connect,

    /// Serve only these methods, with commas between
    ///
    /// They are named as in the .proto: Add, or calc.Calc.Add where several services have an Add.
    /// Requests for the others go to the instances that serve those.
    #[arg(
        long,
        value_name = "A,B",
        value_delimiter = ',',
        help_heading = "Service"
    )]
    pub methods: Option<Vec<String>>,

    /// Where metrics and probes are answered.
    #[command(flatten)]
    port: Port,

    /// How to log.
    #[command(flatten)]
    pub log: Log,
}

impl Run {
    /// Serves until SIGINT or SIGTERM, and tells the exit status.
    ///
    /// Sets up logging, connects, serves, and drains; what goes wrong is shown. See the
    /// [module](super#exit-status) for the exit statuses.
    ///
    /// It always ends: when handlers had to be dropped, the process is ended within 5 seconds after
    /// this has returned, even if one of them blocks its thread, and at once by a third signal.
    pub async fn serve(self, services: impl IntoServices) -> ExitCode {
        let services = services.into_services();
        process::serves(&services);
        let add = async |server: Server| Ok(services.into_iter().fold(server, Server::add_service));
        self.serve_with(add).await
    }

    /// Serves what `add` makes of a server that has a connection and no services yet.
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
    /// Logging is set up before, and a signal ends it at once.
    pub async fn serve_with(
        self,
        add: impl AsyncFnOnce(Server) -> Result<Server, BoxError>,
    ) -> ExitCode {
        match self.try_serve(add).await {
            Ok(ending) => ExitCode::from(exit::status(ending)),
            Err(error) => failure(&*error),
        }
    }

    /// A server with the methods and the port that the command line says, for who has a connection
    /// already.
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
            // Nothing has begun.
            Some(()) = requests.next() => return Ok(Ending::Drained),
            server = ready => server?,
        };
        process::serves(server.services());
        signals.grace(server.grace_period());
        let started = |running: &Running| process::runs(running.services());
        Ok(server.serve_while(requests, started).await?)
    }
}
