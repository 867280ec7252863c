//! Runs the plan: every case by every peer, in turns, round after round.

use std::{
    io::{IsTerminal, Write as _, stderr},
    time::{Duration, Instant},
};

use nmfw_tests::{Failure, NatsServer, failure::Doing, install};
use tokio::process::Command;

use crate::{
    cli::Suite,
    host::{Host, load},
    launch::{Launcher, Part},
    peer::Peer,
    process::{Process, busy_seconds, cpu_seconds, resident},
    protocol::{COUNT, Outcome, REPORT, What},
    report,
    results::{Cost, Results, Row, Skipped},
    stats::Sample,
    work::{Broker, Case, Setup, Work},
};

/// How long a peer does a work before it is measured: caches fill, sessions open.
const WARM_UP: Duration = Duration::from_millis(150);

/// How long what idles is left alone before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(1);

/// How many calls are counted where allocations are.
const COUNTED_CALLS: u64 = 12_800;

/// How long a server may take to say what it counted.
const REPORT_LIMIT: Duration = Duration::from_secs(10);

/// Measures and writes it all.
pub(crate) fn run(suite: &Suite) -> Result<(), Failure> {
    let out = match &suite.out {
        Some(out) => out.clone(),
        None => install::target_dir().join("bench"),
    };
    std::fs::create_dir_all(&out).doing(format_args!("create {}", out.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .doing("start a runtime")?;
    let host = Host::look();
    let began = Instant::now();
    let results = runtime.block_on(Run::new(suite).measure())?;
    let run = report::Run {
        host,
        load_after: load(),
        took: began.elapsed(),
        rounds: suite.rounds,
        millis: suite.millis,
    };
    report::write(&out, &run, &results)?;
    let failed = results.rows.iter().filter(|row| row.errors > 0).count();
    if failed > 0 {
        tell(&format!("{failed} rows had errors; results.md says which"));
    }
    tell(&format!(
        "{} rows in {:.0} s: {}",
        results.rows.len(),
        run.took.as_secs_f64(),
        out.join("results.md").display()
    ));
    Ok(())
}

struct Run<'a> {
    suite: &'a Suite,
    launchers: Vec<(Peer, Result<Launcher, String>)>,
    results: Results,
    done: usize,
    all: usize,
}

/// The processes of a peer in a setup.
struct Party {
    peer: Peer,
    servers: Vec<Process>,
    client: Process,
}

/// The broker of a setup.
enum Running {
    NatsServer(Box<NatsServer>),
    Embedded(Process),
}

impl<'a> Run<'a> {
    fn new(suite: &'a Suite) -> Self {
        Self {
            suite,
            launchers: Vec::new(),
            results: Results::default(),
            done: 0,
            all: 0,
        }
    }

    async fn measure(mut self) -> Result<Results, Failure> {
        for peer in self.suite.peers() {
            let launcher = Launcher::of(peer).map_err(|failure| failure.to_string());
            if let Err(reason) = &launcher {
                tell(&format!("{peer} is not run: {}", first_line(reason)));
            }
            self.launchers.push((peer, launcher));
        }
        let works = self.suite.works();
        let cases = works.iter().flat_map(|work| work.cases(self.suite.quick));
        let (counted, timed): (Vec<Case>, Vec<Case>) = cases.partition(|case| case.is_counted());
        self.all =
            (timed.len() * self.suite.rounds as usize + counted.len()) * self.launchers.len();
        let mut setups: Vec<Setup> = Vec::new();
        for case in &timed {
            if !setups.contains(&case.setup) {
                setups.push(case.setup);
            }
        }
        for setup in setups {
            let cases = timed.iter().filter(|case| case.setup == setup);
            self.rounds(setup, &cases.copied().collect::<Vec<_>>())
                .await?;
        }
        for case in counted {
            self.count(case).await?;
        }
        self.results.sort(&works);
        Ok(self.results)
    }

    /// Why a peer does not do this, if it does not.
    fn reason(&self, peer: Peer, case: &Case) -> Option<String> {
        let (_, launcher) = self.launchers.iter().find(|(each, _)| *each == peer)?;
        match (launcher, peer.can(case)) {
            (Err(reason), _) => Some(first_line(reason)),
            (Ok(_), Err(reason)) => Some(reason.to_owned()),
            (Ok(_), Ok(())) => None,
        }
    }

    /// All cases of a setup.
    async fn rounds(&mut self, setup: Setup, cases: &[Case]) -> Result<(), Failure> {
        let broker = Running::start(setup.broker).await?;
        let peers: Vec<Peer> = self.launchers.iter().map(|(peer, _)| *peer).collect();
        let mut parties = Vec::new();
        let mut rows: Vec<Row> = Vec::new();
        for peer in &peers {
            let mut failed = None;
            if cases.iter().any(|case| self.reason(*peer, case).is_none()) {
                match self.party(*peer, setup, &broker).await {
                    Ok(party) => parties.push(party),
                    Err(failure) => failed = Some(failure.to_string()),
                }
            }
            rows.extend(cases.iter().map(|case| Row {
                case: *case,
                peer: *peer,
                samples: Vec::new(),
                errors: 0,
                note: self.reason(*peer, case).or_else(|| failed.clone()),
            }));
        }
        let was = self.done;
        for round in 0..self.suite.rounds as usize {
            for case in cases {
                // Nobody always comes after the same one.
                let turn = round % parties.len().max(1);
                parties.rotate_left(turn);
                for party in &mut parties {
                    let row = rows
                        .iter_mut()
                        .find(|row| row.case == *case && row.peer == party.peer);
                    let Some(row) = row.filter(|row| row.runs()) else {
                        continue;
                    };
                    self.done += 1;
                    self.progress(&format!("{}, {}", case.title(), party.peer));
                    match self.sample(case, party, &broker).await {
                        Ok((sample, outcome)) => row.add(sample, &outcome),
                        Err(failure) => row.fail(&failure),
                    }
                }
            }
        }
        self.done = was + cases.len() * self.suite.rounds as usize * peers.len();
        for party in parties {
            party.stop().await;
        }
        broker.stop().await;
        self.results.rows.extend(rows);
        Ok(())
    }

    async fn sample(
        &self,
        case: &Case,
        party: &mut Party,
        broker: &Running,
    ) -> Result<(Option<Sample>, Outcome), Failure> {
        party.client.run(case.job().lasting(WARM_UP)).await?;
        let (servers, client) = (party.server_pids(), party.client_pids());
        let brokers = broker.pids();
        let look = || {
            let cpu = [&client, &servers, &brokers].map(|pids| cpu_seconds(pids));
            (cpu, busy_seconds(), Instant::now())
        };
        let (cpu_before, busy_before, began) = look();
        let job = case.job().lasting(Duration::from_millis(self.suite.millis));
        let outcome = party.client.run(job).await?;
        let (cpu, busy, ended) = look();
        if outcome.done == 0 {
            return Ok((None, outcome));
        }
        let used: Vec<f64> = cpu
            .iter()
            .zip(cpu_before)
            .map(|(now, then)| now - then)
            .collect();
        #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let each = |seconds: f64| seconds * 1e6 / outcome.done as f64;
        let others = (busy - busy_before - used.iter().sum::<f64>()).max(0.0);
        let sample = Sample {
            per_second: outcome.per_second(),
            p50_us: outcome.p50_us,
            p99_us: outcome.p99_us,
            client_us: each(used[0]),
            server_us: each(used[1]),
            broker_us: each(used[2]),
            others: others / (ended - began).as_secs_f64(),
        };
        Ok((Some(sample), outcome))
    }

    /// A case of which not the time is measured, once, each peer by itself.
    async fn count(&mut self, case: Case) -> Result<(), Failure> {
        let peers: Vec<Peer> = self.launchers.iter().map(|(peer, _)| *peer).collect();
        for peer in peers {
            self.done += 1;
            self.progress(&format!("{}, {peer}", case.title()));
            let counted = match self.reason(peer, &case) {
                Some(reason) => Err(Failure::new(reason)),
                None => {
                    let broker = Running::start(case.setup.broker).await?;
                    let mut party = self.party(peer, case.setup, &broker).await?;
                    let counted = if case.setup.counting {
                        allocations(&case, &mut party).await
                    } else {
                        memory(&case, &mut party, &broker).await
                    };
                    party.stop().await;
                    broker.stop().await;
                    counted
                }
            };
            match counted {
                Ok(costs) => self.results.costs.extend(costs),
                Err(failure) => self.results.skipped.push(Skipped {
                    case,
                    peer,
                    reason: failure.to_string(),
                }),
            }
        }
        Ok(())
    }

    async fn party(&self, peer: Peer, setup: Setup, broker: &Running) -> Result<Party, Failure> {
        let launcher = self.launchers.iter().find(|(each, _)| *each == peer);
        let launcher = match launcher {
            Some((_, Ok(launcher))) => launcher,
            Some((_, Err(reason))) => return Err(Failure::new(reason.clone())),
            None => return Err(Failure::new(format!("{peer} takes no part"))),
        };
        let mut servers = Vec::new();
        let instances = if peer.is_local() { 0 } else { setup.instances };
        for number in 0..instances {
            let command = launcher.command(Part::Server, &broker.url(), setup.counting);
            let name = format!("{peer}'s server {number}");
            servers.push(Process::start(command, name).await?);
        }
        let address = servers
            .first()
            .map_or_else(|| broker.url(), |server: &Process| server.address.clone());
        let command = launcher.command(Part::Clients(setup.clients), &address, setup.counting);
        let client = Process::start(command, format!("{peer}'s client")).await?;
        Ok(Party {
            peer,
            servers,
            client,
        })
    }

    fn progress(&self, what: &str) {
        if stderr().is_terminal() {
            // Over the line before.
            let _ = write!(stderr(), "\r\x1b[2K[{}/{}] {what}", self.done, self.all);
        } else {
            tell(&format!("[{}/{}] {what}", self.done, self.all));
        }
    }
}

/// Allocations a call, of client and server, on one thread each.
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
            measure,
            unit: "a call",
            value,
        })
    });
    let costs: Vec<Cost> = costs.collect();
    if costs.is_empty() {
        return Err(Failure::new("it does not count its allocations"));
    }
    Ok(costs)
}

