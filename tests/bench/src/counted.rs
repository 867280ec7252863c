//! Measures counts instead of times: allocations, memory, instructions, and the time to a first
//! answer. Each peer runs alone, with a separate broker.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use nmfw_tests::{Failure, failure::Doing, install};

use crate::{
    building,
    cli::Suite,
    growth,
    launch::Launcher,
    party::{Party, Running},
    process::resident,
    protocol::{COUNT, REPORT, What},
    results::Cost,
    stats::median,
    work::{Case, Work},
};

/// Warm-up before allocations are counted, in which sessions are opened.
const WARM_UP: Duration = Duration::from_millis(300);

/// Number of calls under callgrind for warm-up, and for the shorter and the longer run. Costs of
/// startup, shutdown and connecting are in both runs, and so cancel out.
const WARM_UP_CALLS: u64 = 256;
const FEWER_CALLS: u64 = 1_280;
const MORE_CALLS: u64 = 6_400;

/// Settling time of idle items before memory is measured.
pub(crate) const SETTLE: Duration = Duration::from_secs(1);

/// Number of calls for counting allocations.
const COUNTED_CALLS: u64 = 12_800;

/// Time limit for a server's report.
const REPORT_LIMIT: Duration = Duration::from_secs(10);

/// Measures a case that is counted.
pub(crate) async fn costs(
    case: &Case,
    launcher: &Launcher,
    suite: &Suite,
) -> Result<Vec<Cost>, Failure> {
    match case.work {
        Work::Instructions => return instructions(case, launcher).await,
        Work::Building => return building::costs(case, launcher.peer),
        Work::Growth => return growth::costs(case, launcher, suite).await,
        _ => {}
    }
    let broker = Running::start(case.setup.broker).await?;
    if case.work == Work::Startup {
        return startup(case, launcher, &broker, suite.rounds).await;
    }
    let mut party = Party::start(launcher, case.setup, &broker).await?;
    let costs = match case.work {
        Work::Memory => memory(case, &mut party, &broker).await,
        _ => allocations(case, &mut party).await,
    };
    party.stop().await;
    broker.stop().await;
    costs
}

/// Measures the time from the start of a server until it serves, and from the start of a client
/// until its first answer.
async fn startup(
    case: &Case,
    launcher: &Launcher,
    broker: &Running,
    rounds: u32,
) -> Result<Vec<Cost>, Failure> {
    let (mut serving, mut answered) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut servers = Vec::new();
        let began = Instant::now();
        if !launcher.peer.is_local() {
            servers.push(Party::server(launcher, case.setup, broker, 0).await?);
            serving.push(began.elapsed().as_secs_f64() * 1e3);
        }
        let began = Instant::now();
        let mut client = Party::client(launcher, case.setup, broker, &servers).await?;
        let mut job = case.job();
        job.calls = 1;
        if let Some(error) = client.run(job).await?.error {
            return Err(Failure::new(error));
        }
        answered.push(began.elapsed().as_secs_f64() * 1e3);
        client.stop().await;
        for server in servers {
            server.stop().await;
        }
    }
    let measures = [("startup_server", serving), ("startup_client", answered)];
    let costs = measures.iter().filter_map(|(measure, times)| {
        Some(Cost {
            case: *case,
            peer: launcher.peer,
            measure: (*measure).to_owned(),
            unit: "ms",
            value: median(times)?,
        })
    });
    Ok(costs.collect())
}

/// Measures instructions per call with callgrind, which are nearly reproducible.
async fn instructions(case: &Case, launcher: &Launcher) -> Result<Vec<Cost>, Failure> {
    if install::in_path("valgrind").is_none() {
        return Err(Failure::new("there is no valgrind in PATH"));
    }
    let fewer = collected(case, launcher, FEWER_CALLS).await?;
    let more = collected(case, launcher, MORE_CALLS).await?;
    let parts = ["instructions_client", "instructions_server"];
    let costs = parts.iter().zip(fewer.iter().zip(&more));
    let costs = costs.filter_map(|(measure, (fewer, more))| {
        #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let value = (*more)?.checked_sub((*fewer)?)? as f64 / (MORE_CALLS - FEWER_CALLS) as f64;
        Some(Cost {
            case: *case,
            peer: launcher.peer,
            measure: (*measure).to_owned(),
            unit: "a call",
            value,
        })
    });
    Ok(costs.collect())
}

