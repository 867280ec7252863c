//! What the suite and the processes it starts say to each other, a line at a time: a server or a
//! client says `ready`, a client then gets [`Job`]s and answers each with an [`Outcome`], both as
//! JSON. Processes end when their input does. Peers in other languages speak it too.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a client is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) what: What,
    /// How many calls or streams are under way at a time.
    pub(crate) callers: usize,
    /// Bytes of a message's body.
    pub(crate) payload: usize,
    /// How long to go on, unless `calls` says when to end.
    pub(crate) millis: u64,
    /// How many calls to make in all; 0 for as many as there is time for.
    pub(crate) calls: u64,
}

/// The kinds of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    Unary,
    /// Unary, to a handler that sleeps for 10 milliseconds.
    Sleep,
    /// Unary, with a time-out set for the call.
    Deadline,
    /// Unary, with three entries of metadata.
    Metadata,
    Download,
    Upload,
    Chat,
    /// Opens that many more clients and keeps them.
    IdleClients,
    /// The same, and has each make a call.
    IdleSessions,
    /// Opens that many streams of one client and keeps them.
    IdleStreams,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Outcome {
    /// Calls that were answered, or messages that arrived.
    pub(crate) done: u64,
    pub(crate) seconds: f64,
    /// None where single messages have no latency.
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) errors: u64,
    /// The first error.
    pub(crate) error: Option<String>,
    /// Allocations, where the process counts them.
    pub(crate) allocations: Option<u64>,
}

impl Job {
    /// The same work, as long as this.
    pub(crate) fn lasting(self, time: Duration) -> Self {
        Self {
            millis: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            calls: 0,
            ..self
        }
    }
}

impl Outcome {
    /// Calls or messages a second.
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

/// What a server or client says once it can be used.
pub(crate) const READY: &str = "ready";
/// Has a server that runs on one thread count allocations, until [`REPORT`].
pub(crate) const COUNT: &str = "count";
/// Has it say how many there were, as an [`Outcome`].
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
    fn outcomes_may_leave_out_what_they_do_not_know() {
        let outcome: Outcome = serde_json::from_str(r#"{"done":10,"seconds":0.5}"#).unwrap();
        assert!((outcome.per_second() - 20.0).abs() < 1e-9);
        assert_eq!(outcome.p50_us, None);
        assert!(Outcome::default().per_second().abs() < 1e-9);
    }
}
