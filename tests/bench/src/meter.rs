//! Measures the calls of many concurrent tasks.

use std::{
    cell::Cell,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::protocol::Outcome;

/// Precision of latencies: a thousandth, from 0.1 us.
const DIGITS: u8 = 3;
const LOWEST_NANOS: u64 = 100;
const HIGHEST_NANOS: u64 = 120_000_000_000;

/// Latencies of a work, in one histogram per thread, so that its lock is uncontended and its cache
/// lines are not shared.
#[derive(Debug)]
pub(crate) struct Meter {
    shards: Vec<Mutex<Shard>>,
}

#[derive(Debug)]
struct Shard {
    latencies: Histogram<u32>,
    done: u64,
    last: Option<Instant>,
    errors: u64,
    error: Option<String>,
}

impl Meter {
    pub(crate) fn new() -> Result<Self, hdrhistogram::CreationError> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let shards = (0..=threads).map(|_| {
            Ok(Mutex::new(Shard {
                latencies: Histogram::new_with_bounds(LOWEST_NANOS, HIGHEST_NANOS, DIGITS)?,
                done: 0,
                last: None,
                errors: 0,
                error: None,
            }))
        });
        Ok(Self {
            shards: shards.collect::<Result<_, _>>()?,
        })
    }

    fn shard(&self) -> MutexGuard<'_, Shard> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static MINE: Cell<Option<usize>> = const { Cell::new(None) };
        }
        let mine = MINE.with(|mine| match mine.get() {
            Some(index) => index,
            None => {
                let index = NEXT.fetch_add(1, Ordering::Relaxed);
                mine.set(Some(index));
                index
            }
        });
        let shard = &self.shards[mine % self.shards.len()];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records an answered call.
    pub(crate) fn answered(&self, began: Instant, ended: Instant) {
        let nanos = u64::try_from((ended - began).as_nanos()).unwrap_or(u64::MAX);
        let mut shard = self.shard();
        shard.latencies.saturating_record(nanos);
        shard.done += 1;
        shard.last = Some(ended);
    }

    /// Records received messages.
    pub(crate) fn arrived(&self, count: u64) {
        let mut shard = self.shard();
        shard.done += count;
        shard.last = Some(Instant::now());
    }

    pub(crate) fn failed(&self, error: String) {
        let mut shard = self.shard();
        shard.errors += 1;
        shard.error.get_or_insert(error);
    }

    /// Returns the outcome, from `began` to the last answer.
    pub(crate) fn outcome(&self, began: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        let mut all: Option<Histogram<u32>> = None;
        let mut last = began;
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            outcome.done += shard.done;
            outcome.errors += shard.errors;
            outcome.error = outcome.error.or_else(|| shard.error.clone());
            last = last.max(shard.last.unwrap_or(began));
            match &mut all {
                // All histograms have the same bounds, so adding cannot fail.
                Some(all) => drop(all.add(&shard.latencies)),
                None => all = Some(shard.latencies.clone()),
            }
        }
        outcome.seconds = (last - began).as_secs_f64();
        if let Some(all) = all.filter(|all| !all.is_empty()) {
            let micros = |quantile| {
                #[allow(clippy::cast_precision_loss, reason = "at most two minutes")]
                let nanos = all.value_at_quantile(quantile) as f64;
                Some(nanos / 1_000.0)
            };
            outcome.p50_us = micros(0.5);
            outcome.p99_us = micros(0.99);
        }
        outcome
    }
}

/// Reports whether a work is over, cheaply enough to be checked for every message of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Over(Arc<AtomicBool>);

impl Over {
    /// Set by a separate thread, because a runtime's timers may be late when its tasks are busy.
    pub(crate) fn after(time: Duration) -> Self {
        let over = Self(Arc::default());
        let flag = Arc::clone(&over.0);
        thread::spawn(move || {
            thread::sleep(time);
            flag.store(true, Ordering::Relaxed);
        });
        over
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_counts_over_all_threads() {
        let meter = Arc::new(Meter::new().unwrap());
        let began = Instant::now();
        for i in 1..=100 {
            let meter = Arc::clone(&meter);
            let ended = began + Duration::from_micros(i * 10);
            thread::spawn(move || meter.answered(began, ended))
                .join()
                .unwrap();
        }
        meter.failed("first".to_owned());
        let outcome = meter.outcome(began);
        assert_eq!((outcome.done, outcome.errors), (100, 1));
        assert_eq!(outcome.error.as_deref(), Some("first"));
        let near = |value: Option<f64>, expected: f64| {
            let value = value.unwrap();
            assert!((value / expected - 1.0).abs() < 0.002, "{value} {expected}");
        };
        near(outcome.p50_us, 500.0);
        near(outcome.p99_us, 990.0);
        near(Some(outcome.seconds), 0.001);
    }

    #[test]
    fn a_stream_has_no_latency() {
        let meter = Meter::new().unwrap();
        let began = Instant::now();
        meter.arrived(7);
        let outcome = meter.outcome(began);
        assert_eq!((outcome.done, outcome.p50_us), (7, None));
    }
}
