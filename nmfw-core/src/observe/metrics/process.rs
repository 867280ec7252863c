//! What is counted of sessions and connections, whatever they are for.

use metrics::{Counter, Gauge};

use super::names;

/// Describes all metrics, and has those of the process at zero from the beginning, so that what happens
/// first is an increase.
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

/// Of all sessions of one side.
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

/// What has happened, for who measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Times that a stream had something to send and no credit for it.
    pub window_stalls: u64,
    /// Packets that were sent again.
    pub retransmissions: u64,
    /// Packets that were dropped, as they did not prove to come from the peer, or too many waited.
    pub dropped: u64,
}

/// A session that counts, for the recorder that there is when it opens.
pub struct OpenSession(SessionMetrics);

impl OpenSession {
    pub fn new(is_server: bool) -> Self {
        let metrics = SessionMetrics::of(is_server);
        metrics.open.increment(1.0);
        Self(metrics)
    }

    /// What has happened since the last time.
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

/// Counts that a connection is back.
pub fn reconnected() {
    reconnects().increment(1);
}

/// Counts that a message was lost on its way to a subscription.
pub fn message_dropped() {
    dropped().increment(1);
}

/// Counts that a message was dropped for its reply subject.
pub fn reply_subject_refused() {
    refused_replies().increment(1);
}

/// Counts that a session was not opened, for want of room.
pub fn session_refused() {
    sessions_refused().increment(1);
}

/// Counts that a session was ended for others to have its place.
pub fn session_evicted() {
    sessions_evicted().increment(1);
}

/// Counts that a packet of a session that is not known got no answer.
pub fn answer_dropped() {
    dropped_answers().increment(1);
}

// Seldom needed, and so asked for each time: the recorder may be younger than the connection.
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