/// Returns the instructions of a client and a server for this number of calls.
async fn collected(
    case: &Case,
    launcher: &Launcher,
    calls: u64,
) -> Result<[Option<u64>; 2], Failure> {
    let logs = tempfile::tempdir().doing("make a directory for logs")?;
    let broker = Running::start(case.setup.broker).await?;
    let launcher = launcher.under_callgrind(logs.path());
    let mut party = Party::start(&launcher, case.setup, &broker).await?;
    for calls in [WARM_UP_CALLS, calls] {
        let mut job = case.job();
        job.calls = calls;
        if let Some(error) = party.client.run(job).await?.error {
            return Err(Failure::new(error));
        }
    }
    party.stop().await;
    broker.stop().await;
    let read = |part: &str| {
        let log = Path::new(logs.path()).join(part);
        fs::read_to_string(log)
            .ok()
            .and_then(|log| instructions_of(&log))
    };
    Ok([read("call"), read("serve")])
}

/// Parses the last line of callgrind's output: `==42== Collected : 123456`.
fn instructions_of(log: &str) -> Option<u64> {
    let (_, count) = log.rsplit_once("Collected :")?;
    count.split_whitespace().next()?.parse().ok()
}

/// Measures allocations per call, of client and server, on one thread each.
async fn allocations(case: &Case, party: &mut Party) -> Result<Vec<Cost>, Failure> {
    party.client.run(case.job().lasting(WARM_UP)).await?;
    for server in &mut party.servers {
        server.say(COUNT).await?;
        server.line(REPORT_LIMIT).await?;
    }
    let mut job = case.job();
    job.calls = COUNTED_CALLS;
    let outcome = party.client.run(job).await?;
    let mut counts = vec![("allocations_client", outcome.allocations)];
    for server in &mut party.servers {
        server.say(REPORT).await?;
        let outcome = server.outcome(REPORT_LIMIT).await?;
        counts.push(("allocations_server", outcome.allocations));
    }
    if let Some(error) = outcome.error {
        return Err(Failure::new(error));
    }
    let costs = counts.into_iter().filter_map(|(measure, count)| {
        #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let value = count? as f64 / outcome.done.max(1) as f64;
        Some(Cost {
            case: *case,
            peer: party.peer,
            measure: measure.to_owned(),
            unit: "a call",
            value,
        })
    });
    let costs: Vec<Cost> = costs.collect();
    if costs.is_empty() {
        return Err(Failure::new("the peer does not count its allocations"));
    }
    Ok(costs)
}

/// Measures the memory of idle clients, sessions or streams, in client, server and broker.
async fn memory(case: &Case, party: &mut Party, broker: &Running) -> Result<Vec<Cost>, Failure> {
    let job = case.job();
    // One item first, because one-time allocations are not counted.
    let mut one = job;
    one.callers = 1;
    if party.client.run(one).await?.done == 0 {
        return Err(Failure::new("the peer does not support this"));
    }
    tokio::time::sleep(SETTLE).await;
    let parts = [
        ("memory_client", party.client_pids()),
        ("memory_server", party.server_pids()),
        ("memory_broker", broker.pids()),
    ];
    let before = parts.each_ref().map(|(_, pids)| resident(pids));
    let outcome = party.client.run(job).await?;
    if let Some(error) = outcome.error {
        return Err(Failure::new(error));
    }
    tokio::time::sleep(SETTLE).await;
    let costs = parts.iter().zip(before).map(|((measure, pids), before)| {
        let grown = resident(pids).saturating_sub(before);
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let value = grown as f64 / outcome.done.max(1) as f64 / 1024.0;
        Cost {
            case: *case,
            peer: party.peer,
            measure: (*measure).to_owned(),
            unit: match case.what {
                What::IdleClients => "KiB a client",
                What::IdleSessions => "KiB a client with a session",
                _ => "KiB a stream",
            },
            value,
        }
    });
    Ok(costs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_output_of_callgrind() {
        let log = "==7== Events    : Ir\n==7== Collected : 1234567\n==7== \n";
        assert_eq!(instructions_of(log), Some(1_234_567));
        assert_eq!(instructions_of("==7== killed"), None);
    }
}
