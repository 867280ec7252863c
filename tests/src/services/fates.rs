//! What becomes of the handlers of a test's service.

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
    /// Those that have begun.
    pub(crate) fn started(&self) -> u64 {
        self.0.started.load(Ordering::SeqCst)
    }

    /// Those that have come to their end.
    pub(crate) fn finished(&self) -> u64 {
        self.0.finished.load(Ordering::SeqCst)
    }

    /// Those that were dropped before.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::SeqCst)
    }

    /// One begins.
    pub(crate) fn enter(&self) -> Entered {
        self.0.started.fetch_add(1, Ordering::SeqCst);
        Entered(Arc::clone(&self.0), false)
    }
}

/// A handler that has begun.
pub(crate) struct Entered(Arc<Counts>, bool);

impl Entered {
    /// It has come to its end.
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
