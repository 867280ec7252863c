//! Runs the plan: every case of every peer, in alternating rounds.

use std::{
    fs,
    io::{IsTerminal, Write as _, stderr},
    path::Path,
    time::{Duration, Instant},
};

use nmfw_tests::{Failure, failure::Doing, install};

use crate::{
    baseline::Baseline,
    cli::Suite,
    counted,
    host::{Host, load},
    launch::Launcher,
    party::{Party, Running},
    peer::Peer,
    process::{busy_seconds, cpu_seconds},
    protocol::Outcome,
    report,
    results::{Results, Row, Skipped},
    setup::Setup,
    stats::Sample,
    work::Case,
};

/// Warm-up of a peer before it is measured, in which caches fill and sessions open.
const WARM_UP: Duration = Duration::from_millis(150);

/// Factor by which a repeated round is longer, after one without results.
const LONGER: u64 = 10;

/// Runs the suite and writes the results.
pub(crate) fn run(suite: &Suite) -> Result<(), Failure> {
    let out = match &suite.out {
        Some(out) => out.clone(),
        None => install::target_dir().join("bench"),
    };
    fs::create_dir_all(&out).doing(format_args!("create {}", out.display()))?;
    let baseline = match &suite.check {
        Some(file) => {
            let mut baseline = read_baseline(file)?;
            baseline.narrow(&suite.only, &suite.peers);
            Some(baseline)
        }
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .doing("start a runtime")?;
    let host = Host::look();
    let began = Instant::now();
    let results = runtime.block_on(Run::new(suite, baseline.as_ref()).measure())?;
    let run = report::Run {
        host,
        load_after: load(),
        took: began.elapsed(),
        rounds: suite.rounds,
        millis: suite.millis,
    };
    report::write(&out, &run, &results)?;
    for row in results.rows.iter().filter(|row| row.errors > 0) {
        tell(&format!(
            "{}, {} had errors: {} failed; {}",
            row.case.title(),
            row.peer,
            row.errors,
            row.note.as_deref().unwrap_or("no reason was reported")
        ));
    }
    tell(&format!(
        "{} rows in {:.0} s: {}",
        results.rows.len(),
        run.took.as_secs_f64(),
        out.join("results.md").display()
    ));
    match (&baseline, &suite.bless) {
        (Some(baseline), _) => check(baseline, &results),
        (None, Some(file)) => bless(file, &results),
        (None, None) => Ok(()),
    }
}

fn read_baseline(file: &Path) -> Result<Baseline, Failure> {
    let text = fs::read_to_string(file).doing(format_args!("read {}", file.display()))?;
    Baseline::parse(&text).doing(format_args!("read {}", file.display()))
}

/// Fails if a cost has increased.
fn check(baseline: &Baseline, results: &Results) -> Result<(), Failure> {
    let compared = baseline.compare(&Baseline::of(results));
    tell(&compared.render());
    tell_skipped(results);
    if compared.has_failed() {
        return Err(Failure::new(
            "costs have changed: if the change is intended, record them with --bless",
        ));
    }
    if compared.has_improved() {
        tell("Some costs have decreased: record them with --bless.");
    }
    Ok(())
}

/// Writes the baseline for later runs.
fn bless(file: &Path, results: &Results) -> Result<(), Failure> {
    tell_skipped(results);
    if results.costs.is_empty() || !results.skipped.is_empty() {
        return Err(Failure::new(
            "some costs were not measured, so nothing was written",
        ));
    }
    let text = Baseline::of(results).render();
    fs::write(file, text).doing(format_args!("write {}", file.display()))
}

fn tell_skipped(results: &Results) {
    for skipped in &results.skipped {
        let (title, peer) = (skipped.case.title(), skipped.peer);
        tell(&format!("{title}, {peer}: {}", skipped.reason));
    }
}

struct Run<'a> {
    suite: &'a Suite,
    /// If set, only its cases are measured.
    baseline: Option<&'a Baseline>,
    launchers: Vec<(Peer, Result<Launcher, String>)>,
    results: Results,
    done: usize,
    all: usize,
}

