//! Whether the peer is there.
//!
//! A client with calls under way asks early when it hears nothing. What it may conclude from the
//! answer depends on who gives it:
//!
//! - the peer: all is well, however long its handlers take;
//! - nobody: the peer is in [doubt](Doubt::Silent). Everything on the way may be the cause, such as a
//!   NATS server that is frozen, or a machine that is overloaded. So no call ends because of that;
//! - the NATS server, with "no responders": the peer has lost its connection, as one that was killed
//!   does at once. If this stays so for [`Config::gone_after`] it is [gone](Doubt::Gone) for calls
//!   with a single answer. The session stays for [`Config::vanished_after`], as the peer may come
//!   back, and streams with it. Of a peer that is not [near](super::Site::is_near) it is not known
//!   whether it has lost its connection, or a link between NATS servers was cut that comes back.
//!
//! After a reconnect of this side the peer is asked at once, and again until it is heard: if this side was
//! away for long, the peer has given the session up, and answers with CLOSE. "no responders" says less
//! then: it is likely that the NATS server has restarted, and that the peer comes back a moment later.

use std::time::{Duration, Instant};

use super::Config;
use crate::Status;

/// See [`Life::is_quiet`]. A busy session hears acknowledgements all the time.
const QUIET: Duration = Duration::from_secs(1);

/// Round trips in which an answer comes, if one does.
const ROUND_TRIPS: u32 = 4;

/// A packet that is not acknowledged for this long, and a few round trips, makes a call that has
/// passed its deadline suspicious.
const MIN_OVERDUE: Duration = Duration::from_millis(30);

/// How likely it is that the peer is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Doubt {
    #[default]
    No,
    /// It does not answer.
    Silent,
    /// Nobody subscribes to its subject.
    Vanished,
    /// The same, for so long that calls with a single answer wait no longer.
    Gone,
}

#[derive(Debug)]
pub(super) struct Life {
    opened: Instant,
    /// Whether a packet came after the handshake, and whether this side asks for one.
    is_confirmed: bool,
    asks: bool,
    last_heard: Instant,
    last_ping: Instant,
    silence: Silence,
    /// A PING was sent since something was heard that is not an answer to one.
    has_asked: bool,
    /// When the PING was sent that the next PONG may answer.
    awaited: Option<Instant>,
    /// The time of a PING and its PONG, zero until it is known.
    round_trip: Duration,
    reconnected: Option<Instant>,
    /// Nothing was heard since.
    is_unheard: bool,
    is_near: bool,
    heartbeat: Duration,
    dead_after: Duration,
    vanished_after: Duration,
    ask_after: Duration,
    gone_after: Duration,
    open_timeout: Duration,
    probe_after: Duration,
    /// What has answered in place of the peer.
    captured: Option<String>,
}

/// What is known since the peer was heard.
#[derive(Debug, Default)]
struct Silence {
    /// When it was asked first.
    asked: Option<Instant>,
    /// A call has passed its deadline, and not even its packet was acknowledged.
    is_suspect: bool,
    /// Since when nobody subscribes to its subject.
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

    /// Whether "no responders" means that the peer has no connection to NATS.
    pub(super) fn set_near(&mut self, is_near: bool) {
        self.is_near = is_near;
    }

    /// A client has got ACCEPT, and waits for the next packet.
    pub(super) fn accepted(&mut self, now: Instant) {
        self.asks = true;
        self.last_ping = now;
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
        self.silence = Silence::default();
        self.is_unheard = false;
    }

    /// A numbered packet has come, which is not an answer to a PING.
    pub(super) fn heard_more(&mut self) {
        self.has_asked = false;
    }

