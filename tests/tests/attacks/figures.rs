//! The measured effects of an attack, and their bounds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use nmfw_tests::attacked::Made;

use crate::measure::{Attack, Plan};

/// The bounds.
const LEAST_CALLS: f64 = 0.5;
const MOST_TIME: f64 = 10.0;
pub(crate) const MOST_MEMORY: u64 = 64 << 20;
const MOST_BYTES: f64 = 20.0;
const MOST_LOG: f64 = 1e6;

/// The heads of the columns of the table, after the name of the attack.
pub(crate) const HEADS: [&str; 8] = [
    "calls, %",
    "p99, times",
    "messages",
    "sent, MiB",
    "held, MiB",
    "bytes for a byte",
    "log, kB a minute",
    "given back, s",
];

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
    pub(crate) log_lines: usize,
    pub(crate) last_line: String,
    /// The time after which sessions and places were freed.
    pub(crate) back: Option<Duration>,
    /// Broken promises and exceeded bounds.
    pub(crate) wrong: Vec<String>,
    /// Calls of others that failed.
    pub(crate) failed: BTreeMap<String, u64>,
    pub(crate) rounds: Vec<Round>,
    /// Whether calls did not succeed again after a round.
    pub(crate) is_stuck: bool,
}

/// A round of the attack, and the round of a busy peer after it: the calls of others, and the part
/// of the processors that programs outside of the measurement left.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) attacked: (Made, f64),
    pub(crate) beside: Option<(Made, f64)>,
}

/// Programs outside of the measurement disturb a round when they leave less of the processors.
const UNDISTURBED: f64 = 0.85;

impl Round {
    fn is_undisturbed(&self) -> bool {
        let beside = self.beside.iter();
        beside
            .chain([&self.attacked])
            .all(|(_, left)| *left > UNDISTURBED)
    }
}

/// Returns the median, with ratios of no call to no call as 0.
fn median(mut values: Vec<f64>) -> f64 {
    for value in &mut values {
        if value.is_nan() {
            *value = 0.0;
        }
    }
    values.sort_by(f64::total_cmp);
    let at = |at: usize| values.get(at).copied().unwrap_or(f64::NAN);
    let half = values.len() / 2;
    match values.len() % 2 {
        0 => f64::midpoint(at(half.saturating_sub(1)), at(half)),
        _ => at(half),
    }
}

impl Figures {
    /// Adds a round to the comparison.
    pub(crate) fn add(&mut self, round: Round) {
        self.rounds.push(round);
        self.compare();
    }

    /// Whether there are enough rounds for a verdict. Further ones are measured when others
    /// disturbed a round, or when a bound is exceeded narrowly.
    pub(crate) fn is_settled(&self, plan: Plan) -> bool {
        let undisturbed = self.rounds.iter().filter(|round| round.is_undisturbed());
        let is_enough = self.rounds.len() >= plan.rounds
            && (!plan.compares() || undisturbed.count() >= plan.rounds && !self.is_narrow());
        is_enough || self.is_stuck || self.rounds.len() >= plan.most_rounds
    }

    /// Returns the calls of all rounds.
    pub(crate) fn made(&self) -> Vec<Made> {
        let rounds = self.rounds.iter();
        rounds
            .flat_map(|round| [&round.attacked].into_iter().chain(&round.beside))
            .map(|(made, _)| made.clone())
            .collect()
    }

    /// Whether a bound on calls is exceeded by less than a factor of two.
    fn is_narrow(&self) -> bool {
        let is_slow = matches!(&self.calls, Some((calls, _)) if *calls < LEAST_CALLS / 2.0);
        let is_late = matches!(&self.time, Some((time, _)) if *time > MOST_TIME * 2.0);
        !(self.is_fast_enough() && self.is_soon_enough() || is_slow || is_late)
    }

    fn is_fast_enough(&self) -> bool {
        !matches!(&self.calls, Some((calls, _)) if *calls < LEAST_CALLS)
    }

    fn is_soon_enough(&self) -> bool {
        !matches!(&self.time, Some((time, _)) if *time > MOST_TIME)
    }

