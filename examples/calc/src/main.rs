//! The calculator: a service, its client and a demo in one binary.

mod calculator;
mod demo;

/// What the generator made of `proto/calc.proto`.
#[allow(unreachable_pub, reason = "generated for libraries too")]
mod calc {
    nmfw::include_proto!("calc");
}

use std::{error::Error, process::ExitCode, time::Duration};

use calc::{AddRequest, AverageRequest, CalcClient, CalcResponse, CalcServer, ExpressionRequest};
use calculator::Calculator;
use clap::{Args, Parser, Subcommand};
use nmfw::{Connection, Server, embedded::Broker};

/// A calculator on NATS
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service until SIGINT or SIGTERM
    Run {
        #[command(flatten)]
        nats: Nats,
        /// Start a NATS broker in this process and serve on that, for trying things out
        #[arg(long, conflicts_with_all = ["server", "context"])]
        embedded: bool,
    },
    /// Call the service: the average of numbers
    Average {
        #[command(flatten)]
        call: CallOptions,
        /// The numbers
        #[arg(allow_negative_numbers = true)]
        values: Vec<f32>,
    },
    /// Call the service: the sum of numbers
    Add {
        #[command(flatten)]
        call: CallOptions,
        /// The numbers
        #[arg(allow_negative_numbers = true)]
        values: Vec<f32>,
    },
    /// Call the service: the value of an expression
    Expression {
        #[command(flatten)]
        call: CallOptions,
        /// The expression, for example '2*(3+4)'
        #[arg(allow_hyphen_values = true)]
        expression: String,
    },
    /// Start a broker and the service, call it, show what discovery says of it, and end
    Demo,
}

/// Where NATS is. With neither: $NATS_CONTEXT, $NATS_URL, the context that the nats command has
/// selected, or nats://localhost:4222.
#[derive(Args)]
struct Nats {
    /// URLs of the NATS servers, with commas between
    #[arg(long, conflicts_with = "context")]
    server: Option<String>,
    /// A context of the nats command, by name or path
    #[arg(long)]
    context: Option<String>,
}

#[derive(Args)]
struct CallOptions {
    #[command(flatten)]
    nats: Nats,
    /// How long to wait for the answer, in milliseconds
    #[arg(long, default_value_t = 5000, value_name = "MILLISECONDS")]
    timeout: u64,
}

impl Nats {
    async fn connect(&self) -> Result<Connection, nmfw::Error> {
        match (&self.server, &self.context) {
            (Some(urls), _) => nmfw::connect(urls.as_str()).await,
            (None, Some(context)) => nmfw::connect_context(context).await,
            (None, None) => nmfw::connect_env().await,
        }
    }
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
    match command(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&*error);
            ExitCode::FAILURE
        }
    }
}

async fn command(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Run { nats, embedded } => run(&nats, embedded).await?,
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
    Ok(())
}

async fn run(nats: &Nats, embedded: bool) -> Result<(), Box<dyn Error>> {
    log_to_stderr();
    // Kept until the end: dropping a broker stops it.
    let broker = if embedded {
        Some(Broker::builder().port(4222).start().await?)
    } else {
        None
    };
    let nats = match &broker {
        Some(broker) => nmfw::connect(broker.url()).await?,
        None => nats.connect().await?,
    };
    Server::new(nats)
        .add_service(CalcServer::new(Calculator))
        .serve_with_shutdown(nmfw::shutdown_signal())
        .await?;
    Ok(())
}

fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| "info,async_nats=warn".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

#[allow(clippy::print_stdout, reason = "what the command is for")]
fn print(response: &CalcResponse) {
    println!("{}", response.result);
}

#[allow(clippy::print_stderr, reason = "how a command fails")]
fn report(error: &dyn Error) {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  caused by: {error}");
        cause = error.source();
    }
}
