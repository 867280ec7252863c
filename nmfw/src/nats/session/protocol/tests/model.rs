//! Two correct sides over a faulty network, compared with a model: on each stream, every message
//! arrives exactly once and in order, or the stream ends with one status; and everything settles
//! when the network has recovered.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::network::{CLIENT, Dice, Fault, MAX_ROW, METHOD, Network, SERVER, UNARY, Weather, head};
use crate::{
    Code, Metadata, Status,
    nats::session::protocol::{Config, Event, SendError, StreamId, receiving::MAX_GROWTH},
};
use nmfw_core::call::body::chunk::{Chunk, Row, Tally};

/// Actions of applications, and faults.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// With metadata of this size. For a single-answer call, the applications take messages at
    /// once.
    Open {
        metadata: usize,
        is_single: bool,
    },
    /// By a side, on one of its streams.
    Send {
        side: usize,
        stream: u64,
        len: usize,
        /// Number of messages, each shorter than the one before; several are sent together.
        count: usize,
        end: bool,
    },
    Finish {
        side: usize,
        stream: u64,
    },
    Headers {
        stream: u64,
    },
    Status {
        stream: u64,
        code: i32,
    },
    Reset {
        side: usize,
        stream: u64,
    },
    /// The application takes a number of messages.
    Take {
        side: usize,
        stream: u64,
        count: usize,
    },
    Wait {
        ms: u64,
    },
    Weather(Weather),
    /// A fault of one of the packets in transit to a side.
    Fault {
        to: usize,
        packet: u64,
        fault: Fault,
    },
    /// A third party without the key sends a packet in transit, in the other direction or modified.
    Forge {
        packet: u64,
        to: usize,
        byte: u8,
    },
    Reconnect {
        side: usize,
    },
    /// A side forgets the session.
    Forget {
        side: usize,
    },
    NoResponders {
        side: usize,
    },
    PacketWindow {
        side: usize,
        packets: u32,
    },
    GoAway,
}

/// One side's view of a stream, as its application sees it.
#[derive(Debug, Default)]
struct View {
    is_single: bool,
    sent: Vec<Bytes>,
    /// How this side ended: its messages only, or the call (for a service).
    ended: Option<Code>,
    was_reset: bool,
    sent_headers: bool,
    waits_for_room: bool,
    /// Number of received messages, and those that the application has not taken.
    got: usize,
    inbox: VecDeque<Tally>,
    got_headers: bool,
    got_end: bool,
    outcome: Option<Code>,
}

impl View {
    fn is_over(&self) -> bool {
        self.outcome.is_some() || self.was_reset
    }
}

pub(super) struct Model {
    network: Network,
    views: [BTreeMap<StreamId, View>; 2],
    closed: [usize; 2],
    drained: usize,
    goes_away: bool,
    dice: Dice,
}

impl Model {
    pub(super) fn new(configs: [Config; 2], seed: u64) -> Self {
        Self {
            network: Network::open(configs, seed),
            views: Default::default(),
            closed: [0; 2],
            drained: 0,
            goes_away: false,
            dice: Dice(!seed),
        }
    }

    /// Picks one of a side's open streams.
    fn pick(&self, side: usize, which: u64) -> Option<StreamId> {
        let live: Vec<_> = self.live(side);
        (!live.is_empty()).then(|| live[(which % live.len() as u64) as usize])
    }

    /// Returns streams with messages that a side's application has not taken, including ended ones.
    fn holders(&self, side: usize) -> Vec<StreamId> {
        let views = self.views[side].iter();
        let holders = views.filter(|(_, view)| !view.inbox.is_empty());
        holders.map(|(id, _)| *id).collect()
    }

    fn live(&self, side: usize) -> Vec<StreamId> {
        let views = self.views[side].iter();
        views
            .filter(|(_, view)| !view.is_over() && (side == CLIENT || view.ended.is_none()))
            .map(|(id, _)| *id)
            .collect()
    }

