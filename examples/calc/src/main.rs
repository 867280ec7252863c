//! The calculator: a service, its client and a demo in one binary.

mod calculator;
mod demo;
mod telemetry;

/// The code generated from `proto/calc.proto`.
#[allow(unreachable_pub, reason = "generated for libraries too")]
mod calc {
    nmfw::include_proto!("calc");
}

use std::{error::Error, process::ExitCode, time::Duration};

use calc::{
    AddRequest, AverageRequest, CALC_SPEC, CalcClient, CalcResponse, CalcServer, ExpressionRequest,
};
use calculator::Calculator;
use clap::{Args, Parser, Subcommand};
use nmfw::{cli, embedded::Broker};
use telemetry::Telemetry;

/// A calculator on NATS
#[derive(Parser)]
#[command(version = cli::version(&CALC_SPEC))]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service until SIGINT or SIGTERM
    ///
    /// Any number of instances share the requests, on this machine and on others. After the first
    /// signal the service accepts no more requests and completes those in flight. A second signal
    /// ends it at once.
    Run {
        #[command(flatten)]
        run: cli::Run,
        /// Start a NATS broker in this process and serve on it, to try things out
        #[arg(long, conflicts_with_all = ["server", "context"], help_heading = "Connection")]
        embedded: bool,
    },
    /// Print the NATS permissions that a user needs
    Permissions(cli::Permissions),
    /// Call the service: average numbers
    Average {
        #[command(flatten)]
        call: CallOptions,
        /// The numbers
        #[arg(allow_negative_numbers = true)]
        values: Vec<f32>,
    },
    /// Call the service: add numbers
    Add {
        #[command(flatten)]
        call: CallOptions,
        /// The numbers
        #[arg(allow_negative_numbers = true)]
        values: Vec<f32>,
    },
    /// Call the service: evaluate an expression
    Expression {
        #[command(flatten)]
        call: CallOptions,
        /// The expression, for example '2*(3+4)'
        #[arg(allow_hyphen_values = true)]
        expression: String,
    },
    /// Start a broker and the service, call it, print what discovery reports, and end
    Demo,
}

#[derive(Args)]
struct CallOptions {
    #[command(flatten)]
    nats: cli::Connect,
    /// Timeout of the call in milliseconds
    #[arg(long, default_value_t = 5000, value_name = "MILLISECONDS")]
    timeout: u64,
}

impl CallOptions {
    async fn client(&self) -> Result<CalcClient, nmfw::Error> {
        let nats = self.nats.connect().await?;
        let channel = nmfw::Channel::new(nats).timeout(Duration::from_millis(self.timeout));
        Ok(CalcClient::new(channel))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match listened(Cli::parse().command).await {
        Ok(status) => status,
        Err(error) => cli::failure(&*error),
    }
}

/// Executes the command with tracing enabled.
async fn listened(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    let telemetry = Telemetry::start()?;
    let outcome = self::command(command).await;
    telemetry.stop().await?;
    outcome
}

async fn command(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        Command::Run { run, embedded } => return serve(run, embedded).await,
        Command::Permissions(permissions) => {
            return Ok(permissions.print(CalcServer::new(Calculator)));
        }
        Command::Average { call, values } => {
            let calc = call.client().await?;
            print(&calc.average(AverageRequest { values }).await?);
        }
        Command::Add { call, values } => {
            let calc = call.client().await?;
            print(&calc.add(AddRequest { values }).await?);
        }
        Command::Expression { call, expression } => {
            let calc = call.client().await?;
            print(&calc.expression(ExpressionRequest { expression }).await?);
        }
        Command::Demo => demo::run().await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(mut run: cli::Run, embedded: bool) -> Result<ExitCode, Box<dyn Error>> {
    // Kept until the end, because dropping a broker stops it.
    let mut broker = None;
    if embedded {
        let broker = broker.insert(Broker::builder().port(4222).start().await?);
        run.connect = cli::Connect::to(broker.url());
    }
    Ok(run.serve(CalcServer::new(Calculator)).await)
}

#[allow(clippy::print_stdout, reason = "the command prints its result")]
fn print(response: &CalcResponse) {
    println!("{}", response.result);
}
