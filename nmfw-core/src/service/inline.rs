//! [`Quick`]: detects methods whose handlers are too quick to be worth a task.
//!
//! Handing a call to a task, and its response back, takes longer than many handlers, and occupies
//! two threads. Handlers that neither wait nor run for long are therefore executed on the reader
//! task. As they delay that task, the decision is based on their average run time, in which a long
//! run has its full weight.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Maximum average run time of a quick handler: a few times the cost of a task.
const LIMIT: u64 = 10_000;

/// The average covers about this many calls. A single sample is unreliable, because the thread may
/// have been preempted.
const CALLS: u64 = 1024;

/// The weight of a handler that waits, so that such handlers soon get a task from the start.
const WAITED: u64 = 200_000;

/// Maximum weight of one run, so that the average recovers in reasonable time.
const MAX_NANOS: u64 = 10_000_000;

#[derive(Debug)]
pub struct Quick {
    /// In nanoseconds. Concurrent updates may overwrite each other.
    average: AtomicU64,
}

impl Default for Quick {
    fn default() -> Self {
        // A method starts as slow, until samples show otherwise.
        Self {
            average: AtomicU64::new(WAITED),
        }
    }
}

impl Quick {
    /// Returns whether the next handler may run on the reader task.
    pub fn is_quick(&self) -> bool {
        self.average.load(Ordering::Relaxed) < LIMIT
    }

    /// Records a handler that ended after this time without waiting.
    pub(crate) fn ended(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(MAX_NANOS);
        self.count(nanos.min(MAX_NANOS));
    }

    /// Records a handler that waits.
    pub(crate) fn waits(&self) {
        self.count(WAITED);
    }

    fn count(&self, nanos: u64) {
        let average = self.average.load(Ordering::Relaxed);
        // Both terms are rounded down, so that the average settles below the limit.
        let average = average - average.div_ceil(CALLS) + nanos / CALLS;
        self.average.store(average, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_micros(2);

    fn calls_until(is_quick: bool, method: &Quick, call: impl Fn(u64)) -> u64 {
        let mut calls = 0;
        while method.is_quick() != is_quick {
            call(calls);
            calls += 1;
            assert!(calls < 1_000_000);
        }
        calls
    }

    #[test]
    fn has_to_be_shown() {
        let method = Quick::default();
        let calls = calls_until(true, &method, |_| method.ended(SHORT));
        assert!(calls > CALLS, "{calls}");
        let calls = calls_until(false, &method, |_| method.waits());
        assert!(calls < 100, "{calls}");
    }

    #[test]
    fn one_that_takes_long_weighs_as_much_as_it_takes() {
        let method = Quick::default();
        calls_until(true, &method, |_| method.ended(SHORT));
        // Preempted once, for a time slice.
        for _ in 0..4 * CALLS {
            method.ended(SHORT);
        }
        method.ended(Duration::from_millis(4));
        assert!(method.is_quick());
        // Ten milliseconds once in a hundred calls average to a hundred microseconds.
        let mixed = |n: u64| {
            let time = if n.is_multiple_of(100) {
                Duration::from_millis(10)
            } else {
                SHORT
            };
            method.ended(time);
        };
        calls_until(false, &method, mixed);
        for n in 0..100_000 {
            mixed(n);
            assert!(n < CALLS || !method.is_quick());
        }
    }
}
