//! Detection of dead peers.
//!
//! A client with calls in flight pings early when no packets arrive. The conclusion depends on the
//! source of the answer:
//!
//! - the peer: it is alive, however long its handlers take;
//! - none: the peer is [silent](Liveness::Silent). Any hop may be the cause, such as a frozen NATS
//!   server or an overloaded machine, so no call ends because of this;
//! - the NATS server, with "no responders": the peer has lost its connection, as a killed process
//!   does at once. After [`Config::gone_after`], it is [gone](Liveness::Gone) for calls with a single
//!   answer. The session and its streams stay for [`Config::vanished_after`], because the peer may
//!   come back. For a peer that is not [near](super::Site::is_near), the cause may also be a cut
//!   link between NATS servers that will be restored.
//!
//! After a reconnect of this side, it pings the peer at once, and repeatedly until a packet
//! arrives: if this side was disconnected for long, the peer has closed the session and answers
//! with CLOSE. "no responders" is less significant then, because the NATS server has probably
//! restarted, and the peer will reconnect shortly.

use std::time::{Duration, Instant};

use super::Config;
use crate::Status;

/// Silence after which a session is quiet: see [`Life::is_quiet`]. A busy session continually
/// receives acknowledgements.
const QUIET: Duration = Duration::from_secs(1);

/// Number of round trips within which an answer arrives, if there is one.
const ROUND_TRIPS: u32 = 4;

/// A packet that stays unacknowledged for this long plus a few round trips makes a call beyond its
/// deadline suspicious.
const MIN_OVERDUE: Duration = Duration::from_millis(30);

/// How alive the peer seems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Liveness {
    #[default]
    Alive,
    /// The peer does not answer.
    Silent,
    /// The subject of the peer has no subscriber.
    Vanished,
    /// The subject of the peer has had no subscriber for long enough to end calls with a single
    /// answer.
    Gone,
}

#[derive(Debug)]
pub(super) struct Life {
    opened: Instant,
    /// Whether a packet arrived after the handshake, and whether this side requests one.
    is_confirmed: bool,
    asks: bool,
    last_heard: Instant,
    last_ping: Instant,
    silence: Silence,
    /// Whether a PING was sent since the last packet that was not an answer to one.
    has_asked: bool,
    /// The time of the PING that the next PONG may answer.
    awaited: Option<Instant>,
    /// The time from a PING to its PONG; zero until it is known.
    round_trip: Duration,
    reconnected: Option<Instant>,
    /// Whether no packet has arrived since the last reconnect.
    is_unheard: bool,
    is_near: bool,
    heartbeat: Duration,
    dead_after: Duration,
    vanished_after: Duration,
    ask_after: Duration,
    gone_after: Duration,
    open_timeout: Duration,
    probe_after: Duration,
    /// The stream that has answered in place of the peer.
    captured: Option<String>,
}

/// The state since the last packet of the peer.
#[derive(Debug, Default)]
struct Silence {
    /// When it was first pinged.
    asked: Option<Instant>,
    /// Whether a call passed its deadline without even an acknowledgement of its packet.
    is_suspect: bool,
    /// Since when its subject has had no subscriber.
    vanished: Option<Instant>,
    is_gone: bool,
}

