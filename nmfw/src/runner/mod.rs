//! The service as a command-line tool: `nmfw::cli`.

mod command;
mod connect;
mod exit;
mod help;
mod log;
mod permissions;
mod port;
mod run;
mod services;
mod signals;
mod variable;

use std::process::ExitCode;

pub use clap;

pub use self::{
    command::Command,
    connect::Connect,
    exit::{EXIT_FORCED, EXIT_GRACE_ENDED, failure},
    help::version,
    log::{Log, LogFormat},
    permissions::Permissions,
    run::Run,
    services::IntoServices,
};

/// An error of whatever sort, as `?` makes it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The whole `main` of a service: reads the command line and does what it says.
///
/// Name, version and description are those of the service, or of the first of several. Wrong
/// arguments end it with a status of 2; for the others see the [module](self#exit-status).
///
/// ```no_run
/// # use nmfw::server::Service;
/// # fn calc() -> Service { unimplemented!() }
/// # fn audit() -> Service { unimplemented!() }
/// use std::process::ExitCode;
///
/// #[tokio::main]
/// async fn main() -> ExitCode {
///     nmfw::cli::run([calc(), audit()]).await // CalcServer::new(Calculator), ..
/// }
/// ```
pub async fn run(services: impl IntoServices) -> ExitCode {
    let services = services.into_services();
    match command::parse(help::tool(&services), std::env::args_os()) {
        Ok(command) => command.execute(services).await,
        Err(error) => {
            // Nobody is left to be told if this fails.
            _ = error.print();
            u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
        }
    }
}
