//! Measures the effects of an attack on others, in rounds with the attacker that alternate with
//! rounds with an equally busy, harmless peer.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use nmfw_tests::{
    attacked::{Made, Order},
    failure::{Doing, Failure},
};
use tokio::time::sleep;

use crate::{
    stage::{ELSEWHERE, Held, Stage, Target, get},
    wire::{Peer, Traffic},
};

/// The attacked side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    Service,
    Client,
}

/// An attack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attack {
    /// The row of the attack in `docs/threat-model.md`.
    pub(crate) name: &'static str,
    /// The user of the attacker, which determines its permissions.
    pub(crate) user: &'static str,
    /// Sends messages until the attack is over.
    pub(crate) run: fn(&Peer, &Target) -> io::Result<()>,
    /// Whether handlers answer valid calls of the attacker, to which the bound on bytes does not
    /// apply.
    pub(crate) is_answered: bool,
    /// Whether the attack is part of the short suite.
    pub(crate) is_short: bool,
}

/// Creates an attack with defaults.
pub(crate) const fn attack(
    name: &'static str,
    run: fn(&Peer, &Target) -> io::Result<()>,
) -> Attack {
    Attack {
        name,
        user: "client",
        run,
        is_answered: false,
        is_short: false,
    }
}

impl Attack {
    pub(crate) const fn by(mut self, user: &'static str) -> Self {
        self.user = user;
        self
    }

    pub(crate) const fn answered(mut self) -> Self {
        self.is_answered = true;
        self
    }

    pub(crate) const fn short(mut self) -> Self {
        self.is_short = true;
        self
    }
}

/// The duration of the measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) round: Duration,
    /// Whether to compare with rounds of a busy peer.
    pub(crate) compares: bool,
}

/// Traffic for an attacker that arrives later than this after its end is not counted.
const LATE: Duration = Duration::from_secs(10);

/// The traffic for an attacker has ended when nothing has arrived for this long.
const QUIET: Duration = Duration::from_millis(500);

/// The kinds of honest calls.
const KINDS: usize = 4;

impl Plan {
    /// Clients pause before they repeat failed calls, so attacks on them take longer.
    fn round(&self, victim: Victim) -> Duration {
        match victim {
            Victim::Service => self.round,
            Victim::Client => self.round * 2,
        }
    }
}

/// The time within which all resources must be freed.
const GIVEN_BACK: Duration = Duration::from_secs(30);

/// The bounds.
const LEAST_CALLS: f64 = 0.5;
const MOST_TIME: f64 = 10.0;
const MOST_MEMORY: u64 = 64 << 20;
const MOST_BYTES: f64 = 20.0;
const MOST_LOG: f64 = 1e6;

/// Lines of log that an attack may cause, however short it is.
const FEW_LINES: usize = 300;

/// Answers to handshakes and the like are no amplification.
const FEW_BYTES: u64 = 64 * 1024;

/// The measured effects of an attack.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Calls of others relative to those beside a busy peer, for the kind that suffered most.
    pub(crate) calls: Option<(f64, String)>,
    /// The 99th percentile of their times as a multiple, for the kind that suffered most.
    pub(crate) time: Option<(f64, String)>,
    /// The maximum increase of memory during the attack.
    pub(crate) held: u64,
    /// The increase of memory after the attack.
    pub(crate) kept: u64,
    pub(crate) messages: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Number of the attacker's connections that were closed by the server.
    pub(crate) cut: u64,
    /// Bytes per minute.
    pub(crate) log: f64,
    /// Time until calls succeeded again after a round.
    pub(crate) after: Duration,
    log_lines: usize,
    last_line: String,
    /// The time after which sessions and places were freed.
    pub(crate) back: Option<Duration>,
    /// Broken promises and exceeded bounds.
    pub(crate) wrong: Vec<String>,
    /// Calls of others that failed.
    failed: BTreeMap<String, u64>,
    /// The outcomes of calls to a hostile service.
    pub(crate) hostile: String,
}

