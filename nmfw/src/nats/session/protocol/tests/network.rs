//! Two sides and the simulated network between them.

use std::sync::Arc;
use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    Metadata, Status,
    nats::session::protocol::{
        CallHead, Config, Event, MethodEntry, Methods, Session, SessionSecret, SessionState,
        StreamId, Transmit, answer_of_client, answer_of_service,
    },
};
use nmfw_core::call::request::Encoding;

/// The sides, as indices.
pub(super) const CLIENT: usize = 0;
pub(super) const SERVER: usize = 1;

/// Maximum size of a row in these tests.
pub(super) const MAX_ROW: usize = 32_000;

/// The served methods: one with streams in both directions, one with a single message each.
pub(super) const METHOD: &str = "Echo";
pub(super) const UNARY: &str = "Ask";

/// The secret of sessions in these tests.
pub(super) const SECRET: SessionSecret = SessionSecret::new(*b"0123456789abcdef");

/// Returns the events of a call and its only message, or of an answer and the end, one by one.
pub(super) fn apart(event: Event) -> Vec<Event> {
    match event {
        Event::Call {
            stream,
            method,
            head,
            message: Some(message),
        } => vec![
            Event::Call {
                stream,
                method,
                head,
                message: None,
            },
            Event::Message { stream, message },
            Event::End { stream },
        ],
        Event::Answer { stream, message } => vec![
            Event::Message { stream, message },
            Event::Finished {
                stream,
                outcome: Ok(Metadata::new()),
            },
        ],
        event => vec![event],
    }
}

impl Session {
    /// Returns the id of a stream by its number, which may be that of none.
    pub(in super::super) fn id(&self, number: u64) -> StreamId {
        let slot = u32::MAX;
        self.streams
            .find(number)
            .unwrap_or(StreamId { number, slot })
    }
}

/// Creates a call without optional parts.
pub(in super::super) fn head(method: &str) -> CallHead {
    CallHead {
        method: method.into(),
        deadline: None,
        encoding: Encoding::Protobuf,
        client_version: None,
        metadata: Metadata::new(),
        trace: None,
    }
}

/// Returns the methods of the service.
fn methods() -> Arc<Methods> {
    let methods = [(METHOD, false), (UNARY, true)].into_iter().enumerate();
    let methods = methods.map(|(index, (name, is_single))| {
        let entry = MethodEntry { index, is_single };
        (name.into(), entry)
    });
    Arc::new(methods.collect())
}

/// A generator of small random numbers, deterministic for a seed.
#[derive(Clone, Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// Returns a number below `limit`.
    pub(super) fn roll(&mut self, limit: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

/// The faults of the network.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    pub(super) loss: u64,
    pub(super) repetition: u64,
    pub(super) disorder: u64,
    /// Whether all packets are lost.
    pub(super) is_cut: bool,
}

/// A fault of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Loss,
    Repetition,
    Delay(Duration),
}

pub(super) struct Network {
    pub(super) now: Instant,
    pub(super) sides: [Session; 2],
    /// The packets in transit to each side, with their time of arrival.
    wires: [VecDeque<(Instant, Transmit)>; 2],
    /// Sides that have forgotten the session, like a restarted process.
    pub(super) has_forgotten: [bool; 2],
    /// Sides that have lost their connections. Packets to them are lost, and the NATS server
    /// reports "no responders".
    pub(super) is_gone: [bool; 2],
    /// When each side receives the report.
    no_responders: [VecDeque<Instant>; 2],
    pub(super) latency: Duration,
    pub(super) weather: Weather,
    dice: Dice,
    /// Number of packets and bytes sent by each side.
    pub(super) sent: [usize; 2],
    pub(super) sent_bytes: [usize; 2],
    /// Events that were not processed yet.
    pub(super) events: [VecDeque<Event>; 2],
    /// The numbers of calls whose only message came with them, and so counts as taken.
    pub(super) taken: BTreeSet<u64>,
}

impl Network {
    pub(super) fn new(configs: [Config; 2], seed: u64) -> Self {
        let now = Instant::now();
        let [client, server] = configs;
        Self {
            now,
            sides: [
                Session::client(client, SECRET, now),
                Session::server(server, "I1".to_owned(), &methods(), now),
            ],
            wires: Default::default(),
            has_forgotten: [false; 2],
            is_gone: [false; 2],
            no_responders: Default::default(),
            latency: Duration::from_millis(1),
            weather: Weather::default(),
            dice: Dice(seed),
            sent: [0; 2],
            sent_bytes: [0; 2],
            events: Default::default(),
            taken: BTreeSet::new(),
        }
    }

