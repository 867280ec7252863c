//! Counts how the handlers of a test's service ended.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Counts handlers. Clones share the counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fates(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    started: AtomicU64,
    finished: AtomicU64,
    dropped: AtomicU64,
}

impl Fates {
    /// Returns the number of handlers that have begun.
    pub(crate) fn started(&self) -> u64 {
        self.0.started.load(Ordering::SeqCst)
    }

    /// Returns the number of handlers that completed.
    pub(crate) fn finished(&self) -> u64 {
        self.0.finished.load(Ordering::SeqCst)
    }

    /// Returns the number of handlers that were dropped before they completed.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::SeqCst)
    }

    /// Counts a handler as begun.
    pub(crate) fn enter(&self) -> Entered {
        self.0.started.fetch_add(1, Ordering::SeqCst);
        Entered(Arc::clone(&self.0), false)
    }
}

/// A handler that has begun.
pub(crate) struct Entered(Arc<Counts>, bool);

impl Entered {
    /// Counts the handler as completed.
    pub(crate) fn leave(&mut self) {
        self.1 = true;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let count = if self.1 {
            &self.0.finished
        } else {
            &self.0.dropped
        };
        count.fetch_add(1, Ordering::SeqCst);
    }
}
