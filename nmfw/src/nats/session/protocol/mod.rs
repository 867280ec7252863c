//! Sessions: an ordered, reliable, flow-controlled, multiplexed link between a client and one
//! instance of a service, without I/O. The inputs are packets and the current time, and the outputs
//! are packets and events. `PROTOCOL.md` specifies the wire format.
//!
//! A driver owns a [`Session`] and a path to the peer. After every call, it drains
//! [`Session::poll_transmit`] and [`Session::poll_event`], and calls [`Session::handle_timeout`] at
//! [`Session::poll_timeout`].
//!
//! Memory is bounded, whatever the peer sends, by [`Config::memory`], 64 MiB, plus one message, or
//! three for a peer that accepts its answers: see [`budget`] for the partition. This requires a
//! driver that drains the events after each packet, and reports the messages that the application
//! has taken. Work for the peer is bounded as well: resent packets by its acknowledgements (see
//! [`link`]), and useless work by [`strain`].

mod assembly;
mod body;
mod bucket;
mod budget;
mod buffers;
mod config;
mod event;
mod forgotten;
mod frame;
mod handshake;
mod heads;
mod life;
mod link;
mod operations;
mod packet;
mod proof;
mod receive;
mod receiving;
mod sending;
mod site;
mod strain;
mod stream;
mod stream_map;
#[cfg(any(test, fuzzing))]
mod tests;
mod transmit;

use std::{collections::VecDeque, sync::Arc, time::Instant};

use bytes::Bytes;

#[cfg(any(test, fuzzing))]
pub(crate) use self::tests::fuzz;
use self::{
    assembly::{Assembly, Turns},
    budget::Budget,
    config::Agreed,
    handshake::Hello,
    heads::{ReceivedHeads, SentHeads},
    life::Life,
    link::{Inbound, Outbound},
    proof::Keys,
    strain::Strain,
    stream::Stream,
    stream_map::StreamMap,
};
pub(crate) use self::{
    body::{CallHead, MethodEntry, Methods},
    config::{Config, STREAM_WINDOW},
    event::{Event, Opened, SendError, StreamId, Transmit},
    forgotten::{answer_of_client, answer_of_service},
    life::{Liveness, PeerGone},
    proof::{Secrets, SessionSecret},
    site::Site,
    stream_map::StreamTable,
};
use crate::{Metadata, Status};
use nmfw_core::observe::metrics::Counts;

/// One side of a session.
#[derive(Debug)]
pub(crate) struct Session {
    config: Config,
    /// The parameters of this side; for a service, with instance and methods.
    hello: Hello,
    /// For a service, the served methods, shared by sessions with the same ones.
    methods: Arc<Methods>,
    is_server: bool,
    state: SessionState,
    /// `None` for a service before OPEN.
    keys: Option<Keys>,
    agreed: Agreed,

    streams: StreamMap<Stream>,
    /// Number of wide streams, and its maximum.
    wide: usize,
    wide_limit: usize,
    /// The highest stream opened so far.
    highest: u64,
    /// Streams with data to send, in round-robin order. Each occurs at most once
    /// (`Stream::queued`).
    ready: VecDeque<StreamId>,
    /// Streams without data that found no room to add some. Each occurs at most once
    /// (`Stream::is_starved`).
    starved: VecDeque<StreamId>,
    /// Number of entries of `ready` that are no longer in `streams`. They are purged when they
    /// outnumber the others: purging at every end of a stream would let a hostile peer cause much
    /// work at little cost.
    stale: usize,
    /// Bytes that the peer may still send on streams that have ended here.
    late_credit: u64,
    /// The turns for assembling large messages.
    turns: Turns,
    /// For a client, the number of streams with a single answer.
    waiting: usize,
    /// The memory held for the peer.
    budget: Budget,
    /// The useless work caused by the peer.
    strain: Strain,

