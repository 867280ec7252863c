//! [`Summary`]: the results, printed, saved and compared.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use super::load::{Load, Measured};
use crate::{
    duration,
    failure::Failure,
    output::{
        table::{Cell, Table},
        text::{CAUTION, ERROR, GOOD, STRONG, peer},
    },
};

/// The quantiles that are shown, in percent.
const QUANTILES: [(&str, f64); 6] = [
    ("p50", 50.0),
    ("p75", 75.0),
    ("p90", 90.0),
    ("p99", 99.0),
    ("p99.9", 99.9),
    ("max", 100.0),
];

/// The number of bars of the histogram, and their length.
const BARS: usize = 10;
const BAR: f64 = 40.0;

/// The change, in percent, below which a difference between runs is no change.
const NOISE: f64 = 3.0;

/// The largest file of a saved run, in bytes.
const MAX_FILE: usize = 1024 * 1024;

/// The results of a run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Summary {
    method: String,
    concurrency: u32,
    /// The calls a second that were asked for.
    rate: Option<f64>,
    seconds: f64,
    /// Calls that succeeded.
    calls: u64,
    calls_per_second: f64,
    messages: u64,
    errors: BTreeMap<String, u64>,
    first_error: Option<String>,
    latency: Latency,
}

/// Latencies in nanoseconds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Latency {
    mean: f64,
    min: u64,
    quantiles: BTreeMap<String, u64>,
    /// The upper end of each bar, and the number of calls in it.
    histogram: Vec<(u64, u64)>,
}

impl Summary {
    pub(super) fn of(method: String, load: &Load, measured: &Measured) -> Self {
        let Measured {
            elapsed, latencies, ..
        } = measured;
        let quantiles = QUANTILES
            .map(|(name, percent)| (name.to_owned(), latencies.value_at_percentile(percent)));
        let seconds = elapsed.as_secs_f64();
        Self {
            method,
            concurrency: load.concurrency,
            rate: load.rate,
            seconds,
            calls: latencies.len(),
            calls_per_second: latencies.len() as f64 / seconds.max(f64::MIN_POSITIVE),
            messages: measured.messages,
            errors: measured
                .errors
                .iter()
                .map(|(code, number)| ((*code).to_owned(), *number))
                .collect(),
            first_error: measured.first_error.clone(),
            latency: match latencies.is_empty() {
                true => Latency::default(),
                false => Latency {
                    mean: latencies.mean(),
                    min: latencies.min(),
                    quantiles: quantiles.into(),
                    histogram: bars(latencies),
                },
            },
        }
    }

