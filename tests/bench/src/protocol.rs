//! The line-based protocol between the suite and its processes: a server or a client prints
//! `ready`; a client then receives [`Job`]s and answers each with an [`Outcome`], both as JSON.
//! Processes end when their input does. Peers in other languages implement it too.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The task of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) what: What,
    /// Number of concurrent calls or streams.
    pub(crate) callers: usize,
    /// Size of a message's body.
    pub(crate) payload: usize,
    /// Duration, unless `calls` determines the end.
    pub(crate) millis: u64,
    /// Total number of calls; 0 for no limit.
    pub(crate) calls: u64,
}

/// The kinds of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    Unary,
    /// Unary, to a handler that sleeps for 10 milliseconds.
    Sleep,
    /// Unary, with a timeout set for the call.
    Deadline,
    /// Unary, with three entries of metadata.
    Metadata,
    Download,
    Upload,
    Chat,
    /// Opens additional clients, as many as there are callers, and keeps them.
    IdleClients,
    /// Opens additional clients with one call each.
    IdleSessions,
    /// Opens streams of one client, as many as there are callers, and keeps them.
    IdleStreams,
}

/// The outcome of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Outcome {
    /// Number of answered calls, or of received messages.
    pub(crate) done: u64,
    pub(crate) seconds: f64,
    /// `None` if single messages have no latency.
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) errors: u64,
    /// The first error.
    pub(crate) error: Option<String>,
    /// Allocations, where the process counts them.
    pub(crate) allocations: Option<u64>,
}

impl Job {
    /// Returns the same job with another duration.
    pub(crate) fn lasting(self, time: Duration) -> Self {
        Self {
            millis: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            calls: 0,
            ..self
        }
    }
}

impl Outcome {
    /// Returns the calls or messages per second.
    pub(crate) fn per_second(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let done = self.done as f64;
        if self.seconds > 0.0 {
            done / self.seconds
        } else {
            0.0
        }
    }
}

/// Printed by a server or client when it is ready.
pub(crate) const READY: &str = "ready";
/// Makes a single-threaded server count allocations until [`REPORT`].
pub(crate) const COUNT: &str = "count";
/// Makes it report the number, as an [`Outcome`].
pub(crate) const REPORT: &str = "report";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_flat_json() {
        let job = Job {
            what: What::IdleStreams,
            callers: 2,
            payload: 16,
            millis: 5,
            calls: 0,
        };
        let text = serde_json::to_string(&job).unwrap();
        assert_eq!(
            text,
            r#"{"what":"idle-streams","callers":2,"payload":16,"millis":5,"calls":0}"#
        );
        assert_eq!(serde_json::from_str::<Job>(&text).unwrap(), job);
    }

    #[test]
    fn outcomes_may_omit_unknown_values() {
        let outcome: Outcome = serde_json::from_str(r#"{"done":10,"seconds":0.5}"#).unwrap();
        assert!((outcome.per_second() - 20.0).abs() < 1e-9);
        assert_eq!(outcome.p50_us, None);
        assert!(Outcome::default().per_second().abs() < 1e-9);
    }
}