    outbound: Outbound,
    inbound: Inbound,
    /// Number of packets that this side accepts; it also sends no more, because it has to keep
    /// them.
    own_window: u64,
    peer_window: u64,
    life: Life,
    due: Due,
    /// The last served stream, after GOAWAY.
    going_away: Option<u64>,
    sent_heads: SentHeads,
    received_heads: ReceivedHeads,
    is_drained: bool,
    counts: Counts,
    events: VecDeque<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionState {
    /// Before OPEN or ACCEPT.
    Opening,
    Open,
    Closed,
}

/// Pending frames that do not belong to a stream.
#[derive(Debug, Default)]
struct Due {
    hello: bool,
    ping: bool,
    pong: bool,
    go_away: bool,
    packet_window: Option<u64>,
    close: Option<Bytes>,
}

impl Session {
    /// Creates the calling side. Its OPEN, with the secret, can be transmitted at once.
    pub(crate) fn client(config: Config, secret: SessionSecret, now: Instant) -> Self {
        let hello = Hello {
            secret: Some(secret),
            ..config.hello()
        };
        let mut session = Self::new(config, hello, false, now);
        session.due.hello = true;
        session
    }

    /// Creates the serving side, which waits for the packet with OPEN. It serves only `methods`:
    /// all, or the one on whose subject OPEN arrived.
    pub(crate) fn server(
        config: Config,
        instance: String,
        methods: &Arc<Methods>,
        now: Instant,
    ) -> Self {
        let mut names: Vec<_> = methods.iter().collect();
        names.sort_unstable_by_key(|(_, method)| method.index);
        let hello = Hello {
            max_streams: u64::from(config.max_streams).max(1),
            wide_streams: config.wide_streams().into(),
            instance,
            methods: names.into_iter().map(|(name, _)| name.clone()).collect(),
            site: config.site.clone(),
            ..config.hello()
        };
        Self {
            methods: Arc::clone(methods),
            ..Self::new(config, hello, true, now)
        }
    }

    fn new(config: Config, hello: Hello, is_server: bool, now: Instant) -> Self {
        let (first, max) = (config.probe_after, config.heartbeat);
        Self {
            agreed: Agreed::new(&hello, &hello, hello.max_streams),
            outbound: Outbound::new(0, first, max),
            inbound: Inbound::new(hello.packet_window, config.ack_delay, first, max),
            own_window: hello.packet_window,
            peer_window: 0,
            life: Life::new(&config, now),
            budget: Budget::new(&config, is_server, now),
            wide_limit: config.wide_streams() as usize,
            config,
            methods: Arc::default(),
            keys: hello.secret.map(|secret| Keys::new(secret, is_server)),
            hello,
            is_server,
            state: SessionState::Opening,
            streams: StreamMap::default(),
            wide: 0,
            highest: 0,
            ready: VecDeque::new(),
            starved: VecDeque::new(),
            stale: 0,
            late_credit: 0,
            turns: Turns::default(),
            waiting: 0,
            strain: Strain::default(),
            due: Due::default(),
            going_away: None,
            sent_heads: SentHeads::default(),
            received_heads: ReceivedHeads::default(),
            is_drained: false,
            counts: Counts::default(),
            events: VecDeque::new(),
        }
    }

