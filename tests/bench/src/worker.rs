//! The processes that the suite starts: a server, a client, the embedded broker. See
//! [`protocol`](crate::protocol) for their protocol.

use std::io::{Write as _, stdout};

use nmfw::embedded;
use nmfw_tests::{Failure, failure::Doing};
use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines, Stdin, stdin},
    runtime::{Builder, Runtime},
};

use crate::{
    allocations,
    cli::Worker,
    drive::Driver,
    listen::listen,
    peer::Peer,
    peers::{
        self, BaseClient, Client, HeadersClient, LocalClient, MultiplexedClient, RawClient,
        ServiceClient, TonicClient,
    },
    protocol::{COUNT, Job, Outcome, READY, REPORT},
};

/// Serves as a peer until the input ends.
pub(crate) fn serve(worker: &Worker) -> Result<(), Failure> {
    listen(worker.listener)?;
    let runtime = runtime(worker)?;
    let mut input = Input::new();
    let many = worker.many.map(|many| (many, worker.count));
    let (_held, address) = runtime.block_on(peers::serve(worker.peer, &worker.address, many))?;
    say(format_args!("{READY} {address}"))?;
    while let Some(line) = runtime.block_on(input.line()) {
        if line != COUNT {
            return Err(Failure::new(format!(
                "a server received an unknown command {line:?}"
            )));
        }
        say(READY)?;
        let ((), count) = allocations::counted(|| runtime.block_on(input.until(REPORT)));
        say_json(&Outcome {
            allocations: Some(count),
            ..Outcome::default()
        })?;
    }
    Ok(())
}

/// Executes jobs as clients of a peer until the input ends.
pub(crate) fn call(worker: &Worker) -> Result<(), Failure> {
    match worker.peer {
        Peer::Nmfw => call_as::<MultiplexedClient>(worker),
        Peer::NmfwBase => call_as::<BaseClient>(worker),
        Peer::NmfwLocal => call_as::<LocalClient>(worker),
        Peer::Raw => call_as::<RawClient>(worker),
        Peer::RawHeaders => call_as::<HeadersClient>(worker),
        Peer::AsyncNatsService => call_as::<ServiceClient>(worker),
        Peer::Tonic => call_as::<TonicClient>(worker),
        peer => Err(Failure::new(format!("{peer} has no client in Rust"))),
    }
}

fn call_as<C: Client>(worker: &Worker) -> Result<(), Failure> {
    listen(worker.listener)?;
    let runtime = runtime(worker)?;
    let mut input = Input::new();
    let address = &worker.address;
    let mut driver = runtime.block_on(Driver::<C>::connect(address, worker.clients))?;
    say(READY)?;
    while let Some(line) = runtime.block_on(input.line()) {
        let job: Job = serde_json::from_str(&line).doing("read a job")?;
        let outcome = if worker.counting {
            let (outcome, count) = allocations::counted(|| runtime.block_on(driver.run(job)));
            outcome.map(|outcome| Outcome {
                allocations: Some(count),
                ..outcome
            })
        } else {
            runtime.block_on(driver.run(job))
        };
        say_json(&outcome.unwrap_or_else(|failure| Outcome {
            errors: 1,
            error: Some(failure.to_string()),
            ..Outcome::default()
        }))?;
    }
    Ok(())
}

/// Runs a broker until the input ends.
pub(crate) fn broker() -> Result<(), Failure> {
    let runtime = Runtime::new().doing("start a runtime")?;
    let broker = runtime
        .block_on(embedded::Broker::start())
        .doing("start the embedded broker")?;
    say(format_args!("{READY} {}", broker.url()))?;
    let mut input = Input::new();
    while runtime.block_on(input.line()).is_some() {}
    Ok(())
}

fn runtime(worker: &Worker) -> Result<Runtime, Failure> {
    let mut builder = if worker.counting {
        Builder::new_current_thread()
    } else {
        Builder::new_multi_thread()
    };
    builder.enable_all().build().doing("start a runtime")
}

fn say(line: impl std::fmt::Display) -> Result<(), Failure> {
    let mut out = stdout().lock();
    writeln!(out, "{line}").doing("write to the suite")?;
    out.flush().doing("write to the suite")
}

fn say_json(value: &impl Serialize) -> Result<(), Failure> {
    say(serde_json::to_string(value).doing("write JSON")?)
}

/// Lines from the suite. An error counts as the end.
struct Input(Option<Lines<BufReader<Stdin>>>);

impl Input {
    fn new() -> Self {
        Self(None)
    }

    async fn line(&mut self) -> Option<String> {
        let lines = self
            .0
            .get_or_insert_with(|| BufReader::new(stdin()).lines());
        lines.next_line().await.ok().flatten()
    }

    async fn until(&mut self, word: &str) {
        while let Some(line) = self.line().await {
            if line == word {
                return;
            }
        }
    }
}
