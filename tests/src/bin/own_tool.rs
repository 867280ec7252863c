//! A tool with its own flags and subcommands in addition to the runner's. Its service does what
//! tests of the runner need: it logs, panics, hangs, or blocks its thread.

use std::{process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use nmfw::{Context, Status, cli};
use nmfw_tests::calc::{
    AddRequest, AverageRequest, CALC_SPEC, Calc, CalcResponse, CalcServer, ExpressionRequest,
};

/// A tool
// Not called `Cli`, because a group of the runner's arguments has that name.
#[derive(Parser)]
#[command(version = cli::version(&CALC_SPEC))]
struct Run {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Service(cli::Command),
    /// Serve with settings, or several services
    Serve {
        #[command(flatten)]
        run: cli::Run,
        /// The grace period in milliseconds
        #[arg(long, default_value_t = 10_000)]
        grace: u64,
        /// Serve the service a second time, below another subject
        #[arg(long)]
        twice: bool,
        /// Fail before it serves
        #[arg(long)]
        fail: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match Run::parse().command {
        Command::Service(command) => command.execute(CalcServer::new(Unruly)).await,
        Command::Serve {
            run,
            grace,
            twice,
            fail,
        } => {
            run.serve_with(async |mut server| {
                if fail {
                    tokio::fs::read("/does/not/exist").await?;
                }
                if twice {
                    let other = CalcServer::new(Unruly).subject("other").name("other");
                    server = server.add_service(other);
                }
                let server = server.add_service(CalcServer::new(Unruly));
                Ok(server.grace(Duration::from_millis(grace)))
            })
            .await
        }
    }
}

struct Unruly;

impl Calc for Unruly {
    async fn average(&self, _ctx: Context, _req: AverageRequest) -> Result<CalcResponse, Status> {
        Ok(CalcResponse::default())
    }

    async fn add(&self, _ctx: Context, _req: AddRequest) -> Result<CalcResponse, Status> {
        Ok(CalcResponse::default())
    }

    async fn expression(
        &self,
        ctx: Context,
        req: ExpressionRequest,
    ) -> Result<CalcResponse, Status> {
        let expression = req.expression;
        tracing::info!(expression, level = 7, "calculating");
        match expression.as_str() {
            "panic" => panic!("told\nto"),
            // Ends only once the server has begun to stop.
            "wait" => {
                ctx.stopping().await;
                Ok(CalcResponse::default())
            }
            "hang" => std::future::pending().await,
            #[allow(clippy::infinite_loop, reason = "the expression is an instruction")]
            "block" => loop {
                std::thread::park();
            },
            _ => {
                tracing::debug!("calculated");
                Ok(CalcResponse::default())
            }
        }
    }
}