    /// Returns the next event.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        if self.events.is_empty() && self.has_drained() {
            self.is_drained = true;
            return Some(Event::Drained);
        }
        self.events.pop_front()
    }

    /// Returns when to call [`Self::handle_timeout`], unless something happens earlier. Valid until
    /// the next call that changes or transmits something.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            SessionState::Closed => None,
            SessionState::Opening => Some(self.life.timeout(false)),
            SessionState::Open => [self.outbound.timeout(), self.inbound.timeout()]
                .into_iter()
                .flatten()
                .chain([self.life.timeout(self.waiting > 0)])
                .chain(self.budget.timeout())
                .min(),
        }
    }

    /// Updates the time. May be called at any time.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.state == SessionState::Closed {
            return;
        }
        if let Some(status) = self.life.death(now) {
            return self.fail(status);
        }
        if let Some(status) = self.budget.handle_timeout(now) {
            return self.fail(status);
        }
        if self.state == SessionState::Open {
            // Both functions are called in any case, because each schedules its next time.
            let silent = self.life.is_ping_due(now, self.waiting > 0);
            self.due.ping |= self.outbound.is_probe_due(now) || silent;
            self.inbound.handle_timeout(now);
        }
    }

    /// Handles a reconnect to NATS: packets of both sides may be missing, so the peer is pinged at
    /// once. A client without ACCEPT ends, because OPEN or ACCEPT may be lost, and neither is
    /// resent.
    pub(crate) fn handle_reconnect(&mut self, now: Instant) {
        match self.state {
            SessionState::Open => {
                self.due.ping = true;
                self.life.reconnected(now);
            }
            SessionState::Opening if !self.is_server => {
                let text = "the connection to NATS was lost while the session was being opened";
                // Not started: streams begin once the session is open.
                self.fail(Status::unavailable(text).not_started());
            }
            SessionState::Opening | SessionState::Closed => {}
        }
    }

    /// Returns whether no packet of the peer has arrived since this side's reconnect.
    pub(crate) fn is_unheard(&self) -> bool {
        self.life.is_unheard()
    }

    /// Sets the NATS server that this side is connected to.
    pub(crate) fn set_site(&mut self, site: Site) {
        if site.cluster != self.config.site.cluster {
            self.life.set_near(false);
        }
        self.config.site = site;
    }

    /// Handles "no responders" for a packet with a reply. If a peer has no subscriber for long, it
    /// is considered dead. If the packet was OPEN, there is no peer.
    pub(crate) fn handle_no_responders(&mut self, now: Instant) {
        match self.state {
            SessionState::Opening => {
                // Not started: streams begin once the session is open.
                self.fail(Status::unavailable("no responders").not_started());
            }
            SessionState::Open => self.life.vanished(now),
            SessionState::Closed => {}
        }
    }

    /// Records that a stream has answered in place of the peer, which may still answer.
    pub(crate) fn handle_capture(&mut self, what: String) {
        self.life.captured(what);
    }

    /// Returns since when the peer's subject has had no subscriber, as far as is known. This is
    /// checked continually, because the broker may have restarted, and the peer may be
    /// reconnecting.
    pub(crate) fn vanished_since(&self) -> Option<Instant> {
        self.life.vanished_since()
    }

    /// Returns the likelihood that the peer is dead.
    pub(crate) fn liveness(&self, now: Instant) -> Liveness {
        match self.state {
            SessionState::Open => self.life.liveness(now),
            SessionState::Opening | SessionState::Closed => Liveness::Alive,
        }
    }

    /// Records a call that has passed its deadline without an answer. If no other packet arrived
    /// either, not even an acknowledgement, the peer is pinged.
    pub(crate) fn suspect(&mut self, now: Instant) {
        let overdue = self.life.overdue(self.config.ack_delay);
        let silent = match self.outbound.unacked_for(now) {
            Some(unacked) => unacked,
            None => self.life.silent_for(now),
        };
        if self.state == SessionState::Open && silent >= overdue {
            self.life.suspect();
            self.due.ping = true;
        }
    }

    pub(crate) fn is_server(&self) -> bool {
        self.is_server
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state == SessionState::Closed
    }

    /// Returns whether a packet arrived after the handshake. Before that, a client does not know
    /// whether answers will reach it.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.life.is_confirmed()
    }

    /// Returns the number of streams that have not ended, including those that only wait to notify
    /// the peer.
    pub(crate) fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Records packets that were dropped before they reached the session, because too many were
    /// queued. Numbered ones will be requested again.
    pub(crate) fn count_dropped(&mut self, packets: u64) {
        self.counts.dropped += packets;
    }

    /// Returns the cost of the messages sent on a stream, which increases as the peer accepts them.
    pub(crate) fn sent(&self, stream: StreamId) -> u64 {
        let stream = self.streams.get(stream);
        stream.map_or(0, |stream| stream.sending.spent())
    }

    /// Returns the counters since the last call.
    pub(crate) fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    fn has_drained(&self) -> bool {
        self.is_server
            && self.state == SessionState::Open
            && self.going_away.is_some()
            && !self.is_drained
            && !self.due.go_away
            && self.streams.is_empty()
            && self.outbound.is_all_acked()
    }

    /// Limits the windows to the minimum of both sides.
    fn fit_windows(&mut self) {
        let packets = self.own_window.min(self.peer_window);
        self.outbound.set_window(packets);
        self.inbound.set_pace(packets);
    }

    /// Queues a stream if it has data to send.
    fn wake(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.queue(id, &mut self.ready);
        }
    }

    /// Removes a stream, if it exists, and returns whether this side has ended it. All references
    /// to its id are cleared here.
    fn remove(&mut self, id: StreamId) -> Option<bool> {
        let stream = self.streams.get(id)?;
        let (was_queued, was_ended_here) = (stream.queued, stream.ended_here);
        let receiving = &stream.receiving;
        let (assembly, is_single) = (receiving.assembly, receiving.is_single);
        let debt = receiving.debt();
        self.late_credit += stream.late_credit();
        self.budget.forget(stream);
        if stream.is_starved {
            self.starved.retain(|other| *other != id);
        }
        self.waiting -= usize::from(is_single && !self.is_server);
        self.wide -= usize::from(!stream.is_narrow);
        self.streams.forget(id);
        if was_queued {
            self.stale += 1;
            if self.stale > self.ready.len() / 2 {
                self.ready.retain(|queued| self.streams.contains(*queued));
                self.stale = 0;
            }
        }
        if assembly != Assembly::No {
            self.forget_turn(id, (assembly, debt), is_single);
        }
        Some(was_ended_here)
    }

    /// Removes a stream and notifies the application, unless that ended the stream itself.
    fn finish_stream(&mut self, stream: StreamId, outcome: Result<Metadata, Status>) {
        if self.remove(stream) == Some(false) {
            self.events.push_back(Event::Finished { stream, outcome });
        }
    }

    /// Ends the session with an error, and notifies the peer.
    fn fail(&mut self, status: Status) {
        let close = self.last_packet(Some(&status));
        self.over(Some(status));
        self.due.close = close;
    }

    /// Returns the packet that notifies the peer of the end. A client that has received no packet
    /// does not know the peer's subject.
    fn last_packet(&self, status: Option<&Status>) -> Option<Bytes> {
        (self.is_server || self.state == SessionState::Open).then(|| self.close_packet(status))
    }

    /// Ends all streams, each exactly once.
    fn over(&mut self, status: Option<Status>) {
        self.state = SessionState::Closed;
        self.due = Due::default();
        let each = status
            .clone()
            .unwrap_or_else(|| Status::unavailable("the session was closed"));
        let mut streams: Vec<_> = self.streams.drain().collect();
        streams.sort_unstable_by_key(|(id, _)| *id);
        for (id, stream) in streams {
            if !stream.ended_here {
                // A call that the peer never received cannot have started.
                let status = if stream.sending.is_known() {
                    each.clone()
                } else {
                    // Not started: the CALL was never written to a packet.
                    each.clone().not_started()
                };
                self.events.push_back(Event::Finished {
                    stream: id,
                    outcome: Err(status),
                });
            }
        }
        self.ready = VecDeque::new();
        self.stale = 0;
        self.turns = Turns::default();
        self.waiting = 0;
        self.wide = 0;
        self.budget.clear();
        self.starved = VecDeque::new();
        self.outbound = Outbound::new(0, self.config.probe_after, self.config.heartbeat);
        self.events.push_back(Event::Closed(status));
    }
}
