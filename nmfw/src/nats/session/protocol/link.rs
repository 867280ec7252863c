//! Reliability: numbered packets arrive exactly once and in order, or are requested again.
//!
//! The sender keeps every numbered packet until it is acknowledged, and has at most a window of
//! them in flight. The receiver accepts only the next one; after a gap, it drops packets and asks
//! the sender to go back. Neither side sorts or buffers packets, which suits NATS, where packets
//! are lost in sequences (a reconnect, a full subscription) rather than individually.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{bucket::Bucket, buffers::Buffers};

/// Interval at which requests to go back are honoured, because a request of a few bytes must not
/// trigger long sequences of packets. Within it, the same request is ignored, and a different one
/// waits. For each repetition of a request without an acknowledgement in between, the interval
/// doubles.
const GO_BACK_INTERVAL: Duration = Duration::from_millis(20);
const MAX_GO_BACK_INTERVAL: Duration = Duration::from_secs(1);

/// Budget of bytes that may be resent: a multiple of the acknowledged bytes; an initial amount,
/// which a receiver acknowledges at once, and later enough for all packets of the largest usual
/// window; and an amount per time, so that a session whose peer never received anything still makes
/// progress.
const RESENT_PER_ACKED: i64 = 2;
const FIRST_RESENT: i64 = 1024 * 1024;
const MOST_RESENT: i64 = 8 * 1024 * 1024;
const RESENT_PER_SECOND: i64 = 64 * 1024;

/// A delay that doubles after each unsuccessful attempt.
#[derive(Clone, Copy, Debug)]
struct Backoff {
    at: Instant,
    wait: Duration,
}

impl Backoff {
    fn new(now: Instant, wait: Duration) -> Self {
        Self {
            at: now + wait,
            wait,
        }
    }

    /// Returns the time since the first attempt.
    fn elapsed(&self, now: Instant) -> Duration {
        (now + self.wait).saturating_duration_since(self.at)
    }

    /// Returns whether the delay is over; if so, schedules the next one.
    fn is_due(&mut self, now: Instant, max: Duration) -> bool {
        if now < self.at {
            return false;
        }
        *self = Self::new(now, (self.wait * 2).min(max));
        true
    }
}

/// The packets of this side.
#[derive(Debug)]
pub(super) struct Outbound {
    /// The packets from `acked + 1`, as they were sent.
    kept: VecDeque<Bytes>,
    acked: u64,
    /// The next packet to send or resend, in `acked + 1 ..= acked + kept.len() + 1`.
    cursor: u64,
    window: u64,
    gone_back: Option<(u64, Instant)>,
    /// How long the same request to go back is ignored.
    go_back_wait: Duration,
    /// The budget of bytes that may be resent.
    resends: Bucket,
    /// When to honour the pending request. The peer drops everything that is sent before.
    go_back_at: Option<Instant>,
    /// Active while packets are unacknowledged: if the last of a sequence is lost, the receiver
    /// sees no gap.
    probe: Option<Backoff>,
    first_probe: Duration,
    max_probe: Duration,
    buffers: Buffers,
}

/// An error: the peer acknowledged a packet that was never sent.
#[derive(Debug)]
pub(super) struct NeverSent;

impl Outbound {
    pub(super) fn new(window: u64, first_probe: Duration, max_probe: Duration) -> Self {
        Self {
            kept: VecDeque::new(),
            acked: 0,
            cursor: 1,
            window,
            gone_back: None,
            go_back_wait: GO_BACK_INTERVAL,
            resends: Bucket::new(FIRST_RESENT, MOST_RESENT, RESENT_PER_SECOND),
            go_back_at: None,
            probe: None,
            first_probe,
            max_probe,
            buffers: Buffers::default(),
        }
    }

    /// Returns the buffers for new packets, from acknowledged ones.
    pub(super) fn buffers(&mut self) -> &mut Buffers {
        &mut self.buffers
    }

    pub(super) fn last_sent(&self) -> u64 {
        self.acked + self.kept.len() as u64
    }

    pub(super) fn is_all_acked(&self) -> bool {
        self.kept.is_empty()
    }