    /// Whether nothing was heard for a while, if nothing was to be heard either.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        now >= self.last_heard + QUIET
    }

    /// A PING is sent.
    pub(super) fn asked(&mut self, now: Instant) {
        self.last_ping = now;
        self.has_asked = true;
        self.silence.asked.get_or_insert(now);
        self.awaited.get_or_insert(now);
    }

    /// A PONG has come. It may answer a later PING than the first that waits for one; then the round
    /// trip seems longer than it is, until the next.
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

    /// This side's connection to NATS was lost and is back.
    pub(super) fn reconnected(&mut self, now: Instant) {
        self.reconnected = Some(now);
        self.is_unheard = true;
        self.awaited = None;
        self.last_ping = now;
    }

    /// Whether nothing was heard since this side's connection to NATS was lost and came back. The peer may
    /// have given the session up meanwhile.
    pub(super) fn is_unheard(&self) -> bool {
        self.is_unheard
    }

    pub(super) fn captured(&mut self, what: String) {
        self.captured.get_or_insert(what);
    }

    /// Nobody subscribes to the peer's subject.
    pub(super) fn vanished(&mut self, now: Instant) {
        let since = *self.silence.vanished.get_or_insert(now);
        let is_long = now >= since + self.gone_after;
        self.silence.is_gone |= is_long && self.is_near && self.is_steady(now);
    }

    pub(super) fn vanished_since(&self) -> Option<Instant> {
        self.silence.vanished
    }

    /// Whether the connection of this side was not lost lately.
    fn is_steady(&self, now: Instant) -> bool {
        self.reconnected
            .is_none_or(|at| now >= at + self.vanished_after)
    }

    /// A call has passed its deadline, and its packet was not acknowledged in the
    /// [time](Self::overdue) in which peers do so.
    pub(super) fn suspect(&mut self) {
        self.silence.is_suspect = true;
    }

    pub(super) fn silent_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_heard)
    }

    /// How long a peer that is there may take to acknowledge a packet.
    pub(super) fn overdue(&self, ack_delay: Duration) -> Duration {
        MIN_OVERDUE + ack_delay + self.round_trip * ROUND_TRIPS
    }

    pub(super) fn doubt(&self, now: Instant) -> Doubt {
        let Silence {
            asked,
            is_suspect,
            vanished,
            is_gone,
        } = &self.silence;
        match (vanished, asked) {
            _ if *is_gone => Doubt::Gone,
            (Some(_), _) if self.is_steady(now) => Doubt::Vanished,
            (Some(_), _) => Doubt::Silent,
            _ if *is_suspect => Doubt::Silent,
            (None, Some(asked)) if now >= *asked + self.patience() => Doubt::Silent,
            (None, _) => Doubt::No,
        }
    }

    /// How long an answer may take.
    fn patience(&self) -> Duration {
        self.ask_after.max(self.round_trip * ROUND_TRIPS)
    }

    /// Whether it is time for a PING, which is then taken for sent. `is_waiting` if there are calls
    /// whose answers are waited for.
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

    /// Returns the time between two PINGs: shorter while the peer may be gone, to see it come back in
    /// time, and never longer with calls that wait than without. Otherwise the end of such a call would
    /// leave a PING that was due long ago.
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

    /// Why the peer is taken for dead, if it is.
    pub(super) fn death(&self, now: Instant) -> Option<Status> {
        if now < self.dead_at() {
            return None;
        }
        Some(match &self.captured {
            _ if self.is_confirmed => PeerGone::status("the peer of the session is gone"),
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

    /// When [`Self::death`] or [`Self::is_ping_due`] may have something to say.
    pub(super) fn timeout(&self, is_waiting: bool) -> Instant {
        if self.is_confirmed || self.asks {
            self.ping_at(is_waiting).min(self.dead_at())
        } else {
            self.dead_at()
        }
    }
}

/// The source of the status of calls that end because the peer of their session is gone. It may have
/// started them; those that may run twice are made again elsewhere.
#[derive(Debug)]
pub(crate) struct PeerGone;

impl PeerGone {
    pub(super) fn status(message: &'static str) -> Status {
        Status::unavailable(message).with_source(Self)
    }

    /// Whether a call has ended with it.
    pub(crate) fn is_cause_of(status: &Status) -> bool {
        std::error::Error::source(status).is_some_and(<dyn std::error::Error>::is::<Self>)
    }
}

impl std::fmt::Display for PeerGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nothing is heard from the instance any more")
    }
}

impl std::error::Error for PeerGone {}
