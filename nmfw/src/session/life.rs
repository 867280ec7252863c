//! Whether the peer is there.

use std::time::{Duration, Instant};

use super::Config;
use crate::Status;

/// See [`Life::is_quiet`]. A busy session hears acknowledgements all the time.
const QUIET: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Life {
    opened: Instant,
    /// Whether a packet came after the handshake, and whether this side asks for one.
    is_confirmed: bool,
    asks: bool,
    last_heard: Instant,
    last_ping: Instant,
    vanished: Option<Instant>,
    heartbeat: Duration,
    dead_after: Duration,
    vanished_after: Duration,
    open_timeout: Duration,
    probe_after: Duration,
    /// What has answered in place of the peer.
    captured: Option<String>,
}

impl Life {
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        Self {
            opened: now,
            is_confirmed: false,
            asks: false,
            last_heard: now,
            last_ping: now,
            vanished: None,
            heartbeat: config.heartbeat,
            dead_after: config.dead_after,
            vanished_after: config.vanished_after,
            open_timeout: config.open_timeout,
            probe_after: config.probe_after,
            captured: None,
        }
    }

    pub(super) fn set_heartbeat(&mut self, heartbeat: Duration) {
        self.heartbeat = heartbeat;
    }

    /// A client has got ACCEPT, and waits for the next packet.
    pub(super) fn accepted(&mut self, now: Instant) {
        self.asks = true;
        self.pinged(now);
    }

    /// The first packet on the way of the session: before it, nothing tells a service that ACCEPT
    /// arrived, nor a client that more than one answer does.
    pub(super) fn confirmed(&mut self) {
        self.is_confirmed = true;
    }

    pub(super) fn is_confirmed(&self) -> bool {
        self.is_confirmed
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.last_heard = self.last_heard.max(now);
        self.vanished = None;
    }

    /// Whether nothing was heard for a while, if nothing was to be heard either.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        now >= self.last_heard + QUIET
    }

    pub(super) fn pinged(&mut self, now: Instant) {
        self.last_ping = now;
    }

    pub(super) fn captured(&mut self, what: String) {
        self.captured.get_or_insert(what);
    }

    pub(super) fn vanished(&mut self, now: Instant) {
        self.vanished.get_or_insert(now);
    }

    pub(super) fn vanished_since(&self) -> Option<Instant> {
        self.vanished
    }

    /// Whether it is time for a PING, which is then taken for sent.
    pub(super) fn is_ping_due(&mut self, now: Instant) -> bool {
        let is_due = (self.is_confirmed || self.asks) && now >= self.ping_at();
        if is_due {
            self.last_ping = now;
        }
        is_due
    }

    fn ping_at(&self) -> Instant {
        // A peer that seems to be gone is asked more often, to see it come back in time.
        let is_doubted = self.vanished.is_some() || !self.is_confirmed;
        let interval = if is_doubted {
            self.probe_after
        } else {
            self.heartbeat
        };
        self.last_heard.max(self.last_ping) + interval
    }

    /// Why the peer is taken for dead, if it is.
    pub(super) fn death(&self, now: Instant) -> Option<Status> {
        if now < self.dead_at() {
            return None;
        }
        Some(match &self.captured {
            _ if self.is_confirmed => Status::unavailable("the peer of the session is gone"),
            None => Status::unavailable("the session was not opened in time").not_started(),
            Some(captured) => {
                let text = format!("the session was not opened in time: {captured}");
                Status::unavailable(text).not_started()
            }
        })
    }

    fn dead_at(&self) -> Instant {
        if !self.is_confirmed {
            return self.opened + self.open_timeout;
        }
        let silent = self.last_heard + self.dead_after;
        self.vanished
            .map_or(silent, |at| silent.min(at + self.vanished_after))
    }

    /// When [`Self::death`] or [`Self::is_ping_due`] may have something to say.
    pub(super) fn timeout(&self) -> Instant {
        if self.is_confirmed || self.asks {
            self.ping_at().min(self.dead_at())
        } else {
            self.dead_at()
        }
    }
}