    pub(super) fn set_window(&mut self, window: u64) {
        self.window = window;
    }

    /// Returns the number of the next new packet, if the window has room for one.
    pub(super) fn next_seq(&self) -> Option<u64> {
        let has_room = (self.kept.len() as u64) < self.window;
        // New packets come after resent ones.
        let is_next = self.go_back_at.is_none() && !self.is_behind();
        (has_room && is_next).then(|| self.last_sent() + 1)
    }

    /// Returns whether packets have to be resent.
    fn is_behind(&self) -> bool {
        self.cursor <= self.last_sent()
    }

    /// Keeps a new packet that is sent now.
    pub(super) fn sent(&mut self, packet: Bytes, now: Instant) {
        self.kept.push_back(packet);
        self.cursor = self.last_sent() + 1;
        if self.probe.is_none() {
            self.probe = Some(Backoff::new(now, self.first_probe));
        }
    }

    /// Returns the next packet to resend.
    pub(super) fn resend(&mut self, now: Instant) -> Option<Bytes> {
        if self.go_back_at.is_some_and(|at| at <= now) {
            self.go_back(now);
        }
        let index = usize::try_from(self.cursor - self.acked - 1).ok()?;
        let packet = self.kept.get(index)?.clone();
        if !self.resends.has_any(now) {
            return None;
        }
        self.resends.take(packet.len() as i64, now);
        self.cursor += 1;
        Some(packet)
    }

    /// Handles a cumulative acknowledgement. Returns whether it acknowledges new packets.
    pub(super) fn on_ack(&mut self, ack: u64, now: Instant) -> Result<bool, NeverSent> {
        if ack > self.last_sent() {
            return Err(NeverSent);
        }
        if ack <= self.acked {
            return Ok(false);
        }
        // At most a window, including packets in flight.
        let most = usize::try_from(self.window).unwrap_or(usize::MAX);
        while self.acked < ack {
            if let Some(packet) = self.kept.pop_front() {
                self.resends.earn(packet.len() as i64 * RESENT_PER_ACKED);
                let most = most.saturating_sub(self.kept.len());
                self.buffers.give(packet, most);
            }
            self.acked += 1;
        }
        self.cursor = self.cursor.max(self.acked + 1);
        // The gap is closed.
        self.go_back_at = None;
        self.go_back_wait = GO_BACK_INTERVAL;
        self.probe = (!self.kept.is_empty()).then(|| Backoff::new(now, self.first_probe));
        Ok(true)
    }

    /// Handles a request of the peer, which has dropped everything after `ack`.
    pub(super) fn on_go_back(&mut self, ack: u64, now: Instant) {
        if ack != self.acked || self.kept.is_empty() {
            return; // An outdated request, whose packets have arrived since.
        }
        match self.gone_back {
            Some((to, at)) if to == ack => {
                if now >= at + self.go_back_wait {
                    self.go_back_wait = (self.go_back_wait * 2).min(MAX_GO_BACK_INTERVAL);
                    self.go_back(now);
                }
            }
            Some((_, at)) if now < at + GO_BACK_INTERVAL => {
                self.go_back_at = Some(at + GO_BACK_INTERVAL);
            }
            _ => self.go_back(now),
        }
    }

    fn go_back(&mut self, now: Instant) {
        self.gone_back = Some((self.acked, now));
        self.go_back_at = None;
        self.cursor = self.acked + 1;
    }

    /// Returns how long nothing was acknowledged although packets are pending; unlimited once the
    /// peer was probed.
    pub(super) fn unacked_for(&self, now: Instant) -> Option<Duration> {
        let probe = self.probe?;
        Some(if probe.wait > self.first_probe {
            Duration::MAX
        } else {
            probe.elapsed(now)
        })
    }

    /// Returns whether to request the number of the peer's last received packet.
    pub(super) fn is_probe_due(&mut self, now: Instant) -> bool {
        let max = self.max_probe;
        self.probe.as_mut().is_some_and(|p| p.is_due(now, max))
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        let resend_at = self.is_behind().then(|| self.resends.ready_at()).flatten();
        [self.probe.map(|probe| probe.at), self.go_back_at, resend_at]
            .into_iter()
            .flatten()
            .min()
    }
}

