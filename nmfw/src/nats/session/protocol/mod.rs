//! Sessions: an ordered, reliable, flow-controlled, multiplexed link between a client and one
//! instance of a service, without I/O. Packets and the current time go in, packets and events come
//! out; what goes over the wire is specified in `PROTOCOL.md`.
//!
//! A driver owns a [`Session`] and the way to the peer. After whatever it tells the session, it
//! takes what there is of [`Session::poll_transmit`] and [`Session::poll_event`], and sees to
//! [`Session::handle_timeout`] at [`Session::poll_timeout`].
//!
//! Memory is bounded, whatever the peer sends, by [`Config::memory`], 64 MiB, and one message more, or, for
//! a peer that takes its answers, three: see [`budget`] for how it is shared out. It takes a driver that empties the events after each packet, and
//! says what the application has taken. What the peer has this side do is bounded too: packets that are
//! sent again by what it acknowledges (see [`link`]), and work that is of no use by [`strain`].

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
use smol_str::SmolStr;

#[cfg(any(test, fuzzing))]
pub(crate) use self::tests::fuzz;
use self::{
    assembly::{Assembly, Turns},
    budget::Budget,
    config::Agreed,
    handshake::Hello,
    life::Life,
    link::{Inbound, Outbound},
    proof::Keys,
    strain::Strain,
    stream::Stream,
};
pub(crate) use self::{
    body::{CallHead, MethodEntry, Methods},
    config::{Config, STREAM_WINDOW},
    event::{Event, Opened, SendError, StreamId, Transmit},
    forgotten::{answer_of_client, answer_of_service},
    life::{Doubt, PeerGone},
    proof::{Secret, Secrets},
    site::Site,
    stream_map::StreamMap,
};
use crate::{Metadata, Status};
use nmfw_core::observe::metrics::Counts;

/// One side of a session.
#[derive(Debug)]
pub(crate) struct Session {
    config: Config,
    /// What this side offers; of a service with instance and methods.
    hello: Hello,
    /// Of a service, what it serves; sessions that serve the same share it.
    methods: Arc<Methods>,
    is_server: bool,
    state: State,
    /// `None` of a service until OPEN has come.
    keys: Option<Keys>,
    agreed: Agreed,

    streams: StreamMap<u64, Stream>,
    /// How many of `streams` are wide, and how many may be.
    wide: usize,
    wide_limit: usize,
    /// The highest stream that was opened so far.
    highest: u64,
    /// Streams with something to send, in the order of their turns. Each is there at most once
    /// (`Stream::queued`).
    ready: VecDeque<u64>,
    /// Streams that had nothing to send and found no room for it. Each is there at most once
    /// (`Stream::is_starved`).
    starved: VecDeque<u64>,
    /// How many of `ready` are not in `streams` any more. They are looked for when they are more
    /// than the others: to do so each time that a stream ends would be much work, for which peers
    /// could ask with few bytes.
    stale: usize,
    /// Bytes that the peer may still send on streams that are gone here.
    late_credit: u64,
    /// Who may assemble a large message.
    turns: Turns,
    /// Of a client, the streams that have a single answer, for which a caller waits.
    waiting: usize,
    /// What is kept for the peer.
    budget: Budget,
    /// What the peer has this side do for nothing.
    strain: Strain,

    outbound: Outbound,
    inbound: Inbound,
    /// Packets that this side takes; it has no more of its own either, as it must keep them.
    own_window: u64,
    peer_window: u64,
    life: Life,
    due: Due,
    /// The last stream that is served, once the service has said so.
    going_away: Option<u64>,
    /// The version that the last call came from.
    last_version: Option<SmolStr>,
    is_drained: bool,
    counts: Counts,
    events: VecDeque<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Until OPEN or ACCEPT has come.
    Opening,
    Open,
    Closed,
}

