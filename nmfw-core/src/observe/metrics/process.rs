//! Metrics of sessions and connections.

use metrics::{Counter, Gauge};

use super::names;

/// Describes all metrics, and initialises those of the process at zero, so that the first event is
/// an increase.
pub fn register() {
    names::describe();
    for is_server in [false, true] {
        _ = SessionMetrics::of(is_server);
    }
    _ = reconnects();
    _ = sessions_refused();
    _ = sessions_evicted();
    _ = dropped();
    _ = dropped_answers();
    _ = refused_replies();
}

/// Metrics of all sessions on one side.
struct SessionMetrics {
    open: Gauge,
    window_stalls: Counter,
    retransmissions: Counter,
    dropped: Counter,
}

impl SessionMetrics {
    fn of(is_server: bool) -> Self {
        let side = if is_server { "server" } else { "client" };
        Self {
            open: metrics::gauge!(names::SESSIONS, "side" => side),
            window_stalls: metrics::counter!(names::WINDOW_STALLS, "side" => side),
            retransmissions: metrics::counter!(names::RETRANSMISSIONS, "side" => side),
            dropped: metrics::counter!(names::DROPPED_PACKETS, "side" => side),
        }
    }
}

/// Counters of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Number of times that a stream had data to send and no credit.
    pub window_stalls: u64,
    /// Number of resent packets.
    pub retransmissions: u64,
    /// Number of packets dropped for an invalid proof or a full queue.
    pub dropped: u64,
}

/// A counted session, on the recorder that is installed when it opens.
pub struct OpenSession(SessionMetrics);

impl OpenSession {
    pub fn new(is_server: bool) -> Self {
        let metrics = SessionMetrics::of(is_server);
        metrics.open.increment(1.0);
        Self(metrics)
    }

    /// Adds the counters since the last call.
    pub fn add(&self, counts: Counts) {
        let Counts {
            window_stalls,
            retransmissions,
            dropped,
        } = counts;
        if window_stalls > 0 {
            self.0.window_stalls.increment(window_stalls);
        }
        if retransmissions > 0 {
            self.0.retransmissions.increment(retransmissions);
        }
        if dropped > 0 {
            self.0.dropped.increment(dropped);
        }
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.open.decrement(1.0);
    }
}

impl std::fmt::Debug for OpenSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("metrics of a session")
    }
}

/// Counts a reconnect.
pub fn reconnected() {
    reconnects().increment(1);
}

/// Counts a message that was lost on its way to a subscription.
pub fn message_dropped() {
    dropped().increment(1);
}

/// Counts a message that was dropped for its reply subject.
pub fn reply_subject_refused() {
    refused_replies().increment(1);
}

/// Counts a session that was refused for lack of room.
pub fn session_refused() {
    sessions_refused().increment(1);
}

/// Counts a session that was closed to make room for another.
pub fn session_evicted() {
    sessions_evicted().increment(1);
}

/// Counts an unanswered packet of an unknown session.
pub fn answer_dropped() {
    dropped_answers().increment(1);
}

// Looked up on each use, which is rare: the recorder may be newer than the connection.
fn reconnects() -> Counter {
    metrics::counter!(names::RECONNECTS)
}

fn sessions_refused() -> Counter {
    metrics::counter!(names::SESSIONS_REFUSED)
}

fn sessions_evicted() -> Counter {
    metrics::counter!(names::SESSIONS_EVICTED)
}

fn dropped() -> Counter {
    metrics::counter!(names::DROPPED)
}

fn refused_replies() -> Counter {
    metrics::counter!(names::REFUSED_REPLIES)
}

fn dropped_answers() -> Counter {
    metrics::counter!(names::DROPPED_ANSWERS)
}
