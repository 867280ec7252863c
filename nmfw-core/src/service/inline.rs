//! [`Quick`]: whether the handlers of a method are so quick that a task for each is a waste.
//!
//! To hand a call to a task, and its answer back, takes longer than many a handler does, and has two
//! threads work on what one could do. So handlers that neither wait nor take long run where their
//! calls are read. Whoever reads is held up by them, so this goes by what they take on average, in
//! which one that takes long weighs as much as it takes.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// What handlers may take on average: a few times what a task takes.
const LIMIT: u64 = 10_000;

/// The average is that of about so many calls. The thread may have been put aside in the middle of
/// one, which is not the handler's fault.
const CALLS: u64 = 1024;

/// What a handler that waits counts as: such ones are to have a task from the beginning.
const WAITED: u64 = 200_000;

/// What a handler counts as at most. More of it would take too long to forget.
const MOST: u64 = 10_000_000;

#[derive(Debug)]
pub struct Quick {
    /// In nanoseconds. Threads that change it at the same time may lose one of the changes.
    average: AtomicU64,
}

impl Default for Quick {
    fn default() -> Self {
        // Nothing is known: it has to be shown.
        Self {
            average: AtomicU64::new(WAITED),
        }
    }
}

impl Quick {
    /// Whether the next handler may run where its call is read.
    pub fn is_quick(&self) -> bool {
        self.average.load(Ordering::Relaxed) < LIMIT
    }

    /// A handler has ended, after this time, without having waited for anything.
    pub(crate) fn ended(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(MOST);
        self.count(nanos.min(MOST));
    }

    /// A handler waits for something.
    pub(crate) fn waits(&self) {
        self.count(WAITED);
    }

    fn count(&self, nanos: u64) {
        let average = self.average.load(Ordering::Relaxed);
        // Both parts rounded down, so that it comes to rest below the limit.
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
        // Put aside once, for a time slice.
        for _ in 0..4 * CALLS {
            method.ended(SHORT);
        }
        method.ended(Duration::from_millis(4));
        assert!(method.is_quick());
        // Ten milliseconds in a hundred calls are a hundred microseconds for each.
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