/// Memory that idle clients, sessions or streams take, of client, server and broker.
async fn memory(case: &Case, party: &mut Party, broker: &Running) -> Result<Vec<Cost>, Failure> {
    let job = case.job();
    // One first: what is there once is not counted.
    let mut one = job;
    one.callers = 1;
    if party.client.run(one).await?.done == 0 {
        return Err(Failure::new("it cannot do that"));
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
            measure,
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

impl Party {
    fn server_pids(&self) -> Vec<u32> {
        self.servers.iter().filter_map(Process::pid).collect()
    }

    fn client_pids(&self) -> Vec<u32> {
        self.client.pid().into_iter().collect()
    }

    async fn stop(self) {
        // The client first: a server that goes before makes it complain.
        self.client.stop().await;
        for server in self.servers {
            server.stop().await;
        }
    }
}

impl Running {
    async fn start(kind: Broker) -> Result<Self, Failure> {
        match kind {
            Broker::NatsServer => {
                let server = NatsServer::start().await?;
                Ok(Self::NatsServer(Box::new(server)))
            }
            Broker::Embedded => {
                let program = std::env::current_exe().doing("find this program")?;
                let mut command = Command::new(program);
                command.arg("broker");
                let name = "the embedded broker".to_owned();
                Process::start(command, name).await.map(Self::Embedded)
            }
        }
    }

    fn url(&self) -> String {
        match self {
            Self::NatsServer(server) => server.url(),
            Self::Embedded(process) => process.address.clone(),
        }
    }

    fn pids(&self) -> Vec<u32> {
        let pid = match self {
            Self::NatsServer(server) => server.pid(),
            Self::Embedded(process) => process.pid(),
        };
        pid.into_iter().collect()
    }

    async fn stop(self) {
        if let Self::Embedded(process) = self {
            process.stop().await;
        }
    }
}

impl Case {
    /// Whether something else than time is measured.
    fn is_counted(&self) -> bool {
        matches!(self.work, Work::Allocations | Work::Memory)
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn tell(line: &str) {
    let end = if stderr().is_terminal() {
        "\r\x1b[2K"
    } else {
        ""
    };
    // Nobody has to read it.
    let _ = writeln!(stderr(), "{end}{line}");
}