impl<'a> Run<'a> {
    fn new(suite: &'a Suite, baseline: Option<&'a Baseline>) -> Self {
        Self {
            suite,
            baseline,
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
        let (counted, timed): (Vec<Case>, Vec<Case>) =
            cases.partition(|case| !case.work.is_timed());
        self.all =
            (timed.len() * self.suite.rounds as usize + counted.len()) * self.launchers.len();
        let mut setups: Vec<Setup> = Vec::new();
        for case in &timed {
            let setup = case.setup.without_listener();
            if !setups.contains(&setup) {
                setups.push(setup);
            }
        }
        for setup in setups {
            let cases = timed
                .iter()
                .filter(|case| case.setup.without_listener() == setup);
            self.rounds(&cases.copied().collect::<Vec<_>>()).await?;
        }
        for case in counted {
            self.count(case).await?;
        }
        self.results.sort(&works);
        Ok(self.results)
    }

    /// Returns the reason why a peer does not run this case, if any.
    fn reason(&self, peer: Peer, case: &Case) -> Option<String> {
        let (_, launcher) = self.launchers.iter().find(|(each, _)| *each == peer)?;
        match (launcher, peer.can(case)) {
            (Err(reason), _) => Some(first_line(reason)),
            (Ok(_), Err(reason)) => Some(reason.to_owned()),
            (Ok(_), Ok(())) => None,
        }
    }

    /// Runs all cases of compatible setups.
    async fn rounds(&mut self, cases: &[Case]) -> Result<(), Failure> {
        let peers: Vec<Peer> = self.launchers.iter().map(|(peer, _)| *peer).collect();
        // One broker per setup, because servers of one peer on the same broker would share calls.
        let mut brokers: Vec<(Setup, Running)> = Vec::new();
        for case in cases {
            if !brokers.iter().any(|(setup, _)| *setup == case.setup) {
                let broker = Running::start(case.setup.broker).await?;
                brokers.push((case.setup, broker));
            }
        }
        let mut parties = Vec::new();
        let mut rows: Vec<Row> = Vec::new();
        for (setup, broker) in &brokers {
            let cases = cases.iter().filter(|case| case.setup == *setup);
            for peer in &peers {
                let mut failed = None;
                if cases.clone().any(|case| self.reason(*peer, case).is_none()) {
                    match self.party(*peer, *setup, broker).await {
                        Ok(party) => parties.push(party),
                        Err(failure) => failed = Some(failure.to_string()),
                    }
                }
                rows.extend(cases.clone().map(|case| Row {
                    case: *case,
                    peer: *peer,
                    samples: Vec::new(),
                    errors: 0,
                    note: self.reason(*peer, case).or_else(|| failed.clone()),
                }));
            }
        }
        let was = self.done;
        for round in 0..self.suite.rounds as usize {
            for case in cases {
                // Rotate the order, so that no peer always follows the same one.
                let turn = round % parties.len().max(1);
                parties.rotate_left(turn);
                for party in parties.iter_mut().filter(|party| party.setup == case.setup) {
                    let row = rows
                        .iter_mut()
                        .find(|row| row.case == *case && row.peer == party.peer);
                    let Some(row) = row.filter(|row| row.runs()) else {
                        continue;
                    };
                    self.done += 1;
                    self.progress(&format!("{}, {}", case.title(), party.peer));
                    match self.sample(case, party, &brokers).await {
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
        for (_, broker) in brokers {
            broker.stop().await;
        }
        self.results.rows.extend(rows);
        Ok(())
    }

    async fn sample(
        &self,
        case: &Case,
        party: &mut Party,
        brokers: &[(Setup, Running)],
    ) -> Result<(Option<Sample>, Outcome), Failure> {
        party.client.run(case.job().lasting(WARM_UP)).await?;
        let (servers, client) = (party.server_pids(), party.client_pids());
        let mut own = brokers.iter().filter(|(setup, _)| *setup == case.setup);
        let brokers = own
            .next()
            .map_or_else(Vec::new, |(_, broker)| broker.pids());
        let look = || {
            let cpu = [&client, &servers, &brokers].map(|pids| cpu_seconds(pids));
            (cpu, busy_seconds(), Instant::now())
        };
        let mut before = look();
        let millis = self.suite.millis;
        let job = case.job().lasting(Duration::from_millis(millis));
        let mut outcome = party.client.run(job).await?;
        if outcome.done == 0 && outcome.error.is_none() {
            // A machine can stall for as long as a short round.
            before = look();
            let job = case.job().lasting(Duration::from_millis(millis * LONGER));
            outcome = party.client.run(job).await?;
        }
        let (cpu_before, busy_before, began) = before;
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

    /// Measures a counted case once, each peer separately.
    async fn count(&mut self, case: Case) -> Result<(), Failure> {
        let peers: Vec<Peer> = self.launchers.iter().map(|(peer, _)| *peer).collect();
        for peer in peers {
            self.done += 1;
            if self.baseline.is_some_and(|known| !known.has(&case, peer)) {
                continue;
            }
            self.progress(&format!("{}, {peer}", case.title()));
            let counted = match self.reason(peer, &case) {
                Some(reason) => Err(Failure::new(reason)),
                None => counted::costs(&case, self.launcher(peer)?, self.suite).await,
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
        let launcher = self.launcher(peer)?;
        Party::start(launcher, setup, broker).await
    }

    fn launcher(&self, peer: Peer) -> Result<&Launcher, Failure> {
        match self.launchers.iter().find(|(each, _)| *each == peer) {
            Some((_, Ok(launcher))) => Ok(launcher),
            Some((_, Err(reason))) => Err(Failure::new(reason.clone())),
            None => Err(Failure::new(format!("{peer} is not included"))),
        }
    }

    fn progress(&self, what: &str) {
        if stderr().is_terminal() {
            // Overwrites the previous line.
            let _ = write!(stderr(), "\r\x1b[2K[{}/{}] {what}", self.done, self.all);
        } else {
            tell(&format!("[{}/{}] {what}", self.done, self.all));
        }
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
    // Fails if the output is closed, which is ignored.
    let _ = writeln!(stderr(), "{end}{line}");
}