/// The packets of the peer.
#[derive(Debug)]
pub(super) struct Inbound {
    /// The last packet that arrived in order.
    received: u64,
    /// The largest window that was ever granted; the peer may not have received a smaller one yet.
    window: u64,
    /// How many packets the peer is likely to send before it waits.
    pace: u64,
    /// Number of packets since the last acknowledgement.
    unacked: u64,
    ack_at: Option<Instant>,
    ack_delay: Duration,
    /// Active while packets are missing.
    gap: Option<Backoff>,
    ask: bool,
    first_ask: Duration,
    max_ask: Duration,
}

/// The handling of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The next packet.
    Take,
    /// Already processed, or after a gap.
    Drop,
    /// Beyond the window.
    Violation,
}

impl Inbound {
    pub(super) fn new(
        window: u64,
        ack_delay: Duration,
        first_ask: Duration,
        max_ask: Duration,
    ) -> Self {
        Self {
            received: 0,
            window,
            pace: window,
            unacked: 0,
            ack_at: None,
            ack_delay,
            gap: None,
            ask: false,
            first_ask,
            max_ask,
        }
    }

    pub(super) fn widen(&mut self, window: u64) {
        self.window = self.window.max(window);
    }

    /// Sets the pace: a peer keeps as many packets as it accepts, up to the granted window.
    pub(super) fn set_pace(&mut self, packets: u64) {
        self.pace = packets;
    }

    pub(super) fn on_numbered(&mut self, seq: u64, now: Instant) -> Arrival {
        if seq <= self.received {
            // A resent packet: the sender may have missed the acknowledgement.
            self.ack_at = Some(now);
            return Arrival::Drop;
        }
        if seq > self.received + self.window {
            return Arrival::Violation;
        }
        if seq > self.received + 1 {
            self.missing(now);
            return Arrival::Drop;
        }
        self.received = seq;
        self.gap = None;
        self.ask = false;
        self.unacked += 1;
        // After a number of packets, so that the sender's window never runs empty, and otherwise
        // after a delay, in which an answer may carry the acknowledgement.
        if self.unacked >= (self.pace / 4).clamp(1, 16) {
            self.ack_at = Some(now);
        } else if self.ack_at.is_none() {
            self.ack_at = Some(now + self.ack_delay);
        }
        Arrival::Take
    }

    /// Handles the peer's statement of its last packet. The network may just have recovered:
    /// earlier requests were then lost, and the next one may be far away.
    pub(super) fn on_last_sent(&mut self, last_sent: u64, now: Instant) {
        if last_sent <= self.received {
            return;
        }
        if let Some(gap) = &mut self.gap {
            if gap.elapsed(now) >= self.first_ask {
                *gap = Backoff::new(now, gap.wait);
                self.ask = true;
            }
        } else {
            self.missing(now);
        }
    }

