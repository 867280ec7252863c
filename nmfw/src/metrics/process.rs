//! What is counted of sessions and connections, whatever they are for.

use std::sync::OnceLock;

use metrics::{Counter, Gauge};

use super::names;
use crate::session::Counts;

/// Of all sessions of one side, as the recorder has them that was installed with the first.
pub(crate) struct SessionMetrics {
    open: Gauge,
    window_stalls: Counter,
    retransmissions: Counter,
}

/// A session that counts.
#[derive(Debug)]
pub(crate) struct OpenSession(&'static SessionMetrics);

pub(crate) fn sessions(is_server: bool) -> &'static SessionMetrics {
    static SIDES: [OnceLock<SessionMetrics>; 2] = [OnceLock::new(), OnceLock::new()];
    SIDES[usize::from(is_server)].get_or_init(|| {
        names::describe();
        let side = if is_server { "server" } else { "client" };
        SessionMetrics {
            open: metrics::gauge!(names::SESSIONS, "side" => side),
            window_stalls: metrics::counter!(names::WINDOW_STALLS, "side" => side),
            retransmissions: metrics::counter!(names::RETRANSMISSIONS, "side" => side),
        }
    })
}

impl SessionMetrics {
    pub(crate) fn opened(&'static self) -> OpenSession {
        self.open.increment(1.0);
        OpenSession(self)
    }
}

impl std::fmt::Debug for SessionMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("metrics of sessions")
    }
}

impl OpenSession {
    /// What has happened since the last time.
    pub(crate) fn add(&self, counts: Counts) {
        let Counts {
            window_stalls,
            retransmissions,
        } = counts;
        if window_stalls > 0 {
            self.0.window_stalls.increment(window_stalls);
        }
        if retransmissions > 0 {
            self.0.retransmissions.increment(retransmissions);
        }
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.open.decrement(1.0);
    }
}

/// Of all connections.
pub(crate) struct ConnectionMetrics {
    reconnects: Counter,
    dropped: Counter,
}

pub(crate) fn connection() -> &'static ConnectionMetrics {
    static ALL: OnceLock<ConnectionMetrics> = OnceLock::new();
    ALL.get_or_init(|| {
        names::describe();
        ConnectionMetrics {
            reconnects: metrics::counter!(names::RECONNECTS),
            dropped: metrics::counter!(names::DROPPED),
        }
    })
}

impl ConnectionMetrics {
    pub(crate) fn reconnected(&self) {
        self.reconnects.increment(1);
    }

    pub(crate) fn dropped(&self) {
        self.dropped.increment(1);
    }
}
