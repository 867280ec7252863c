//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{
    peer::Peer,
    setup::{Listener, Many},
    work::Work,
};

/// Benchmarks nmfw against raw NATS, other RPC frameworks on NATS, and direct gRPC, in alternating
/// rounds on one machine, and writes results.csv, costs.csv, results.md and charts.
#[derive(Debug, Parser)]
#[command(name = "nmfw-bench", args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    #[command(flatten)]
    pub(crate) suite: Suite,
}

/// The arguments of the suite.
#[derive(Clone, Debug, Args)]
pub(crate) struct Suite {
    /// Unary calls of 16 B by 1, 128 and 1024 callers, for the peers in Rust, in under three
    /// minutes. With --only or --peers: the smallest set of their cases
    #[arg(long)]
    pub(crate) quick: bool,

    /// Only this work
    #[arg(long, value_name = "WORK", value_delimiter = ',')]
    pub(crate) only: Vec<Work>,

    /// Only these peers
    #[arg(long, value_name = "PEER", value_delimiter = ',')]
    pub(crate) peers: Vec<Peer>,

    /// The output folder [default: bench/ in cargo's target directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Compare instructions of nmfw with this file, and fail if they have increased. With --only or
    /// --peers: compare costs of those
    #[arg(long, value_name = "FILE", conflicts_with = "quick")]
    pub(crate) check: Option<PathBuf>,

    /// Write this file, for later use with --check
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "check"])]
    pub(crate) bless: Option<PathBuf>,

    /// Number of rounds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,

    /// Duration of each measurement in milliseconds
    #[arg(long, default_value_t = 800, value_parser = clap::value_parser!(u64).range(10..))]
    pub(crate) millis: u64,
}

/// The role of a process that the suite starts.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Serves
    #[command(hide = true)]
    Serve(Worker),
    /// Calls
    #[command(hide = true)]
    Call(Worker),
    /// Runs the embedded broker
    #[command(hide = true)]
    Broker,
}

#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// The peer
    pub(crate) peer: Peer,
    /// The broker's URL; for a client, the address of its server
    pub(crate) address: String,
    /// Number of clients, each with a connection
    #[arg(long, default_value_t = 1)]
    pub(crate) clients: usize,
    /// Run on one thread, and count allocations
    #[arg(long)]
    pub(crate) counting: bool,
    /// The receiver of `tracing` and metrics
    #[arg(long, default_value_t)]
    pub(crate) listener: Listener,
    /// The kind of items that a server has many of
    #[arg(long)]
    pub(crate) many: Option<Many>,
    /// Number of these items
    #[arg(long, default_value_t = 1)]
    pub(crate) count: usize,
}

impl Suite {
    /// Returns the work to measure, in order.
    pub(crate) fn works(&self) -> Vec<Work> {
        let all = if self.quick {
            &[Work::Unary]
        } else if self.has_baseline() {
            &[Work::Instructions]
        } else {
            Work::ALL
        };
        pick(all, Work::ALL, &self.only)
    }

    /// The peers to measure, in their order.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        let every: &[Peer] = clap::ValueEnum::value_variants();
        let all = if self.quick {
            &Peer::RUST
        } else if self.has_baseline() {
            &Peer::NMFW
        } else {
            every
        };
        pick(all, every, &self.peers)
    }

    fn has_baseline(&self) -> bool {
        self.check.is_some() || self.bless.is_some()
    }
}

/// Returns all items, or the wanted ones of `every`.
fn pick<T: Copy + PartialEq>(all: &[T], every: &[T], wanted: &[T]) -> Vec<T> {
    if wanted.is_empty() {
        return all.to_vec();
    }
    let wanted = every.iter().filter(|one| wanted.contains(one));
    wanted.copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(args: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("nmfw-bench").chain(args.split_whitespace()))
    }

    #[test]
    fn it_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn all_work_of_all_peers_unless_told() {
        let suite = parse("").unwrap().suite;
        assert_eq!(suite.works(), Work::ALL);
        assert_eq!(suite.peers().len(), 13);
        assert_eq!((suite.rounds, suite.out), (5, None));
    }

    #[test]
    fn quick_is_unary_of_the_peers_in_rust() {
        let suite = parse("--quick").unwrap().suite;
        assert_eq!(suite.works(), [Work::Unary]);
        assert_eq!(suite.peers(), Peer::RUST);
        let suite = parse("--quick --only server-streaming --peers go-micro")
            .unwrap()
            .suite;
        assert_eq!(suite.works(), [Work::ServerStreaming]);
        assert_eq!(suite.peers(), [Peer::GoMicro]);
    }

    #[test]
    fn a_baseline_is_of_instructions_of_nmfw_unless_told() {
        let suite = parse("--check a.csv").unwrap().suite;
        assert_eq!(suite.works(), [Work::Instructions]);
        assert_eq!(suite.peers(), Peer::NMFW);
        let suite = parse("--bless a.csv --only allocations --peers raw")
            .unwrap()
            .suite;
        assert_eq!(suite.works(), [Work::Allocations]);
        assert_eq!(suite.peers(), [Peer::Raw]);
        assert!(parse("--check a.csv --bless a.csv").is_err());
        assert!(parse("--check a.csv --quick").is_err());
    }

    #[test]
    fn lists_are_put_in_order_and_twice_is_once() {
        let suite = parse("--peers tonic,nmfw,nmfw --only unary-16-instances,unary --out a/b")
            .unwrap()
            .suite;
        assert_eq!(suite.peers(), [Peer::Nmfw, Peer::Tonic]);
        assert_eq!(suite.works(), [Work::Unary, Work::UnaryInstances16]);
        assert_eq!(suite.out, Some(PathBuf::from("a/b")));
    }

    #[test]
    fn unknown_names_are_refused_with_the_known_ones() {
        for args in [
            "--peers nobody",
            "--only nothing",
            "--rounds 0",
            "--millis 1",
        ] {
            assert!(parse(args).is_err(), "{args}");
        }
        let error = parse("--only nothing").unwrap_err().to_string();
        assert!(error.contains("server-streaming"), "{error}");
    }

    #[test]
    fn workers_are_not_in_the_help() {
        let help = Cli::command().render_long_help().to_string();
        assert!(!help.contains("Serves"), "{help}");
        let cli =
            parse("call nmfw-base nats://x:1 --clients 3 --counting --listener lines").unwrap();
        let Some(Role::Call(worker)) = cli.role else {
            panic!("{cli:?}")
        };
        assert_eq!((worker.peer, worker.clients), (Peer::NmfwBase, 3));
        assert!(worker.counting);
        assert_eq!(worker.listener, Listener::Lines);
    }
}