impl Life {
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        Self {
            opened: now,
            is_confirmed: false,
            asks: false,
            last_heard: now,
            last_ping: now,
            silence: Silence::default(),
            has_asked: false,
            awaited: None,
            round_trip: Duration::ZERO,
            reconnected: None,
            is_unheard: false,
            is_near: false,
            heartbeat: config.heartbeat,
            dead_after: config.dead_after,
            vanished_after: config.vanished_after,
            ask_after: config.ask_after,
            gone_after: config.gone_after,
            open_timeout: config.open_timeout,
            probe_after: config.probe_after,
            captured: None,
        }
    }

    pub(super) fn set_heartbeat(&mut self, heartbeat: Duration) {
        self.heartbeat = heartbeat;
    }

    /// Sets whether "no responders" means that the peer is disconnected from NATS.
    pub(super) fn set_near(&mut self, is_near: bool) {
        self.is_near = is_near;
    }

    /// Records that a client has received ACCEPT, and waits for the next packet.
    pub(super) fn accepted(&mut self, now: Instant) {
        self.asks = true;
        self.last_ping = now;
    }

    /// Records the first packet on the session's subjects. Before that, a service does not know
    /// that ACCEPT arrived, nor a client that further packets will.
    pub(super) fn confirmed(&mut self) {
        self.is_confirmed = true;
    }

    pub(super) fn is_confirmed(&self) -> bool {
        self.is_confirmed
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.last_heard = self.last_heard.max(now);
        self.silence = Silence::default();
        self.is_unheard = false;
    }

    /// Records a numbered packet, which is not an answer to a PING.
    pub(super) fn heard_more(&mut self) {
        self.has_asked = false;
    }

    /// Returns whether no packet has arrived for a while because none was expected.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        now >= self.last_heard + QUIET
    }

    /// Records a sent PING.
    pub(super) fn asked(&mut self, now: Instant) {
        self.last_ping = now;
        self.has_asked = true;
        self.silence.asked.get_or_insert(now);
        self.awaited.get_or_insert(now);
    }

    /// Records a PONG. It may answer a later PING than the first pending one; the round trip is
    /// then overestimated until the next.
    pub(super) fn on_pong(&mut self, now: Instant) {
        let Some(asked) = self.awaited.take() else {
            return;
        };
        let took = now.saturating_duration_since(asked);
        self.round_trip = if self.round_trip.is_zero() {
            took
        } else {
            took.min(self.round_trip + took / 8)
        };
    }

    /// Records a reconnect of this side to NATS.
    pub(super) fn reconnected(&mut self, now: Instant) {
        self.reconnected = Some(now);
        self.is_unheard = true;
        self.awaited = None;
        self.last_ping = now;
    }

    /// Returns whether no packet has arrived since this side's reconnect to NATS. The peer may have
    /// closed the session meanwhile.
    pub(super) fn is_unheard(&self) -> bool {
        self.is_unheard
    }

    pub(super) fn captured(&mut self, what: String) {
        self.captured.get_or_insert(what);
    }

    /// Records that the peer's subject has no subscriber.
    pub(super) fn vanished(&mut self, now: Instant) {
        let since = *self.silence.vanished.get_or_insert(now);
        let is_long = now >= since + self.gone_after;
        self.silence.is_gone |= is_long && self.is_near && self.is_steady(now);
    }

    pub(super) fn vanished_since(&self) -> Option<Instant> {
        self.silence.vanished
    }

    /// Returns whether this side's connection was stable recently.
    fn is_steady(&self, now: Instant) -> bool {
        self.reconnected
            .is_none_or(|at| now >= at + self.vanished_after)
    }

    /// Records that a call has passed its deadline without an acknowledgement of its packet within
    /// the [usual time](Self::overdue).
    pub(super) fn suspect(&mut self) {
        self.silence.is_suspect = true;
    }

    pub(super) fn silent_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_heard)
    }

    /// Returns how long a live peer may take to acknowledge a packet.
    pub(super) fn overdue(&self, ack_delay: Duration) -> Duration {
        MIN_OVERDUE + ack_delay + self.round_trip * ROUND_TRIPS
    }

    pub(super) fn liveness(&self, now: Instant) -> Liveness {
        let Silence {
            asked,
            is_suspect,
            vanished,
            is_gone,
        } = &self.silence;
        match (vanished, asked) {
            _ if *is_gone => Liveness::Gone,
            (Some(_), _) if self.is_steady(now) => Liveness::Vanished,
            (Some(_), _) => Liveness::Silent,
            _ if *is_suspect => Liveness::Silent,
            (None, Some(asked)) if now >= *asked + self.patience() => Liveness::Silent,
            (None, _) => Liveness::Alive,
        }
    }

    /// Returns how long an answer may take.
    fn patience(&self) -> Duration {
        self.ask_after.max(self.round_trip * ROUND_TRIPS)
    }

    /// Returns whether a PING is due, which then counts as sent. `is_waiting` means that there are
    /// calls that wait for answers.
    pub(super) fn is_ping_due(&mut self, now: Instant, is_waiting: bool) -> bool {
        let is_due = (self.is_confirmed || self.asks) && now >= self.ping_at(is_waiting);
        if is_due {
            self.last_ping = now;
        }
        is_due
    }

    fn ping_at(&self, is_waiting: bool) -> Instant {
        self.last_heard.max(self.last_ping) + self.interval(is_waiting)
    }

    /// Returns the interval between PINGs. It is shorter while the peer may be gone, to detect its
    /// return in time, and never longer with waiting calls than without: otherwise, a PING could be
    /// long overdue when such a call ends.
    fn interval(&self, is_waiting: bool) -> Duration {
        let is_vanished = self.silence.vanished.is_some();
        let longest = match !self.is_confirmed || is_vanished || self.is_unheard {
            true => self.probe_after.min(self.heartbeat),
            false => self.heartbeat,
        };
        if !self.is_confirmed || !is_waiting {
            return longest;
        }
        let interval = if is_vanished {
            self.gone_after / 2
        } else if self.has_asked {
            self.patience() * 2
        } else {
            self.patience()
        };
        interval.min(longest)
    }

    /// Returns the reason why the peer is considered dead, if it is.
    pub(super) fn death(&self, now: Instant) -> Option<Status> {
        if now < self.dead_at() {
            return None;
        }
        Some(match &self.captured {
            _ if self.is_confirmed => {
                PeerGone::status("the peer of the session does not respond any more")
            }
            // Not started: streams begin once the session is open.
            None => Status::unavailable("the session was not opened in time").not_started(),
            Some(captured) => {
                let text = format!("the session was not opened in time: {captured}");
                // Not started: streams begin once the session is open.
                Status::unavailable(text).not_started()
            }
        })
    }

    fn dead_at(&self) -> Instant {
        if !self.is_confirmed {
            return self.opened + self.open_timeout;
        }
        let silent = self.last_heard + self.dead_after;
        self.vanished_since()
            .map_or(silent, |at| silent.min(at + self.vanished_after))
    }

    /// Returns when [`Self::death`] or [`Self::is_ping_due`] have to be checked next.
    pub(super) fn timeout(&self, is_waiting: bool) -> Instant {
        if self.is_confirmed || self.asks {
            self.ping_at(is_waiting).min(self.dead_at())
        } else {
            self.dead_at()
        }
    }
}

/// The source of the status of calls whose session's peer is gone. It may have started them;
/// idempotent ones are retried on another instance.
#[derive(Debug)]
pub(crate) struct PeerGone;

impl PeerGone {
    pub(super) fn status(message: &'static str) -> Status {
        Status::unavailable(message).with_source(Self)
    }

    /// Returns whether a call ended for this reason.
    pub(crate) fn is_cause_of(status: &Status) -> bool {
        std::error::Error::source(status).is_some_and(<dyn std::error::Error>::is::<Self>)
    }
}

impl std::fmt::Display for PeerGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the instance does not respond any more")
    }
}

impl std::error::Error for PeerGone {}