    /// Requests packets once per gap, and again if there is no response.
    fn missing(&mut self, now: Instant) {
        if self.gap.is_none() {
            self.gap = Some(Backoff::new(now, self.first_ask));
            self.ask = true;
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let max = self.max_ask;
        if self.gap.as_mut().is_some_and(|gap| gap.is_due(now, max)) {
            self.ask = true;
        }
    }

    /// Returns whether a request to go back has to be sent.
    pub(super) fn must_ask(&self) -> bool {
        self.ask
    }

    /// Returns whether an acknowledgement has to be sent in a packet of its own.
    pub(super) fn is_ack_due(&self, now: Instant) -> bool {
        self.ask || self.ack_at.is_some_and(|at| at <= now)
    }

    /// Returns the content of the next packet's header: the acknowledgement, and whether to go
    /// back.
    pub(super) fn take_ack(&mut self) -> (u64, bool) {
        self.unacked = 0;
        self.ack_at = None;
        (self.received, std::mem::take(&mut self.ask))
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        [self.ack_at, self.gap.map(|gap| gap.at)]
            .into_iter()
            .flatten()
            .min()
    }
}

#[cfg(any(test, fuzzing))]
impl Outbound {
    /// Returns the bytes of unacknowledged packets, and of spare buffers.
    pub(super) fn kept(&self) -> (u64, u64) {
        let kept = self.kept.iter().map(|packet| packet.len() as u64).sum();
        (kept, self.buffers.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    fn outbound(sent: u8, now: Instant) -> Outbound {
        let mut out = Outbound::new(4, TICK, TICK * 8);
        for i in 1..=sent {
            assert_eq!(out.next_seq(), Some(i.into()));
            out.sent(vec![i].into(), now);
        }
        out
    }

    fn resent(out: &mut Outbound, now: Instant) -> Vec<u8> {
        let packets = std::iter::from_fn(|| out.resend(now));
        packets.map(|packet| packet[0]).collect()
    }

    #[test]
    fn the_window_bounds_what_is_kept() {
        let now = Instant::now();
        let mut out = outbound(4, now);
        assert_eq!(out.next_seq(), None);
        out.on_ack(3, now).unwrap();
        assert_eq!(out.next_seq(), Some(5));
        assert!(out.on_ack(5, now).is_err());
        out.on_ack(4, now).unwrap();
        assert!(out.is_all_acked());
        assert_eq!(out.timeout(), None);
    }

    #[test]
    fn goes_back_once_per_request() {
        let now = Instant::now();
        let mut out = outbound(4, now);
        out.on_ack(1, now).unwrap();
        out.on_go_back(1, now);
        assert_eq!(resent(&mut out, now), [2, 3, 4]);
        out.on_go_back(1, now);
        assert_eq!(resent(&mut out, now), [0; 0]);
        let now = now + TICK;
        out.on_go_back(0, now);
        assert_eq!(resent(&mut out, now), [0; 0], "an old request was honoured");
        out.on_go_back(1, now);
        assert_eq!(out.resend(now).unwrap()[0], 2);
        out.on_ack(3, now).unwrap();
        assert_eq!(
            resent(&mut out, now),
            [4],
            "an acknowledged packet was resent"
        );
    }

    #[test]
    fn goes_back_for_the_same_request_less_and_less_often() {
        let mut now = Instant::now();
        let mut out = outbound(4, now);
        out.on_go_back(0, now);
        assert_eq!(resent(&mut out, now), [1, 2, 3, 4]);
        for ms in [20, 40, 80, 160, 320, 640, 1000, 1000] {
            now += Duration::from_millis(ms - 1);
            out.on_go_back(0, now);
            assert_eq!(resent(&mut out, now), [0; 0], "{ms}");
            now += Duration::from_millis(1);
            out.on_go_back(0, now);
            assert_eq!(resent(&mut out, now), [1, 2, 3, 4], "{ms}");
        }
        out.on_ack(1, now).unwrap();
        now += GO_BACK_INTERVAL;
        out.on_go_back(1, now);
        assert_eq!(
            resent(&mut out, now),
            [2, 3, 4],
            "a request was not honoured despite progress"
        );
    }

    #[test]
    fn what_is_sent_again_is_paid_with_what_arrived() {
        const LEN: usize = 64 * 1024;
        let mut now = Instant::now();
        let mut out = Outbound::new(64, TICK, TICK * 8);
        for _ in 0..64 {
            out.sent(vec![0; LEN].into(), now);
        }
        let resent = |out: &mut Outbound, now| std::iter::from_fn(|| out.resend(now)).count();
        out.on_go_back(0, now);
        let first = FIRST_RESENT as usize / LEN;
        assert_eq!(resent(&mut out, now), first);
        assert_eq!(
            out.next_seq(),
            None,
            "a new packet was sent before the resent ones"
        );
        // Each acknowledged packet permits resending two.
        out.on_ack(first as u64 / 2, now).unwrap();
        assert_eq!(resent(&mut out, now), first);
        // A silent peer occasionally gets a packet.
        for _ in 0..10 {
            let at = out.timeout().unwrap();
            assert!(at > now && at <= now + Duration::from_secs(1));
            while out.is_probe_due(at) {}
            now = at;
            assert!(resent(&mut out, now) <= 1);
        }
        // In the end, everything has arrived.
        for acked in 20..=64 {
            out.on_ack(acked, now).unwrap();
            resent(&mut out, now);
        }
        assert_eq!(out.next_seq(), Some(65));
    }

    #[test]
    fn goes_back_once_in_a_while() {
        let now = Instant::now();
        let mut out = outbound(4, now);
        out.on_go_back(0, now);
        assert_eq!(resent(&mut out, now), [1, 2, 3, 4]);
        out.on_ack(1, now).unwrap();
        out.on_go_back(1, now);
        assert_eq!(resent(&mut out, now), [0; 0]);
        assert_eq!(
            out.next_seq(),
            None,
            "a packet was sent that the peer would drop"
        );
        out.on_ack(2, now).unwrap();
        assert_eq!(
            out.next_seq(),
            Some(5),
            "a packet was requested although it has arrived"
        );
        out.on_go_back(2, now);
        let later = now + GO_BACK_INTERVAL;
        assert_eq!(out.timeout(), Some(later));
        assert_eq!(resent(&mut out, later), [3, 4]);
        assert_eq!(out.next_seq(), Some(5));
    }

    #[test]
    fn a_lost_tail_is_asked_for_less_and_less_often() {
        let mut now = Instant::now();
        let mut out = outbound(1, now);
        for factor in [1, 2, 4, 8, 8] {
            let at = out.timeout().unwrap();
            assert_eq!(at, now + TICK * factor);
            assert!(!out.is_probe_due(at - TICK / 2));
            assert!(out.is_probe_due(at));
            now = at;
        }
    }

    #[test]
    fn takes_only_the_next_packet_and_asks_once() {
        let now = Instant::now();
        let mut inbound = Inbound::new(16, TICK, TICK, TICK);
        assert_eq!(inbound.on_numbered(1, now), Arrival::Take);
        assert_eq!(inbound.on_numbered(3, now), Arrival::Drop);
        assert!(inbound.is_ack_due(now));
        assert_eq!(inbound.take_ack(), (1, true));
        assert_eq!(inbound.on_numbered(4, now), Arrival::Drop);
        assert!(
            !inbound.is_ack_due(now),
            "the missing packet was requested twice"
        );
        inbound.handle_timeout(now + TICK);
        assert_eq!(
            inbound.take_ack(),
            (1, true),
            "the missing packet was not requested again"
        );
        assert_eq!(inbound.on_numbered(2, now), Arrival::Take);
        assert_eq!(inbound.on_numbered(2, now), Arrival::Drop);
        assert!(
            inbound.is_ack_due(now),
            "a repeated packet was not acknowledged"
        );
        assert_eq!(inbound.take_ack(), (2, false));
        assert_eq!(inbound.on_numbered(19, now), Arrival::Violation);
        assert_eq!(inbound.timeout(), None);
    }

    #[test]
    fn acknowledges_every_few_packets_or_after_a_while() {
        let now = Instant::now();
        let mut inbound = Inbound::new(16, TICK, TICK, TICK);
        inbound.on_numbered(1, now);
        assert!(!inbound.is_ack_due(now));
        assert!(inbound.is_ack_due(now + TICK));
        for seq in 2..=4 {
            inbound.on_numbered(seq, now);
        }
        assert!(inbound.is_ack_due(now));
    }

    #[test]
    fn what_the_peer_sent_last_shows_a_lost_tail() {
        let now = Instant::now();
        let mut inbound = Inbound::new(16, TICK, TICK, TICK);
        inbound.on_last_sent(0, now);
        assert!(!inbound.is_ack_due(now));
        inbound.on_last_sent(2, now);
        assert_eq!(inbound.take_ack(), (0, true));
        inbound.on_last_sent(2, now + TICK / 2);
        assert!(
            !inbound.is_ack_due(now + TICK / 2),
            "the missing packet was requested twice"
        );
        inbound.on_last_sent(2, now + TICK);
        assert_eq!(
            inbound.take_ack(),
            (0, true),
            "the lost request was not repeated"
        );
    }
}