    /// Returns the number of calls that succeeded.
    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let text = crate::cache::read(path, MAX_FILE)
            .ok_or_else(|| Failure::new(format!("cannot read {shown}")))?;
        serde_json::from_slice(&text).map_err(|error| {
            Failure::new(format!("{shown} is not a saved run"))
                .caused_by(&error)
                .hint("`nmfw bench --save FILE` writes one")
        })
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            Failure::new(format!("cannot write {}", path.display())).caused_by(error)
        };
        let text = serde_json::to_string_pretty(self).map_err(|error| failed(&error))?;
        fs::write(path, text + "\n").map_err(|error| failed(&error))
    }

    /// Returns the results for people, compared with those of an earlier run.
    pub(super) fn text(&self, before: Option<&Self>) -> String {
        let callers = match self.concurrency {
            1 => "1 caller".to_owned(),
            number => format!("{number} callers"),
        };
        let rate = match self.rate {
            Some(rate) => format!("{rate} calls a second, at most {callers}"),
            None => callers,
        };
        let mut text = format!(
            "{STRONG}{}{STRONG:#}: {rate}, {:.1} s\n\n",
            peer(&self.method),
            self.seconds
        );
        let mut table = match before {
            Some(_) => Table::new(["", "#BEFORE", "#NOW", "#CHANGE"]),
            None => Table::new(["", "#"]),
        };
        let number = |number: f64| format!("{number:.0}");
        let nanos = |nanos: f64| duration::short(Duration::from_nanos(nanos as u64));
        let mut row = |name: &str,
                       value: &dyn Fn(&Self) -> f64,
                       show: &dyn Fn(f64) -> String,
                       higher_is_better: bool| {
            let now = value(self);
            let mut cells = vec![Cell::new(name)];
            if let Some(before) = before.map(value) {
                cells.push(Cell::new(show(before)));
                cells.push(Cell::new(show(now)));
                cells.push(change(before, now, higher_is_better));
            } else {
                cells.push(Cell::new(show(now)));
            }
            table.row(cells);
        };
        row("calls a second", &|run| run.calls_per_second, &number, true);
        row("mean latency", &|run| run.latency.mean, &nanos, false);
        for (name, _) in QUANTILES.into_iter().filter(|_| self.calls > 0) {
            let quantile =
                |run: &Self| run.latency.quantiles.get(name).copied().unwrap_or(0) as f64;
            row(name, &quantile, &nanos, false);
        }
        text.push_str(&table.render(None));
        if self.messages > self.calls {
            let a_second = self.messages as f64 / self.seconds;
            text.push_str(&format!(
                "\n{} messages, {a_second:.0} a second\n",
                self.messages
            ));
        }
        text.push_str(&self.histogram());
        for (code, number) in &self.errors {
            text.push_str(&format!("{ERROR}{number} {code}{ERROR:#}\n"));
        }
        if let Some(first) = &self.first_error {
            let first = nmfw_core::escape::Escaped::up_to(first, 512);
            text.push_str(&format!("  the first: {first}\n"));
        }
        text
    }

    fn histogram(&self) -> String {
        let mut text = "\n".to_owned();
        let most = self
            .latency
            .histogram
            .iter()
            .map(|(_, number)| *number)
            .max()
            .unwrap_or(0);
        for (end, number) in &self.latency.histogram {
            let len = (*number as f64 / most.max(1) as f64 * BAR).ceil();
            let bar = "■".repeat(len as usize);
            let end = duration::short(Duration::from_nanos(*end));
            text.push_str(format!("{end:>9} {number:>9} {bar}").trim_end());
            text.push('\n');
        }
        text
    }
}

/// Returns bars of equal width up to the slowest hundredth, and one for the rest.
fn bars(latencies: &hdrhistogram::Histogram<u64>) -> Vec<(u64, u64)> {
    let (low, high) = (latencies.min(), latencies.value_at_percentile(99.0));
    let step = (high.saturating_sub(low) / BARS as u64).max(1);
    let mut bars: Vec<(u64, u64)> = Vec::new();
    let mut before = 0;
    for bar in 1..=BARS as u64 {
        let end = low + bar * step;
        let until = latencies.count_between(0, end);
        bars.push((end, until.saturating_sub(before)));
        before = until;
    }
    if latencies.len() > before {
        bars.push((latencies.max(), latencies.len() - before));
    }
    bars
}

fn change(before: f64, now: f64, higher_is_better: bool) -> Cell {
    if before <= 0.0 {
        return Cell::unknown();
    }
    let percent = (now / before - 1.0) * 100.0;
    let cell = Cell::new(format!("{percent:+.1} %"));
    match (percent.abs() < NOISE, (percent > 0.0) == higher_is_better) {
        (true, _) => cell,
        (_, true) => cell.style(GOOD),
        (_, false) => cell.style(CAUTION),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn bars_hold_all_calls() {
        for values in [&[5_u64][..], &[1, 1, 1], &[10, 20, 30, 40, 5_000_000]] {
            let mut latencies = hdrhistogram::Histogram::<u64>::new(3).unwrap();
            for value in values {
                latencies.record(*value).unwrap();
            }
            let bars = bars(&latencies);
            let all: u64 = bars.iter().map(|(_, number)| number).sum();
            assert_eq!(all, values.len() as u64, "{bars:?}");
        }
    }
}