/// What this side has to send that is not of a stream.
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
    /// The calling side. Its OPEN, with the secret, is there to transmit at once.
    pub(crate) fn client(config: Config, secret: Secret, now: Instant) -> Self {
        let hello = Hello {
            secret: Some(secret),
            ..config.hello()
        };
        let mut session = Self::new(config, hello, false, now);
        session.due.hello = true;
        session
    }

    /// The serving side, which waits for the packet with OPEN. It serves `methods` and no others:
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
            state: State::Opening,
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
            last_version: None,
            is_drained: false,
            counts: Counts::default(),
            events: VecDeque::new(),
        }
    }

    /// The next thing that happened.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        if self.events.is_empty() && self.has_drained() {
            self.is_drained = true;
            return Some(Event::Drained);
        }
        self.events.pop_front()
    }

    /// When to call [`Self::handle_timeout`], unless something else happens before. Valid until
    /// the session is told something or transmits something.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Opening => Some(self.life.timeout(false)),
            State::Open => [self.outbound.timeout(), self.inbound.timeout()]
                .into_iter()
                .flatten()
                .chain([self.life.timeout(self.waiting > 0)])
                .chain(self.budget.timeout())
                .min(),
        }
    }

    /// Tells what time it is. Harmless at any time.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.state == State::Closed {
            return;
        }
        if let Some(status) = self.life.death(now) {
            return self.fail(status);
        }
        if let Some(status) = self.budget.handle_timeout(now) {
            return self.fail(status);
        }
        if self.state == State::Open {
            // Both are to be asked, as each sets its next time.
            let silent = self.life.is_ping_due(now, self.waiting > 0);
            self.due.ping |= self.outbound.is_probe_due(now) || silent;
            self.inbound.handle_timeout(now);
        }
    }

    /// The connection to NATS was lost and is back: packets of both sides may be missing. The peer
    /// is asked at once. A client without ACCEPT ends: OPEN or ACCEPT may be lost, and neither is sent
    /// again.
    pub(crate) fn handle_reconnect(&mut self, now: Instant) {
        match self.state {
            State::Open => {
                self.due.ping = true;
                self.life.reconnected(now);
            }
            State::Opening if !self.is_server => {
                let text = "the connection to NATS was lost while the session was being opened";
                self.fail(Status::unavailable(text).not_started());
            }
            State::Opening | State::Closed => {}
        }
    }

    /// Whether nothing was heard of the peer since this side's connection was lost and came back.
    pub(crate) fn is_unheard(&self) -> bool {
        self.life.is_unheard()
    }

    /// This side is connected to this NATS server now.
    pub(crate) fn set_site(&mut self, site: Site) {
        if site.cluster != self.config.site.cluster {
            self.life.set_near(false);
        }
        self.config.site = site;
    }

    /// A packet with a reply was answered with "no responders": nobody subscribes to the subject.
    /// If that stays so for a peer, it is dead. If it was OPEN, there is no peer.
    pub(crate) fn handle_no_responders(&mut self, now: Instant) {
        match self.state {
            State::Opening => {
                self.fail(Status::unavailable("no responders").not_started());
            }
            State::Open => self.life.vanished(now),
            State::Closed => {}
        }
    }

    /// Something else has answered in place of the peer, which may answer besides.
    pub(crate) fn handle_capture(&mut self, what: String) {
        self.life.captured(what);
    }

    /// Since when nobody has subscribed to the peer's subject, as far as is known. It is asked again
    /// all the time whether that is still so: it may be the broker that has restarted, and the peer
    /// on its way back.
    pub(crate) fn vanished_since(&self) -> Option<Instant> {
        self.life.vanished_since()
    }

    /// How likely it is that the peer is not there.
    pub(crate) fn doubt(&self, now: Instant) -> Doubt {
        match self.state {
            State::Open => self.life.doubt(now),
            State::Opening | State::Closed => Doubt::No,
        }
    }

    /// A call has passed its deadline without an answer. That is suspicious if nothing else was heard
    /// meanwhile, not even an acknowledgement: then the peer is asked.
    pub(crate) fn suspect(&mut self, now: Instant) {
        let overdue = self.life.overdue(self.config.ack_delay);
        let silent = match self.outbound.unacked_for(now) {
            Some(unacked) => unacked,
            None => self.life.silent_for(now),
        };
        if self.state == State::Open && silent >= overdue {
            self.life.suspect();
            self.due.ping = true;
        }
    }

    pub(crate) fn is_server(&self) -> bool {
        self.is_server
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether a packet has come after the handshake. A client that opens streams before does not
    /// know that it will hear of them.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.life.is_confirmed()
    }

    /// Streams that are not over, those that only wait to tell the peer so included.
    pub(crate) fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// So many packets were dropped before they came here, as too many waited. Those with a number will be
    /// asked for.
    pub(crate) fn count_dropped(&mut self, packets: u64) {
        self.counts.dropped += packets;
    }

    /// What the messages have cost that were sent on a stream: it grows as the peer takes them.
    pub(crate) fn sent(&self, stream: StreamId) -> u64 {
        let stream = self.streams.get(&stream.0);
        stream.map_or(0, |stream| stream.sending.spent())
    }

    /// What has happened since the last time.
    pub(crate) fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    fn has_drained(&self) -> bool {
        self.is_server
            && self.state == State::Open
            && self.going_away.is_some()
            && !self.is_drained
            && !self.due.go_away
            && self.streams.is_empty()
            && self.outbound.is_all_acked()
    }

    /// Both sides have no more packets on their way than either takes.
    fn fit_windows(&mut self) {
        let packets = self.own_window.min(self.peer_window);
        self.outbound.set_window(packets);
        self.inbound.set_pace(packets);
    }

    /// Puts a stream into the row if it has something to send.
    fn wake(&mut self, id: u64) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.queue(id, &mut self.ready);
        }
    }

    /// Forgets a stream, unless it is gone, and says whether this side has ended it. Everything that
    /// holds its id is cleared here.
    fn remove(&mut self, id: u64) -> Option<bool> {
        let stream = self.streams.get(&id)?;
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
        self.streams.forget(&id);
        if was_queued {
            self.stale += 1;
            if self.stale > self.ready.len() / 2 {
                self.ready
                    .retain(|queued| self.streams.contains_key(queued));
                self.stale = 0;
            }
        }
        if assembly != Assembly::No {
            self.forget_turn(id, (assembly, debt), is_single);
        }
        Some(was_ended_here)
    }

    /// Forgets a stream and tells the application, unless it ended the stream itself.
    fn finish_stream(&mut self, id: u64, outcome: Result<Metadata, Status>) {
        if self.remove(id) == Some(false) {
            let stream = StreamId(id);
            self.events.push_back(Event::Finished { stream, outcome });
        }
    }

    /// Ends the session for a reason, which the peer is told.
    fn fail(&mut self, status: Status) {
        let farewell = self.farewell(Some(&status));
        self.over(Some(status));
        self.due.close = farewell;
    }

    /// What tells the peer of the end. A client that has not heard from its service does not know
    /// whom to tell.
    fn farewell(&self, status: Option<&Status>) -> Option<Bytes> {
        (self.is_server || self.state == State::Open).then(|| self.close_packet(status))
    }

    /// Ends everything; each stream exactly once.
    fn over(&mut self, status: Option<Status>) {
        self.state = State::Closed;
        self.due = Due::default();
        let each = status
            .clone()
            .unwrap_or_else(|| Status::unavailable("the session was closed"));
        let mut streams: Vec<_> = self.streams.drain().collect();
        streams.sort_unstable_by_key(|(id, _)| *id);
        for (id, stream) in streams {
            if !stream.ended_here {
                // What the peer never heard of it cannot have started.
                let status = if stream.sending.is_known() {
                    each.clone()
                } else {
                    each.clone().not_started()
                };
                self.events.push_back(Event::Finished {
                    stream: StreamId(id),
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
