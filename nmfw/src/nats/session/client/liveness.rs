//! Handling of calls when the service of a session seems to be gone.

use std::time::{Duration, Instant};

use super::{call::ClientCall, calls::ClientCalls};
use crate::nats::session::protocol::{Liveness, Session};

/// A service without a subscription for this long is probably gone. A shorter absence may be a
/// restart of the broker.
const MAX_VANISHED: Duration = Duration::from_secs(2);

impl ClientCalls {
    /// Updates the session's state when the service seems to be gone, or responds again. New calls
    /// use other sessions if there are any and, after a while, in any case. Calls in flight may
    /// still be answered until the service is considered dead.
    pub(crate) fn update_liveness(&mut self, session: &mut Session, now: Instant) {
        let liveness = session.liveness(now);
        if liveness != self.liveness {
            self.liveness = liveness;
            log_limited!(
                debug,
                ?liveness,
                "the reachability of a session's service has changed"
            );
            if let Some(handle) = self.handle.upgrade() {
                handle.liveness(liveness);
            }
        }
        let vanished = session.vanished_since();
        if liveness == Liveness::Gone || vanished.is_some_and(|since| now >= since + MAX_VANISHED) {
            self.leave();
        }
        if liveness == Liveness::Gone {
            self.give_up_calls(session);
        }
    }

    /// Makes the session available again once the service responds after a reconnect.
    pub(crate) fn update_reconnect(&mut self, session: &Session) {
        if self.heard_in == self.epoch || !session.is_confirmed() || session.is_unheard() {
            return;
        }
        self.heard_in = self.epoch;
        if let Some(handle) = self.handle.upgrade() {
            handle.heard_in(self.epoch);
            if let Some(pool) = self.pool.upgrade() {
                pool.heard();
            }
        }
    }

    /// Ends the calls that do not wait for a service to come back: calls with one message in each
    /// direction, and calls that the service has not acknowledged.
    fn give_up_calls(&mut self, session: &mut Session) {
        let lost = self.calls.iter().filter(|(stream, call)| {
            matches!(call, ClientCall::Unary(_)) || !session.is_known(*stream)
        });
        let lost: Vec<_> = lost.map(|(stream, _)| stream).collect();
        for stream in lost {
            let status = session.give_up(stream);
            self.finish(session, stream, Err(status));
        }
    }
}
