//! Benchmarks nmfw against raw NATS, other RPC frameworks on NATS, and direct gRPC; see the README.
//!
//! The suite ([`suite`]) starts a broker, and a server and a client of each peer, all in separate
//! processes ([`process`], [`worker`]), and lets the clients do the same work in alternation.

mod allocations;
mod baseline;
mod building;
mod cli;
mod counted;
mod drive;
mod foreign;
mod growth;
mod host;
mod launch;
mod listen;
mod meter;
mod party;
mod peer;
mod peers;
mod process;
mod protocol;
mod report;
mod results;
mod setup;
mod stats;
mod suite;
mod work;
mod worker;

use clap::Parser;

use crate::cli::{Cli, Role};

fn main() -> Result<(), nmfw_tests::Failure> {
    let cli = Cli::parse();
    match cli.role {
        None => suite::run(&cli.suite),
        Some(Role::Serve(worker)) => worker::serve(&worker),
        Some(Role::Call(worker)) => worker::call(&worker),
        Some(Role::Broker) => worker::broker(),
    }
}
