//! Measures how costs grow with the number of services, instances, methods or sessions in a
//! process.

use std::time::{Duration, Instant};

use nmfw_tests::Failure;

use crate::{
    cli::Suite,
    counted::SETTLE,
    launch::Launcher,
    party::{Party, Running},
    process::{Process, cpu_seconds, resident},
    protocol::{Job, Outcome, What},
    results::Cost,
    setup::Many,
    stats::median,
    work::Case,
};

/// The numbers of items.
pub(crate) const COUNTS: [usize; 4] = [1, 10, 100, 1000];

/// Numbers of callers for measuring throughput and latency.
const CALLERS: [usize; 2] = [128, 1];

/// Warm-up before measurements.
const WARM_UP: Duration = Duration::from_millis(150);

/// Starts the items, measures memory, and makes calls with one client.
pub(crate) async fn costs(
    case: &Case,
    launcher: &Launcher,
    suite: &Suite,
) -> Result<Vec<Cost>, Failure> {
    let Some((many, count)) = case.setup.many else {
        return Err(Failure::new("the setup has no kind of items"));
    };
    let mut costs = Vec::new();
    let mut put = |measure: &str, unit, value: Option<f64>| {
        costs.extend(value.map(|value| Cost {
            case: *case,
            peer: launcher.peer,
            measure: format!("{many}_{measure}"),
            unit,
            value,
        }));
    };
    let broker = Running::start(case.setup.broker).await?;
    let (server, startup) = server(case, launcher, &broker, suite.rounds).await?;
    put("startup_server", "ms", startup);

    let servers = [server];
    let mut client = Party::client(launcher, case.setup, &broker, &servers).await?;
    // The calling client also has a session.
    run(&mut client, case.job().lasting(WARM_UP)).await?;
    if many == Many::Sessions && count > 1 {
        let mut job = case.job();
        (job.what, job.callers) = (What::IdleSessions, count - 1);
        let began = Instant::now();
        run(&mut client, job).await?;
        put(
            "startup_clients",
            "ms",
            Some(began.elapsed().as_secs_f64() * 1e3),
        );
    }
    tokio::time::sleep(SETTLE).await;
    put("memory_server", "KiB", memory(servers[0].pid()));
    put("memory_client", "KiB", memory(client.pid()));
    put("memory_broker", "KiB", memory(broker.pids()));

    let pids: Vec<u32> = servers[0].pid().into_iter().collect();
    for callers in CALLERS {
        let mut job = case.job().lasting(WARM_UP);
        job.callers = callers;
        run(&mut client, job).await?;
        let job = job.lasting(Duration::from_millis(suite.millis));
        let (mut rates, mut medians, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..suite.rounds {
            let before = cpu_seconds(&pids);
            let outcome = run(&mut client, job).await?;
            #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
            cpu.push((cpu_seconds(&pids) - before) * 1e6 / outcome.done.max(1) as f64);
            rates.push(outcome.per_second());
            medians.extend(outcome.p50_us);
        }
        if callers == 1 {
            put("p50_1_caller", "us", median(&medians));
        } else {
            put("calls_128_callers", "a second", median(&rates));
            put("cpu_server_128_callers", "us", median(&cpu));
        }
    }
    client.stop().await;
    for server in servers {
        server.stop().await;
    }
    broker.stop().await;
    Ok(costs)
}

/// Starts a server, and returns it with the startup time per item in milliseconds.
async fn server(
    case: &Case,
    launcher: &Launcher,
    broker: &Running,
    rounds: u32,
) -> Result<(Process, Option<f64>), Failure> {
    let mut times = Vec::new();
    loop {
        let began = Instant::now();
        let server = Party::server(launcher, case.setup, broker, 0).await?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        if times.len() >= rounds as usize {
            return Ok((server, median(&times)));
        }
        server.stop().await;
    }
}

/// Returns the resident memory in KiB.
fn memory(pids: impl IntoIterator<Item = u32>) -> Option<f64> {
    let pids: Vec<u32> = pids.into_iter().collect();
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let memory = resident(&pids) as f64 / 1024.0;
    (!pids.is_empty()).then_some(memory)
}

/// Executes a job, which must have no errors.
async fn run(client: &mut Process, job: Job) -> Result<Outcome, Failure> {
    let outcome = client.run(job).await?;
    match outcome.error {
        Some(error) => Err(Failure::new(error)),
        None => Ok(outcome),
    }
}