    pub(super) fn act(&mut self, action: &Action) {
        match *action {
            Action::Open {
                metadata,
                is_single,
            } => {
                let mut head = head(if is_single { UNARY } else { METHOD });
                head.metadata.append("a", "x".repeat(metadata)).unwrap();
                match self.network.sides[CLIENT].open_call(head, is_single, None) {
                    Ok(id) => {
                        let view = View {
                            is_single,
                            ..View::default()
                        };
                        let before = self.views[CLIENT].insert(id, view);
                        assert!(before.is_none(), "a number is used again");
                    }
                    Err(status) => assert!(status.is_not_started()),
                }
            }
            Action::Send {
                side,
                stream,
                len,
                count,
                end,
            } => {
                if let Some(id) = self.pick(side, stream) {
                    self.send(side, id, (len, count), end);
                }
            }
            Action::Finish { side, stream } => {
                if let Some(id) = self.pick(side, stream) {
                    self.network.sides[side].finish(id);
                    self.view(side, id).ended.get_or_insert(Code::Ok);
                }
            }
            Action::Headers { stream } => {
                if let Some(id) = self.pick(SERVER, stream) {
                    let metadata = Metadata::new();
                    let sent = self.network.sides[SERVER].send_headers(id, &metadata);
                    let view = self.view(SERVER, id);
                    let is_full =
                        matches!(&sent, Err(status) if status.code() == Code::ResourceExhausted);
                    let is_first = view.sent.is_empty() && !view.sent_headers;
                    assert_eq!(sent.is_ok(), is_first && !is_full);
                    view.sent_headers |= sent.is_ok();
                }
            }
            Action::Status { stream, code } => {
                if let Some(id) = self.pick(SERVER, stream) {
                    self.status(id, Code::from_number(code));
                }
            }
            Action::Reset { side, stream } => {
                if let Some(id) = self.pick(side, stream) {
                    self.network.sides[side].reset(id, &Status::aborted("reset"));
                    self.view(side, id).was_reset = true;
                }
            }
            Action::Take {
                side,
                stream,
                count,
            } => {
                let holders = self.holders(side);
                if !holders.is_empty() {
                    let id = holders[(stream % holders.len() as u64) as usize];
                    self.take(side, id, count);
                }
            }
            Action::Wait { ms } => self.network.run_ms(ms),
            Action::Weather(weather) => self.network.weather = weather,
            Action::Fault { to, packet, fault } => self.network.befall(to, packet, fault),
            Action::Forge { packet, to, byte } => self.forge(packet, to, byte),
            Action::Forget { side } => {
                if !self.network.sides[side].is_closed() {
                    self.network.forget(side);
                }
            }
            Action::Reconnect { side } => {
                let now = self.network.now;
                self.network.sides[side].handle_reconnect(now);
            }
            Action::NoResponders { side } => {
                let now = self.network.now;
                self.network.sides[side].handle_no_responders(now);
            }
            Action::PacketWindow { side, packets } => {
                self.network.sides[side].set_packet_window(packets);
            }
            Action::GoAway => {
                self.network.sides[SERVER].go_away();
                self.goes_away = true;
            }
        }
        self.look();
    }

    fn forge(&mut self, packet: u64, to: usize, byte: u8) {
        self.network.pump();
        let from = usize::from(byte & 1);
        let Some(packet) = self.network.on_its_way(from, packet) else {
            return;
        };
        let mut packet = packet.to_vec();
        // An unmodified packet for the other side has no valid proof here.
        if from == to || byte & 2 != 0 {
            let at = usize::from(byte >> 2) % packet.len();
            packet[at] ^= byte | 1;
        }
        self.network.forge(to, packet.into());
    }

    fn view(&mut self, side: usize, id: StreamId) -> &mut View {
        self.views[side].get_mut(&id).unwrap()
    }

    fn status(&mut self, id: StreamId, code: Code) {
        let server = &mut self.network.sides[SERVER];
        match code {
            Code::Ok => server.send_status(id, Ok(&Metadata::new())),
            code => server.send_status(id, Err(&Status::new(code, "as asked"))),
        }
        self.view(SERVER, id).ended = Some(code);
    }

    fn send(&mut self, side: usize, id: StreamId, (len, count): (usize, usize), end: bool) {
        let view = self.view(side, id);
        if view.is_single && !view.sent.is_empty() {
            return;
        }
        let count = if view.is_single { 1 } else { count };
        let fill = self.dice.roll(256) as u8;
        let messages = (1..=count).map(|i| Bytes::from(vec![fill; len / i]));
        let mut room = MAX_ROW;
        let mut messages: Vec<_> = messages
            .take_while(|message| {
                let fits = message.len() + 3 <= room;
                room = room.saturating_sub(message.len() + 3);
                fits
            })
            .collect();
        // The largest is not always the first.
        let first = usize::from(fill) % messages.len();
        messages.rotate_left(first);
        let chunk = match &messages[..] {
            [message] => Chunk::from(message.clone()),
            messages => Row::of(messages).into(),
        };
        let result = self.network.sides[side].send(id, chunk.clone(), end);
        let view = self.view(side, id);
        match result {
            Ok(()) => {
                assert!(view.ended.is_none() && len <= 25_000);
                view.sent.extend(messages);
                view.waits_for_room = false;
                if end {
                    view.ended = Some(Code::Ok);
                }
            }
            Err(SendError::Full(back)) => {
                assert_eq!(back, chunk);
                view.waits_for_room = true;
            }
            Err(SendError::Ended) => assert!(view.ended.is_some()),
            Err(SendError::TooLarge(_)) => {
                assert!(len > 25_000);
                if side == SERVER {
                    let fitting = messages.into_iter().take_while(|m| m.len() <= 25_000);
                    view.sent.extend(fitting);
                    view.ended = Some(Code::ResourceExhausted);
                } else {
                    view.was_reset = true;
                }
            }
        }
    }

