//! Two sides and the simulated network between them.

use std::sync::Arc;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    Metadata, Status,
    nats::session::protocol::{
        CallHead, Config, Event, MethodEntry, Methods, Secret, Session, State, Transmit,
        answer_of_client, answer_of_service,
    },
};
use nmfw_core::call::request::Encoding;

/// The sides, as indices.
pub(super) const CLIENT: usize = 0;
pub(super) const SERVER: usize = 1;

/// No row of messages is longer in these tests.
pub(super) const MAX_ROW: usize = 32_000;

/// What is served: messages stream both ways, or there is one each way.
pub(super) const METHOD: &str = "Echo";
pub(super) const UNARY: &str = "Ask";

/// The secret of sessions in these tests.
pub(super) const SECRET: Secret = Secret::new(*b"0123456789abcdef");

/// A call without anything that it can do without.
pub(super) fn head(method: &str) -> CallHead {
    CallHead {
        method: method.into(),
        deadline: None,
        encoding: Encoding::Protobuf,
        client_version: None,
        metadata: Metadata::new(),
        trace: None,
    }
}

/// What the service serves.
fn methods() -> Arc<Methods> {
    let methods = [(METHOD, false), (UNARY, true)].into_iter().enumerate();
    let methods = methods.map(|(index, (name, is_single))| {
        let entry = MethodEntry { index, is_single };
        (name.into(), entry)
    });
    Arc::new(methods.collect())
}

/// Small numbers at random, the same for the same seed.
#[derive(Clone, Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// A number below `limit`.
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

/// How bad the network is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    pub(super) loss: u64,
    pub(super) repetition: u64,
    pub(super) disorder: u64,
    /// Nothing gets through.
    pub(super) is_cut: bool,
}

/// What can happen to a packet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Loss,
    Repetition,
    Delay(Duration),
}

pub(super) struct Network {
    pub(super) now: Instant,
    pub(super) sides: [Session; 2],
    /// To each side, with the time of arrival.
    wires: [VecDeque<(Instant, Transmit)>; 2],
    /// Sides that know nothing of the session any more, as a process that has started anew.
    pub(super) has_forgotten: [bool; 2],
    /// Sides that have lost their connections. Nothing arrives there, of which the NATS server tells
    /// the other side.
    pub(super) is_gone: [bool; 2],
    /// When each side is told.
    no_responders: [VecDeque<Instant>; 2],
    pub(super) latency: Duration,
    pub(super) weather: Weather,
    dice: Dice,
    /// Packets that each side has sent, and their bytes.
    pub(super) sent: [usize; 2],
    pub(super) sent_bytes: [usize; 2],
    /// What no one has looked at yet.
    pub(super) events: [VecDeque<Event>; 2],
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
        }
    }

    /// With the handshake behind it.
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

    /// Does what a driver does after each of its doings.
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
                self.events[side].push_back(event);
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

    /// Lets something happen to one of the packets that are on their way to a side.
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

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        self.pump();
        for step in 0.. {
            assert!(step < 200_000, "it does not come to rest");
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
                    // The answer of a peer that has forgotten may be to a PING that is not recent any more.
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

    /// Does what the reader of a subscription does with packets of sessions that it does not know.
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

    /// Has a side forget the session, without a word.
    pub(super) fn forget(&mut self, side: usize) {
        self.has_forgotten[side] = true;
        let session = &mut self.sides[side];
        session.close(Some(Status::unavailable("forgotten")));
        while session.poll_transmit(self.now).is_some() {}
    }

    /// Delivers a packet that the peer has not sent, and checks that it changes nothing.
    ///
    /// A service that has forgotten the session proves itself with the token of PING alone. Only the service
    /// can read that token, but this forger reads packets on their way too, so it does not try.
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

    /// A packet that is on its way to a side, or nothing.
    pub(super) fn on_its_way(&self, to: usize, packet: u64) -> Option<Bytes> {
        let wire = &self.wires[to];
        let index = (packet as usize).checked_rem(wire.len())?;
        Some(wire[index].1.packet.clone())
    }

    pub(super) fn run_ms(&mut self, ms: u64) {
        self.run(Duration::from_millis(ms));
    }

    /// What happened on a side since the last time.
    pub(super) fn take(&mut self, side: usize) -> Vec<Event> {
        self.events[side].drain(..).collect()
    }
}

/// The invariants of a session between any two of its doings.
pub(super) fn check(session: &Session) {
    let mut held = 0;
    for (id, stream) in session.streams.iter() {
        stream.sending.check();
        stream.receiving.check();
        held += stream.receiving.held();
        assert_eq!(stream.queued, session.ready.contains(&id), "{id}");
        assert!(stream.queued || !stream.is_ready(), "{id} is forgotten");
        let one = session.agreed.max_message.max(MAX_ROW);
        // What came before a message that is too large is taken beyond the buffer. Messages that had
        // to leave their rows cost more by themselves.
        let buffer = session.config.send_buffer.max(one) + MAX_ROW + 64;
        assert!(stream.sending.buffered() <= buffer as u64);
        assert!(id <= session.highest);
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
    let is_stale = |id: &&u64| !session.streams.contains_key(id);
    let stale = session.ready.iter().filter(is_stale).count();
    assert_eq!(stale, session.stale);
    assert!(session.ready.len() <= 2 * session.agreed.max_streams);
    assert!(session.streams.len() <= session.agreed.max_streams);
    if session.state == State::Closed {
        assert!(session.is_empty());
    }
}

impl Session {
    /// Seals a packet as the peer does. One of a session without keys stays as it is.
    pub(super) fn sealed(&self, packet: impl Into<Vec<u8>>) -> Bytes {
        let mut packet = packet.into();
        if let Some(keys) = &self.keys {
            keys.seal_as_peer(&mut packet);
        }
        packet.into()
    }

    /// Takes a packet as if it were the peer's.
    pub(super) fn hear(&mut self, now: Instant, packet: impl Into<Vec<u8>>) {
        let packet = self.sealed(packet);
        assert!(self.handle_packet(now, &packet));
    }

    /// The numbered packet of the peer that came last.
    pub(super) fn received(&self) -> u64 {
        self.inbound.received()
    }

    /// The numbered packet that went out last.
    pub(super) fn last_sent(&self) -> u64 {
        self.outbound.last_sent()
    }

    /// Whether nothing is left of any stream or packet.
    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty()
            && self.ready.is_empty()
            && self.turns.is_empty()
            && self.events.is_empty()
            && self.outbound.is_all_acked()
    }
}
