//! Measures the effects of an attack on others, in rounds with the attacker that alternate with
//! rounds with an equally busy, harmless peer.

use std::{
    collections::BTreeSet,
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
    figures::{Figures, MOST_MEMORY, Round},
    processor::{ATTACKED, ATTACKERS, Used, pin_this_thread},
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
    /// Number of rounds that other programs have not disturbed.
    pub(crate) rounds: usize,
    /// Number of rounds after which the measurement ends in any case.
    pub(crate) most_rounds: usize,
    pub(crate) round: Duration,
    /// The duration of a round of a busy peer, for comparison.
    pub(crate) beside: Option<Duration>,
}

/// Traffic for an attacker that arrives later than this after its end is not counted.
const LATE: Duration = Duration::from_secs(10);

/// The traffic for an attacker has ended when nothing has arrived for this long.
const QUIET: Duration = Duration::from_millis(200);

/// The kinds of honest calls.
const KINDS: usize = 4;

impl Plan {
    /// Whether to check all bounds.
    pub(crate) fn compares(&self) -> bool {
        self.beside.is_some()
    }

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
    // The thread that reads takes the place of the attacked side.
    let pin = |processor| pin_this_thread(processor).map_err(io::Error::other);
    pin(ATTACKED)?;
    let listener = Peer::connect(target.port, target.login("busy"), &heard, until)?;
    pin(ATTACKERS)?;
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
    let traffic = Arc::new(match plan.compares() {
        true => Traffic::default(),
        false => Traffic::little(),
    });
    stage.tell(&Order::Go).await?;
    recover(stage, &mut figures).await?;
    stage.tell(&Order::Report).await?;
    let before = resident(stage, victim)?;
    let allocated_before = allocated(stage, victim).await?;
    let log_before = log(stage, victim)?.len();
    let mut took = Duration::ZERO;
    while !figures.is_settled(plan) {
        let round = plan.round(victim);
        let (attacked, left) =
            attacked_round(stage, attack, victim, round, &traffic, before, &mut figures).await?;
        took += round;
        look_after(stage, attack, &mut figures)?;
        if victim == Victim::Client {
            stage.tell(&Order::CallHostile(0)).await?;
        }
        let beside = match plan.beside {
            Some(round) => {
                recover(stage, &mut figures).await?;
                Some(round_beside(stage, round, took, &traffic).await?)
            }
            None => None,
        };
        figures.add(Round {
            attacked: (attacked, left),
            beside,
        });
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
    figures.cut = cut.saturating_sub(figures.rounds.len() as u64);
    let rest = stage.tell(&Order::Halt).await?;
    for made in figures.made().into_iter().chain([rest]) {
        promises(stage, &made, &mut figures).await?;
    }
    give_back(stage, victim, allocated_before, plan, &mut figures).await?;
    figures.check(attack, plan);
    Ok(figures)
}

/// Measures others during a round of the attack. Returns their calls, and the part of the
/// processors that the programs of the measurement could use.
async fn attacked_round(
    stage: &mut Stage,
    attack: &Attack,
    victim: Victim,
    round: Duration,
    traffic: &Arc<Traffic>,
    before: u64,
    figures: &mut Figures,
) -> Result<(Made, f64), Failure> {
    stage.tell(&Order::Report).await?;
    let used = Used::now(&stage.processes())?;
    let begin = Instant::now();
    let until = begin + round;
    let (run, user, target) = (attack.run, attack.user, stage.target.clone());
    let counted = Arc::clone(traffic);
    let attacker = thread::spawn(move || attack_until(run, user, &target, &counted, until));
    if victim == Victim::Client {
        // Until it serves.
        sleep(Duration::from_millis(100)).await;
        stage.tell(&Order::CallHostile(2)).await?;
    }
    let mut report = None;
    loop {
        let memory = resident(stage, victim)?.saturating_sub(before);
        figures.held = figures.held.max(memory);
        sleep(Duration::from_millis(20)).await;
        if report.is_none() && begin.elapsed() >= round {
            let left = Used::now(&stage.processes())?.left_since(&used);
            report = Some((stage.tell(&Order::Report).await?, left));
        }
        if attacker.is_finished()
            && let Some(report) = report.take()
        {
            return Ok(report);
        }
    }
}

/// Measures others during a round with a peer that is as busy as the attacker was so far.
async fn round_beside(
    stage: &mut Stage,
    round: Duration,
    took: Duration,
    traffic: &Traffic,
) -> Result<(Made, f64), Failure> {
    let (seconds, target) = (took.as_secs_f64(), stage.target.clone());
    let messages = traffic.sent_messages.load(Ordering::Relaxed);
    let bytes = traffic.sent_bytes.load(Ordering::Relaxed);
    let size = usize::try_from(bytes / messages.max(1)).unwrap_or(0);
    let rate = messages as f64 / seconds;
    stage.tell(&Order::Report).await?;
    let used = Used::now(&stage.processes())?;
    let until = Instant::now() + round;
    let busy = thread::spawn(move || be_busy(&target, rate, size, until));
    while !busy.is_finished() {
        sleep(Duration::from_millis(20)).await;
    }
    let left = Used::now(&stage.processes())?.left_since(&used);
    Ok((stage.tell(&Order::Report).await?, left))
}

/// Waits until calls of all kinds succeed again, so that the next round starts afresh.
async fn recover(stage: &mut Stage, figures: &mut Figures) -> Result<(), Failure> {
    let begin = Instant::now();
    let mut kinds = BTreeSet::new();
    while kinds.len() < KINDS {
        sleep(Duration::from_millis(50)).await;
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
            figures.is_stuck = true;
            break;
        }
    }
    sleep(Duration::from_millis(100)).await;
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

/// Returns the memory in use.
async fn allocated(stage: &mut Stage, victim: Victim) -> Result<u64, Failure> {
    let process = match victim {
        Victim::Service => &mut stage.service,
        Victim::Client => &mut stage.callers,
    };
    process.order(&Order::Allocated).await
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

/// Waits until all resources held for the attacker are freed.
async fn give_back(
    stage: &mut Stage,
    victim: Victim,
    before: u64,
    plan: Plan,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let begin = Instant::now();
    if !plan.compares() {
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
        let memory = allocated(stage, victim).await?.saturating_sub(before);
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