    /// Creates a network with a completed handshake.
    pub(super) fn open(configs: [Config; 2], seed: u64) -> Self {
        let mut network = Self::new(configs, seed);
        network.run(Duration::from_millis(200));
        for events in &mut network.events {
            assert!(matches!(events.pop_front(), Some(Event::Opened(_))));
            assert!(events.is_empty());
        }
        network
    }

    pub(super) fn both(config: Config) -> Self {
        Self::open([config.clone(), config], 1)
    }

    /// Does what a driver does after each call.
    pub(super) fn pump(&mut self) {
        for side in [CLIENT, SERVER] {
            self.sides[side].handle_timeout(self.now);
            let mut count = 0;
            while let Some(transmit) = self.sides[side].poll_transmit(self.now) {
                assert!(transmit.packet.len() <= self.sides[side].agreed.max_packet);
                self.sent[side] += 1;
                if self.is_gone[1 - side] && transmit.with_reply && !self.weather.is_cut {
                    let at = self.now + self.latency;
                    self.no_responders[side].push_back(at);
                }
                self.publish(1 - side, transmit);
                count += 1;
                assert!(count < 10_000, "it never stops sending");
            }
            while let Some(event) = self.sides[side].poll_event() {
                if let Event::Call {
                    stream,
                    message: Some(_),
                    ..
                } = &event
                {
                    self.taken.insert(stream.number);
                }
                self.events[side].extend(apart(event));
            }
            if let Some(at) = self.sides[side].poll_timeout() {
                assert!(at > self.now, "it never sleeps");
            }
            check(&self.sides[side]);
        }
    }

    fn publish(&mut self, to: usize, transmit: Transmit) {
        let len = transmit.packet.len();
        assert!(len >= 3, "it would end an account mapping");
        self.sent_bytes[1 - to] += len;
        let Weather {
            loss,
            repetition,
            disorder,
            is_cut,
        } = self.weather;
        let is_lost = is_cut || self.is_gone.contains(&true);
        if is_lost || self.dice.percent(loss) {
            return;
        }
        let copies = 1 + usize::from(self.dice.percent(repetition));
        for _ in 0..copies {
            let mut at = self.now + self.latency;
            if self.dice.percent(disorder) {
                at += Duration::from_millis(self.dice.roll(200));
            }
            self.arrive(to, at, transmit.clone());
        }
    }

    fn arrive(&mut self, to: usize, at: Instant, transmit: Transmit) {
        let wire = &mut self.wires[to];
        let place = wire.partition_point(|(other, _)| *other <= at);
        wire.insert(place, (at, transmit));
    }

    /// Applies a fault to one of the packets in transit to a side.
    pub(super) fn befall(&mut self, to: usize, packet: u64, fault: Fault) {
        let wire = &mut self.wires[to];
        if wire.is_empty() {
            return;
        }
        let index = packet as usize % wire.len();
        match fault {
            Fault::Loss => drop(wire.remove(index)),
            Fault::Repetition => wire.insert(index, wire[index].clone()),
            Fault::Delay(delay) => {
                if let Some((at, packet)) = wire.remove(index) {
                    self.arrive(to, at + delay, packet);
                }
            }
        }
    }

