#![doc = include_str!("../README.md")]

mod arguments;
mod cache;
mod codec;
mod commands;
mod complete;
mod connection;
mod described;
mod discovery;
mod documents;
mod duration;
mod facts;
mod failure;
mod files;
mod output;
mod recorded;
mod render;
mod schema;
mod suggest;
mod target;

use std::process::ExitCode;

use clap_complete::CompleteEnv;

use crate::{arguments::Arguments, failure::Failure, output::Output};

fn main() -> ExitCode {
    // Ends the process if a shell asks for completions.
    CompleteEnv::with_factory(arguments::command).complete();
    let arguments = match Arguments::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => {
            // There is nothing to do if this fails.
            _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    let output = Output::new(arguments.global.color, arguments.global.json);
    match run(arguments, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.fail(&failure),
    }
}

fn run(arguments: Arguments, output: &Output) -> Result<(), Failure> {
    if std::env::var_os("RUST_LOG").is_some_and(|filter| !filter.is_empty()) {
        nmfw::cli::Log::default().init()?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start the runtime").caused_by(&error))?;
    let outcome = runtime.block_on(commands::execute(arguments, output));
    // A read of standard input cannot be cancelled and must not keep the process.
    runtime.shutdown_background();
    outcome
}