    fn take(&mut self, side: usize, id: StreamId, count: usize) {
        for _ in 0..count {
            if let Some(taken) = self.view(side, id).inbox.pop_front() {
                self.network.sides[side].consume(id, taken);
            }
        }
    }

    /// Checks the events of the sessions since the last call.
    fn look(&mut self) {
        self.network.pump();
        for side in [CLIENT, SERVER] {
            for event in self.network.take(side) {
                assert_eq!(self.closed[side], 0, "{event:?} after the end");
                self.on_event(side, event);
            }
            // The session's accounting matches the application's.
            if self.closed[side] == 0 {
                let views = self.views[side].values();
                let held: u64 = views.flat_map(|view| &view.inbox).map(|t| t.cost).sum();
                assert_eq!(self.network.sides[side].untaken(), held.cast_signed());
            }
        }
    }

    fn on_messages(&mut self, side: usize, stream: StreamId, messages: &[Bytes], tally: Tally) {
        let view = self.view(side, stream);
        assert!(!view.is_over() && !view.got_end, "a message after the end");
        assert_eq!(messages.len(), tally.messages);
        if view.is_single {
            if side == CLIENT || !self.network.taken.contains(&stream.number) {
                self.network.sides[side].consume(stream, tally);
            }
        } else {
            view.inbox.push_back(tally);
        }
        let view = self.view(side, stream);
        let got = view.got;
        view.got += messages.len();
        let held: u64 = view.inbox.iter().map(|tally| tally.cost).sum();
        let window = self.network.sides[side].hello.stream_window;
        assert!(held <= MAX_GROWTH * window + 25_000 + 32, "{held} are held");
        let sent = &self.view(1 - side, stream).sent;
        assert!(sent[got..].starts_with(messages), "not what was sent");
    }

    fn on_event(&mut self, side: usize, event: Event) {
        match event {
            Event::Opened(_) => panic!("opened twice"),
            Event::Call { stream, head, .. } => {
                let is_single = self.view(CLIENT, stream).is_single;
                let method = if is_single { UNARY } else { METHOD };
                assert_eq!((side, &*head.method), (SERVER, method));
                let view = View {
                    is_single,
                    ..View::default()
                };
                let before = self.views[SERVER].insert(stream, view);
                assert!(before.is_none(), "called twice");
            }
            Event::Answer { .. } => panic!("the network takes it apart"),
            Event::Headers { stream, .. } => {
                assert!(self.view(SERVER, stream).sent_headers);
                let view = self.view(CLIENT, stream);
                assert!(!view.got_headers && view.got == 0 && !view.is_over());
                view.got_headers = true;
            }
            Event::Message { stream, message } => {
                let tally = Tally::of(message.len());
                self.on_messages(side, stream, &[message], tally);
            }
            Event::Row { stream, row } => {
                let tally = row.tally();
                self.on_messages(side, stream, &row.messages(), tally);
            }
            Event::End { stream } => {
                assert_eq!(side, SERVER);
                let got = self.view(side, stream).got;
                let sender = self.view(CLIENT, stream);
                assert_eq!((sender.ended, sender.sent.len()), (Some(Code::Ok), got));
                let view = self.view(SERVER, stream);
                assert!(!view.is_over() && !view.got_end && view.ended.is_none());
                view.got_end = true;
            }
            Event::Finished { stream, outcome } => {
                let code = outcome.as_ref().err().map_or(Code::Ok, Status::code);
                if let Err(status) = &outcome {
                    let is_broken = status.message().contains("protocol");
                    assert!(!is_broken, "{status}");
                }
                let outcome_text = outcome.as_ref().err().map(|s| s.message().to_owned());
                let not_started = outcome.is_err_and(|status| status.is_not_started());
                if not_started {
                    assert!(!self.views[SERVER].contains_key(&stream));
                }
                let view = self.view(side, stream);
                assert!(!view.is_over(), "finished twice");
                view.outcome = Some(code);
                let got = view.got;
                if side == SERVER {
                    assert_ne!(code, Code::Ok);
                } else if not_started && code == Code::ResourceExhausted {
                    // Only while applications hold messages of ended streams, or no packet of the
                    // other side has arrived.
                    let text = outcome_text.as_deref().unwrap_or_default();
                    assert!(text.contains("has not read") || text.contains("does not read"));
                } else if !matches!(code, Code::Unavailable | Code::Aborted) {
                    // Neither from the session nor a reset: the service's complete status.
                    let sender = self.view(SERVER, stream);
                    assert_eq!((sender.ended, sender.sent.len()), (Some(code), got));
                }
            }
            Event::Writable { stream } => {
                let view = self.view(side, stream);
                assert!(
                    !view.is_over() && view.ended.is_none(),
                    "nothing can be sent"
                );
                view.waits_for_room = false;
            }
            Event::GoAway => assert!(side == CLIENT && self.goes_away),
            Event::Drained => {
                assert!(side == SERVER && self.goes_away);
                self.drained += 1;
            }
            Event::Closed(status) => {
                self.closed[side] += 1;
                // Neither side violates the protocol here.
                assert_eq!(status.unwrap().code(), Code::Unavailable);
            }
        }
    }

