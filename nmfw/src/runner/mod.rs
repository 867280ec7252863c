//! Command-line tools for services: `nmfw::cli`.

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

/// Any error, for `?`.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Runs a complete `main` of a service: parses the command line and executes it.
///
/// Name, version and description are those of the service, or of the first of several. Invalid
/// arguments end it with status 2; see the [module](self#exit-status) for other statuses.
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
            // There is nothing to do if this fails.
            _ = error.print();
            u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
        }
    }
}
