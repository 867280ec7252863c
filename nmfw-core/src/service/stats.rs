//! Counters of an endpoint for ADR-32's STATS.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{Status, observe::metrics::MethodMetrics};

/// Maximum length of `last_error` in bytes, because every STATS answer includes it.
const MAX_ERROR: usize = 512;

#[derive(Debug)]
pub struct Stats {
    pub metrics: MethodMetrics,
    requests: AtomicU64,
    errors: AtomicU64,
    processing_nanos: AtomicU64,
    last_error: Mutex<String>,
}

/// The counters at one point in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub requests: u64,
    pub errors: u64,
    pub processing: Duration,
    pub last_error: String,
}

impl Stats {
    pub(crate) fn new(metrics: MethodMetrics) -> Self {
        Self {
            metrics,
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            processing_nanos: AtomicU64::new(0),
            last_error: Mutex::default(),
        }
    }

    /// Counts a request with the run time of its handler.
    pub fn record(&self, outcome: Result<(), &Status>, processing: Duration) {
        self.metrics.ended(outcome, processing);
        self.requests.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(processing.as_nanos()).unwrap_or(u64::MAX);
        self.processing_nanos.fetch_add(nanos, Ordering::Relaxed);
        if let Err(status) = outcome {
            self.error(status);
        }
    }

    /// Counts a request that no handler has seen.
    pub(crate) fn refuse(&self, status: &Status) {
        self.metrics.refused(status);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.error(status);
    }

    /// Counts the error of an already counted request, whose response could not be sent.
    pub fn fail(&self, status: &Status) {
        self.metrics.unsent();
        self.error(status);
    }

    fn error(&self, status: &Status) {
        let mut text = status.to_string();
        // `floor_char_boundary` of std requires a newer Rust than the minimum supported version.
        let mut end = MAX_ERROR.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        // A reader that sees the count also sees the text.
        let mut last_error = self.last_error();
        *last_error = text;
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    pub fn snapshot(&self) -> Snapshot {
        let last_error = self.last_error();
        Snapshot {
            requests: self.requests.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            processing: Duration::from_nanos(self.processing_nanos.load(Ordering::Relaxed)),
            last_error: last_error.clone(),
        }
    }

    fn last_error(&self) -> std::sync::MutexGuard<'_, String> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_remembers_the_last_error() {
        let stats = Stats::new(MethodMetrics::new("calc", "Add"));
        stats.record(Ok(()), Duration::from_millis(2));
        stats.refuse(&Status::not_found("ä".repeat(1000)));
        let snapshot = stats.snapshot();
        assert_eq!((snapshot.requests, snapshot.errors), (2, 1));
        assert_eq!(snapshot.processing, Duration::from_millis(2));
        assert!(snapshot.last_error.starts_with("NOT_FOUND: ä"));
        assert!(snapshot.last_error.len() <= MAX_ERROR);
    }
}