    /// Repairs the network and lets applications take everything: all sent messages arrive, though
    /// no stream ends.
    fn deliver(&mut self) {
        for _ in 0..100 {
            for side in [CLIENT, SERVER] {
                for id in self.holders(side) {
                    self.take(side, id, 1000);
                }
            }
            self.network.run_ms(500);
            self.look();
            let is_over = self.closed != [0; 2];
            if is_over || [CLIENT, SERVER].iter().all(|&side| self.has_all(side)) {
                return;
            }
        }
        panic!("it does not arrive: {:#?}", self.network.sides);
    }

    /// Returns whether a side has received everything, on streams on which both sides are active.
    fn has_all(&self, side: usize) -> bool {
        let received = |id| self.views[side].get(id);
        self.views[1 - side].iter().all(|(id, sender)| {
            let receiver = received(id);
            let listens = receiver
                .is_none_or(|view| !view.is_over() && (side == CLIENT || view.ended.is_none()));
            let got = receiver.map_or(0, |view| view.got);
            sender.is_over() || !listens || got == sender.sent.len()
        })
    }

    /// Repairs the network, and lets applications take and end everything.
    pub(super) fn come_to_rest(&mut self) {
        self.network.weather = Weather::default();
        self.deliver();
        for _ in 0..400 {
            for side in [CLIENT, SERVER] {
                for id in self.holders(side) {
                    self.take(side, id, 1000);
                }
                for id in self.live(side) {
                    if self.view(side, id).ended.is_none() {
                        self.network.sides[side].finish(id);
                        self.view(side, id).ended = Some(Code::Ok);
                    }
                }
            }
            // Streams that have ended here may still receive.
            self.network.run_ms(500);
            self.look();
            let [client, server] = &self.network.sides;
            let is_live = !self.live(CLIENT).is_empty() || !self.live(SERVER).is_empty();
            // If one side has died and its CLOSE was lost, the other detects it on its own.
            let is_agreed = client.is_closed() == server.is_closed();
            if client.is_empty() && server.is_empty() && !is_live && is_agreed {
                return self.check_rest();
            }
        }
        panic!("it never comes to rest: {:#?}", self.network.sides);
    }

    fn check_rest(&mut self) {
        assert_eq!(self.closed[CLIENT], self.closed[SERVER]);
        let is_closed = self.closed[CLIENT] > 0;
        assert!(self.drained <= 1);
        assert_eq!(
            self.goes_away && !is_closed,
            self.drained == 1 && !is_closed
        );
        for (id, view) in &self.views[CLIENT] {
            let outcome = view.outcome;
            assert!(view.is_over(), "{id} is open for ever");
            let Some(server) = self.views[SERVER].get(id) else {
                let refused = [Code::Unavailable, Code::ResourceExhausted].map(Some);
                assert!(view.was_reset || refused.contains(&outcome));
                continue;
            };
            if view.was_reset || is_closed {
                continue;
            }
            if server.was_reset {
                assert_eq!(outcome, Some(Code::Aborted), "{id}");
            } else {
                assert_eq!(outcome, server.ended, "{id}");
                assert_eq!(view.got, server.sent.len(), "{id}");
            }
        }
        for (id, view) in &self.views[SERVER] {
            assert!(
                view.is_over() || view.ended.is_some(),
                "{id} is open for ever"
            );
        }
    }
}