    /// Advances the time.
    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        self.pump();
        for step in 0.. {
            assert!(step < 200_000, "the network does not become idle");
            let arrivals = self.wires.iter().filter_map(|wire| wire.front());
            let arrivals = arrivals.map(|(at, _)| at);
            let arrivals = arrivals.chain(self.no_responders.iter().flatten());
            let timeouts = self.sides.iter().filter_map(Session::poll_timeout);
            let next = arrivals.copied().chain(timeouts).min();
            let Some(next) = next.filter(|next| *next <= until) else {
                break;
            };
            self.now = self.now.max(next);
            for side in [CLIENT, SERVER] {
                while let Some((at, transmit)) = self.wires[side].pop_front() {
                    if at > self.now {
                        self.wires[side].push_front((at, transmit));
                        break;
                    }
                    if self.has_forgotten[side] {
                        self.answer(side, &transmit);
                        continue;
                    }
                    let is_taken = self.sides[side].handle_packet(self.now, &transmit.packet);
                    // The answer of a peer that has forgotten the session may be to a PING that is
                    // no longer recent.
                    assert!(is_taken || self.has_forgotten[1 - side]);
                }
                let told = &mut self.no_responders[side];
                let count = told.partition_point(|at| *at <= self.now);
                for _ in told.drain(..count) {
                    self.sides[side].handle_no_responders(self.now);
                }
            }
            self.pump();
        }
        self.now = until;
    }

    /// Answers packets of unknown sessions, as the reader of a subscription does.
    fn answer(&mut self, side: usize, transmit: &Transmit) {
        let packet = &transmit.packet;
        let answer = match side {
            _ if !transmit.with_reply => None,
            CLIENT => answer_of_client(SECRET, packet),
            _ => answer_of_service(packet),
        };
        if let Some(packet) = answer {
            let with_reply = false;
            self.publish(1 - side, Transmit { packet, with_reply });
        }
    }

    /// Makes a side forget the session.
    pub(super) fn forget(&mut self, side: usize) {
        self.has_forgotten[side] = true;
        let session = &mut self.sides[side];
        session.close(Some(Status::unavailable("forgotten")));
        while session.poll_transmit(self.now).is_some() {}
    }

    /// Delivers a packet that the peer has not sent, and checks that it has no effect.
    ///
    /// A service that has forgotten the session proves its identity only with the token of PING.
    /// Only the service can read that token, but this forger also sees packets in transit, so it
    /// does not try.
    pub(super) fn forge(&mut self, to: usize, packet: Bytes) {
        let session = &mut self.sides[to];
        if session.is_closed() || (to == CLIENT && self.has_forgotten[SERVER]) {
            return;
        }
        let before = (session.poll_timeout(), session.received());
        let dropped = session.counts.dropped;
        assert!(!session.handle_packet(self.now, &packet), "{packet:?}");
        assert_eq!(session.counts.dropped, dropped + 1);
        assert_eq!((session.poll_timeout(), session.received()), before);
        assert!(session.events.is_empty() && session.poll_transmit(self.now).is_none());
    }

    /// Returns a packet in transit to a side, if there is one.
    pub(super) fn on_its_way(&self, to: usize, packet: u64) -> Option<Bytes> {
        let wire = &self.wires[to];
        let index = (packet as usize).checked_rem(wire.len())?;
        Some(wire[index].1.packet.clone())
    }

    pub(super) fn run_ms(&mut self, ms: u64) {
        self.run(Duration::from_millis(ms));
    }

    /// Returns the events of a side since the last call.
    pub(super) fn take(&mut self, side: usize) -> Vec<Event> {
        self.events[side].drain(..).collect()
    }
}

/// Checks the invariants of a session.
pub(super) fn check(session: &Session) {
    let mut held = 0;
    for (id, stream) in session.streams.iter() {
        stream.sending.check();
        stream.receiving.check();
        held += stream.receiving.held();
        assert_eq!(stream.queued, session.ready.contains(&id), "{id}");
        assert!(stream.queued || !stream.is_ready(), "{id} is forgotten");
        let one = session.agreed.max_message.max(MAX_ROW);
        // Messages before one that is too large are accepted beyond the buffer. Messages that had
        // to leave their rows cost more individually.
        let buffer = session.config.send_buffer.max(one) + MAX_ROW + 64;
        assert!(stream.sending.buffered() <= buffer as u64);
        assert!(id.number <= session.highest);
    }
    session.check_turns();
    session.check_budget();
    let single = session.streams.values();
    let single = single.filter(|stream| stream.receiving.is_single && !session.is_server);
    assert_eq!(single.count(), session.waiting);
    let windows = session.streams.values().map(|s| s.receiving.window());
    assert!(held <= windows.sum::<u64>() + 2 * session.hello.max_message);
    let starved = session.streams.values().filter(|s| s.is_starved).count();
    assert_eq!(session.starved.len(), starved);
    for (id, stream) in session.streams.iter() {
        let places = session.starved.iter().filter(|other| **other == id).count();
        assert_eq!(places, usize::from(stream.is_starved), "{id}");
    }
    let is_stale = |id: &&StreamId| !session.streams.contains(**id);
    let stale = session.ready.iter().filter(is_stale).count();
    assert_eq!(stale, session.stale);
    assert!(session.ready.len() <= 2 * session.agreed.max_streams);
    assert!(session.streams.len() <= session.agreed.max_streams);
    if session.state == SessionState::Closed {
        assert!(session.is_empty());
    }
}

impl Session {
    /// Seals a packet as the peer does. Without keys, it stays unchanged.
    pub(super) fn sealed(&self, packet: impl Into<Vec<u8>>) -> Bytes {
        let mut packet = packet.into();
        if let Some(keys) = &self.keys {
            keys.seal_as_peer(&mut packet);
        }
        packet.into()
    }

    /// Processes a packet as if it were the peer's.
    pub(super) fn hear(&mut self, now: Instant, packet: impl Into<Vec<u8>>) {
        let packet = self.sealed(packet);
        assert!(self.handle_packet(now, &packet));
    }

    /// Returns the last numbered packet received.
    pub(super) fn received(&self) -> u64 {
        self.inbound.received()
    }

    /// Returns the last numbered packet sent.
    pub(super) fn last_sent(&self) -> u64 {
        self.outbound.last_sent()
    }

    /// Returns whether no stream or packet is left.
    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty()
            && self.ready.is_empty()
            && self.turns.is_empty()
            && self.events.is_empty()
            && self.outbound.is_all_acked()
    }
}
