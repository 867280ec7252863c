//! A tool with only the runner: `tool run ..`.

use std::process::ExitCode;

use nmfw_tests::calc::{CalcServer, Calculator};

#[tokio::main]
async fn main() -> ExitCode {
    nmfw::cli::run(CalcServer::new(Calculator)).await
}