/// Repeats an attack until this moment, and reconnects when its connection is closed.
pub(crate) fn attack_until(
    attack: fn(&Peer, &Target) -> io::Result<()>,
    user: &str,
    target: &Target,
    traffic: &Arc<Traffic>,
    until: Instant,
) {
    while Instant::now() < until && !traffic.is_spent() {
        let peer = Peer::connect(target.port, target.login(user), traffic, until);
        let ended = peer.and_then(|peer| {
            attack(&peer, target)?;
            peer.flush()?;
            listen(traffic);
            Ok(())
        });
        if ended.is_err() {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Waits until no more messages arrive, because messages in transit count.
fn listen(traffic: &Traffic) {
    let received = || traffic.received_bytes.load(Ordering::Relaxed);
    let end = Instant::now() + LATE;
    let (mut before, mut since) = (received(), Instant::now());
    while since.elapsed() < QUIET && Instant::now() < end {
        thread::sleep(Duration::from_millis(20));
        if received() != before {
            (before, since) = (received(), Instant::now());
        }
    }
}

/// Publishes messages of this size at this rate to another peer of its own.
fn be_busy(target: &Target, rate: f64, size: usize, until: Instant) -> io::Result<()> {
    let (heard, said) = (Arc::new(Traffic::default()), Arc::new(Traffic::default()));
    let listener = Peer::connect(target.port, target.login("busy"), &heard, until)?;
    listener.subscribe(&format!("{ELSEWHERE}.>"))?;
    let peer = Peer::connect(target.port, target.login("busy"), &said, until)?;
    let (body, subject) = (vec![0; size], format!("{ELSEWHERE}.x"));
    let begin = Instant::now();
    let mut sent = 0.0;
    while peer.goes_on() {
        while sent < rate * begin.elapsed().as_secs_f64() && peer.goes_on() {
            peer.publish(&subject, "", &body)?;
            sent += 1.0;
        }
        peer.flush()?;
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Measures an attack.
pub(crate) async fn measure(
    stage: &mut Stage,
    attack: &Attack,
    victim: Victim,
    plan: Plan,
) -> Result<Figures, Failure> {
    let mut figures = Figures::default();
    if victim == Victim::Client {
        // Callers that have met an attack avoid the hostile service for a while.
        stage.renew_callers().await?;
    }
    let traffic = Arc::new(match plan.compares {
        true => Traffic::default(),
        false => Traffic::little(),
    });
    stage.tell(&Order::Go).await?;
    recover(stage, &mut figures).await?;
    stage.tell(&Order::Report).await?;
    let before = resident(stage, victim)?;
    let log_before = log(stage, victim)?.len();
    let (mut attacked, mut beside) = (Vec::new(), Vec::new());
    let mut took = Duration::ZERO;
    for _ in 0..plan.rounds {
        let round = plan.round(victim);
        stage.tell(&Order::Report).await?;
        let begin = Instant::now();
        let until = begin + round;
        let (run, user, target) = (attack.run, attack.user, stage.target.clone());
        let counted = Arc::clone(&traffic);
        let attacker = thread::spawn(move || attack_until(run, user, &target, &counted, until));
        if victim == Victim::Client {
            // Until it serves.
            sleep(Duration::from_millis(100)).await;
            stage.tell(&Order::CallHostile(2)).await?;
        }
        let mut report = None;
        while report.is_none() || !attacker.is_finished() {
            figures.held = figures
                .held
                .max(resident(stage, victim)?.saturating_sub(before));
            sleep(Duration::from_millis(20)).await;
            if report.is_none() && begin.elapsed() >= round {
                report = Some(stage.tell(&Order::Report).await?);
            }
        }
        took += round;
        attacked.extend(report);
        look_after(stage, attack, &mut figures)?;
        if victim == Victim::Client {
            stage.tell(&Order::CallHostile(0)).await?;
        }
        if plan.compares {
            recover(stage, &mut figures).await?;
            let (seconds, target) = (took.as_secs_f64(), stage.target.clone());
            let messages = traffic.sent_messages.load(Ordering::Relaxed);
            let bytes = traffic.sent_bytes.load(Ordering::Relaxed);
            let size = usize::try_from(bytes / messages.max(1)).unwrap_or(0);
            let rate = messages as f64 / seconds;
            stage.tell(&Order::Report).await?;
            let until = Instant::now() + round;
            let busy = thread::spawn(move || be_busy(&target, rate, size, until));
            while !busy.is_finished() {
                sleep(Duration::from_millis(20)).await;
            }
            beside.push(stage.tell(&Order::Report).await?);
        }
    }
    let text = log(stage, victim)?;
    figures.log = (text.len() - log_before) as f64 * 60.0 / took.as_secs_f64();
    let lines = text[log_before..].iter();
    figures.log_lines = lines.filter(|byte| **byte == b'\n').count();
    let last = text[log_before..].rsplit(|byte| *byte == b'\n').nth(1);
    figures.last_line = String::from_utf8_lossy(last.unwrap_or_default()).into_owned();
    if text[log_before..].contains(&0x1b) {
        figures
            .wrong
            .push("the log contains a terminal's ESC".to_owned());
    }
    figures.messages = traffic.sent_messages.load(Ordering::Relaxed);
    figures.sent = traffic.sent_bytes.load(Ordering::Relaxed);
    figures.received = traffic.received_bytes.load(Ordering::Relaxed);
    // The end of the attacker itself counts, once a round.
    let cut = traffic.cut.load(Ordering::Relaxed);
    figures.cut = cut.saturating_sub(plan.rounds as u64);
    let rest = stage.tell(&Order::Halt).await?;
    for made in attacked.iter().chain(&beside).chain([&rest]) {
        promises(stage, made, &mut figures).await?;
    }
    if plan.compares {
        figures.compare(&attacked, &beside);
    }
    figures.hostile = hostile(&attacked);
    give_back(stage, victim, before, plan, &mut figures).await?;
    figures.check(attack, plan);
    Ok(figures)
}

/// Waits until calls of all kinds succeed again, so that the next round starts afresh.
async fn recover(stage: &mut Stage, figures: &mut Figures) -> Result<(), Failure> {
    let begin = Instant::now();
    let mut kinds = BTreeSet::new();
    while kinds.len() < KINDS {
        sleep(Duration::from_millis(200)).await;
        let made = stage.tell(&Order::Report).await?;
        for (what, count) in made.failed {
            *figures.failed.entry(what).or_default() += count;
        }
        kinds.extend(
            made.calls
                .into_iter()
                .filter(|(_, calls)| calls.good > 0)
                .map(|(kind, _)| kind),
        );
        if begin.elapsed() > GIVEN_BACK {
            figures
                .wrong
                .push(format!("only {kinds:?} succeed after {GIVEN_BACK:?}"));
            break;
        }
    }
    sleep(Duration::from_millis(300)).await;
    figures.after = figures.after.max(begin.elapsed());
    Ok(())
}

fn resident(stage: &Stage, victim: Victim) -> Result<u64, Failure> {
    match victim {
        Victim::Service => stage.service.resident(),
        Victim::Client => stage.callers.resident(),
    }
    .doing("read the memory")
}

fn log(stage: &Stage, victim: Victim) -> Result<Vec<u8>, Failure> {
    match victim {
        Victim::Service => stage.service.log(),
        Victim::Client => stage.callers.log(),
    }
}

/// Checks that no process has ended, and that probes are answered.
fn look_after(stage: &mut Stage, attack: &Attack, figures: &mut Figures) -> Result<(), Failure> {
    for (what, process) in [
        ("service", &mut stage.service),
        ("callers", &mut stage.callers),
    ] {
        if let Some(status) = process.ended()? {
            let name = attack.name;
            return Err(Failure::new(format!("{name} ended the {what}: {status}")));
        }
    }
    if let Err(failure) = get(stage.target.monitor, "/healthz") {
        figures
            .wrong
            .push(format!("/healthz is not answered: {failure}"));
    }
    Ok(())
}

/// Checks that no call of other clients has failed, run twice, or been marked incorrectly.
async fn promises(stage: &mut Stage, made: &Made, figures: &mut Figures) -> Result<(), Failure> {
    for (what, count) in &made.failed {
        *figures.failed.entry(what.clone()).or_default() += count;
    }
    let ran = stage.ran(made.not_started.clone()).await?;
    if ran.repeated > 0 {
        figures
            .wrong
            .push(format!("{} calls ran twice", ran.repeated));
    }
    if ran.asked > 0 {
        figures.wrong.push(format!(
            "{} calls ran that were marked as not started",
            ran.asked
        ));
    }
    // Calls to a hostile service end by their deadlines.
    if made.latest > 1_000 {
        figures.wrong.push(format!(
            "a call ended {} ms after its deadline",
            made.latest
        ));
    }
    Ok(())
}

fn hostile(attacked: &[Made]) -> String {
    let mut text = String::new();
    for (code, count) in attacked.iter().flat_map(|made| &made.hostile) {
        _ = write!(text, "{code} {count}, ");
    }
    text
}

/// Waits until all resources held for the attacker are freed.
async fn give_back(
    stage: &mut Stage,
    victim: Victim,
    before: u64,
    plan: Plan,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let begin = Instant::now();
    if !plan.compares {
        return Ok(());
    }
    // The sessions of the callers' pool.
    let most = Held {
        sessions: 8.0,
        running: 0.0,
        waiting: 0.0,
    };
    loop {
        let held = stage.held()?;
        let memory = resident(stage, victim)?.saturating_sub(before);
        figures.kept = memory;
        let is_back = held.sessions <= most.sessions
            && held.running <= most.running
            && held.waiting <= most.waiting
            && memory < MOST_MEMORY;
        if is_back {
            figures.back = Some(begin.elapsed());
            return Ok(());
        }
        if begin.elapsed() > GIVEN_BACK {
            figures.wrong.push(format!(
                "after {GIVEN_BACK:?}: {held:?}, {} MiB",
                memory >> 20
            ));
            return Ok(());
        }
        sleep(Duration::from_millis(200)).await;
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    // Neither round had a call of this kind.
    for value in &mut values {
        if value.is_nan() {
            *value = 0.0;
        }
    }
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Figures {
    fn compare(&mut self, attacked: &[Made], beside: &[Made]) {
        let kinds = beside.iter().flat_map(|made| made.calls.keys());
        let kinds: BTreeSet<_> = kinds.collect();
        for kind in kinds {
            let of = |made: &Made| made.calls.get(kind).cloned().unwrap_or_default();
            let rate = |made: &Made| of(made).good as f64 / made.micros as f64;
            let pairs = || attacked.iter().zip(beside);
            let calls = median(pairs().map(|(a, b)| rate(a) / rate(b)).collect());
            let time = |made: &Made| match of(made) {
                calls if calls.good == 0 => f64::INFINITY,
                calls => calls.p99 as f64,
            };
            let time = median(pairs().map(|(a, b)| time(a) / time(b)).collect());
            if self.calls.as_ref().is_none_or(|(least, _)| calls < *least) {
                self.calls = Some((calls, kind.clone()));
            }
            if self.time.as_ref().is_none_or(|(most, _)| time > *most) {
                self.time = Some((time, kind.clone()));
            }
        }
    }

    fn check(&mut self, attack: &Attack, plan: Plan) {
        for (what, count) in &self.failed {
            self.wrong.push(format!("{count} calls failed: {what}"));
        }
        if self.messages == 0 && self.received == 0 && plan.compares {
            self.wrong.push("nothing was sent or received".to_owned());
        }
        // In a brief attack, a few lines are a high rate.
        if self.log_lines > FEW_LINES && !plan.compares {
            let last = &self.last_line;
            self.wrong
                .push(format!("{} lines of log, such as {last:?}", self.log_lines));
        }
        let wrong = &mut self.wrong;
        let bytes = self.received as f64 / self.sent.max(1) as f64;
        if bytes > MOST_BYTES && self.received > FEW_BYTES && !attack.is_answered {
            wrong.push(format!("{bytes:.0} bytes sent for each byte"));
        }
        if !plan.compares {
            return;
        }
        if let Some((calls, kind)) = &self.calls
            && *calls < LEAST_CALLS
        {
            wrong.push(format!("{:.0} % of the calls of {kind}", calls * 100.0));
        }
        if let Some((time, kind)) = &self.time
            && *time > MOST_TIME
        {
            wrong.push(format!("p99 of {kind} {time:.0} times"));
        }
        if self.held > MOST_MEMORY {
            wrong.push(format!("{} MiB held", self.held >> 20));
        }
        if self.log > MOST_LOG {
            let (log, last) = (self.log / 1e6, &self.last_line);
            wrong.push(format!("{log:.1} MB of log a minute, such as {last:?}"));
        }
    }

    /// Formats a row of the table.
    pub(crate) fn row(&self, name: &str) -> String {
        let part = |value: &Option<(f64, String)>, factor: f64| match value {
            Some((value, kind)) => format!("{:.1} ({kind})", value * factor),
            None => "-".to_owned(),
        };
        let mib = |bytes: u64| format!("{:.1}", bytes as f64 / (1 << 20) as f64);
        let back = self.back.map_or("never".to_owned(), |back| {
            format!("{:.1} s", back.as_secs_f64())
        });
        let row = format!(
            "| `{name}` | {} | {} | {} | {} | {} | {:.1} | {:.0} | {back} |",
            part(&self.calls, 100.0),
            part(&self.time, 1.0),
            self.messages,
            mib(self.sent),
            mib(self.held),
            self.received as f64 / self.sent.max(1) as f64,
            self.log / 1000.0,
        );
        let mut notes = String::new();
        if self.cut > 0 {
            _ = write!(notes, " cut {} times;", self.cut);
        }
        if self.after > Duration::from_secs(2) {
            let seconds = self.after.as_secs_f64();
            _ = write!(notes, " calls succeed after {seconds:.0} s;");
        }
        if !self.hostile.is_empty() {
            _ = write!(notes, " calls to it: {};", self.hostile);
        }
        for wrong in &self.wrong {
            _ = write!(notes, "\n    WRONG {wrong}");
        }
        row + &notes
    }
}