    /// Compares the calls during the attack with those beside a busy peer, for the kind of calls
    /// that suffers most. Rates are relative to the processor time that others left.
    fn compare(&mut self) {
        (self.calls, self.time) = (None, None);
        let undisturbed = |round: &&Round| round.is_undisturbed();
        let are_enough = self.rounds.iter().filter(undisturbed).count() >= 2;
        let pairs: Vec<_> = self
            .rounds
            .iter()
            .filter(|round| !are_enough || undisturbed(round))
            .filter_map(|round| Some((&round.attacked, round.beside.as_ref()?)))
            .collect();
        let kinds = pairs.iter().flat_map(|(_, (made, _))| made.calls.keys());
        let kinds: BTreeSet<_> = kinds.collect();
        for kind in kinds {
            let of = |made: &Made| made.calls.get(kind).cloned().unwrap_or_default();
            let rate =
                |(made, left): &(Made, f64)| of(made).good as f64 / (made.micros as f64 * left);
            let time = |(made, _): &(Made, f64)| match of(made) {
                calls if calls.good == 0 => f64::INFINITY,
                calls => calls.p99 as f64,
            };
            let calls = median(pairs.iter().map(|(a, b)| rate(a) / rate(b)).collect());
            let time = median(pairs.iter().map(|(a, b)| time(a) / time(b)).collect());
            if self.calls.as_ref().is_none_or(|(least, _)| calls < *least) {
                self.calls = Some((calls, kind.clone()));
            }
            if self.time.as_ref().is_none_or(|(most, _)| time > *most) {
                self.time = Some((time, kind.clone()));
            }
        }
    }

    /// Returns the number of calls to the hostile service for each code.
    fn hostile(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        let attacked = self.rounds.iter().map(|round| &round.attacked.0);
        for (code, count) in attacked.flat_map(|made| &made.hostile) {
            *all.entry(code.clone()).or_default() += count;
        }
        all
    }

    pub(crate) fn check(&mut self, attack: &Attack, plan: Plan) {
        for (what, count) in &self.failed {
            self.wrong.push(format!("{count} calls failed: {what}"));
        }
        if self.messages == 0 && self.received == 0 && plan.compares() {
            self.wrong.push("nothing was sent or received".to_owned());
        }
        // In a brief attack, a few lines are a high rate.
        if self.log_lines > FEW_LINES && !plan.compares() {
            let last = &self.last_line;
            self.wrong
                .push(format!("{} lines of log, such as {last:?}", self.log_lines));
        }
        let (is_fast_enough, is_soon_enough) = (self.is_fast_enough(), self.is_soon_enough());
        let wrong = &mut self.wrong;
        let bytes = self.received as f64 / self.sent.max(1) as f64;
        if bytes > MOST_BYTES && self.received > FEW_BYTES && !attack.is_answered {
            wrong.push(format!("{bytes:.0} bytes sent for each byte"));
        }
        if !plan.compares() {
            return;
        }
        if !is_fast_enough && let Some((calls, kind)) = &self.calls {
            wrong.push(format!("{:.0} % of the calls of {kind}", calls * 100.0));
        }
        if !is_soon_enough && let Some((time, kind)) = &self.time {
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

    /// Returns the cells of its row, see [`HEADS`].
    pub(crate) fn cells(&self) -> [String; HEADS.len()] {
        let part = |value: &Option<(f64, String)>, factor: f64, digits: usize| match value {
            Some((value, kind)) => format!("{:.digits$} {kind}", value * factor),
            None => "-".to_owned(),
        };
        let mib = |bytes: u64| format!("{:.1}", bytes as f64 / (1 << 20) as f64);
        [
            part(&self.calls, 100.0, 0),
            part(&self.time, 1.0, 1),
            self.messages.to_string(),
            mib(self.sent),
            mib(self.held),
            format!("{:.1}", self.received as f64 / self.sent.max(1) as f64),
            format!("{:.0}", self.log / 1000.0),
            self.back.map_or("never".to_owned(), |back| {
                format!("{:.1}", back.as_secs_f64())
            }),
        ]
    }

    /// Formats a row with notes.
    pub(crate) fn row(&self, name: &str) -> String {
        let row = format!("| `{name}` | {} |", self.cells().join(" | "));
        let mut notes = String::new();
        if self.cut > 0 {
            _ = write!(notes, " cut {} times;", self.cut);
        }
        if self.after > Duration::from_secs(2) {
            let seconds = self.after.as_secs_f64();
            _ = write!(notes, " calls succeed after {seconds:.0} s;");
        }
        for (code, count) in self.hostile() {
            _ = write!(notes, " {code} {count},");
        }
        if self.rounds.iter().any(|round| !round.is_undisturbed()) {
            notes.push_str(" disturbed;");
        }
        for wrong in &self.wrong {
            _ = write!(notes, "\n    WRONG {wrong}");
        }
        row + &notes
    }
}
