//! Arbitrary bytes as packets of a peer that follows no rules, mixed with those of a correct one.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

use super::input::Input;
use crate::{
    Code, Metadata, Status,
    nats::session::protocol::{
        Config, Event, SendError, StreamId,
        body::encode_status,
        frame::{Header, flag, kind, put_frame, put_number_frame},
        receiving::MAX_GROWTH,
        tests::network::{CLIENT, METHOD, Network, SERVER, Weather, head},
    },
};
use nmfw_core::call::body::chunk::{Row, Tally};
use nmfw_core::call::body::wire::put_varint;

const MAX_STEPS: usize = 200;

const MAX_MESSAGE: usize = 20_000;

const WINDOW: usize = 8192;

/// Whatever a side receives, it stays within its limits, and reports the ends of streams and of the
/// session correctly.
pub fn hostile(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut scene = Scene::new(&mut input);
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        scene.step(&mut input);
        scene.look();
    }
    scene.end();
}

/// The view of a side's application.
#[derive(Default)]
struct Application {
    streams: BTreeMap<StreamId, HostileView>,
    is_over: bool,
}

#[derive(Default)]
struct HostileView {
    /// Ended by this side, which should report nothing more about it.
    is_ended: bool,
    is_finished: bool,
    /// Messages that were not taken yet.
    inbox: Vec<Tally>,
}

struct Scene {
    network: Network,
    applications: [Application; 2],
}

impl Scene {
    fn new(input: &mut Input<'_>) -> Self {
        Self {
            network: Network::both(Config {
                packet_window: 4 + input.below(20) as u32,
                stream_window: WINDOW as u32,
                max_message: MAX_MESSAGE,
                max_packet: [60_000, 1024, 3000][input.below(3) as usize],
                max_streams: 3 + input.below(5) as u32,
                wide_streams: input.below(5) as u32,
                memory: 50_000 + input.below(1 << 20),
                send_buffer: 10_000,
                ..Config::default()
            }),
            applications: Default::default(),
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let kind = input.byte();
        let side = usize::from(kind & 1);
        let now = self.network.now;
        let session = &mut self.network.sides[side];
        match kind >> 1 & 31 {
            0..14 => {
                let packet = packet(input, session.received(), session.last_sent());
                session.hear(now, packet);
            }
            14 => {
                let len = input.below(64) as usize;
                session.hear(now, input.take(len));
            }
            15..28 => self.act(side, input),
            28 => self.network.run_ms(input.below(12_000)),
            29 => self.network.run_ms(input.below(50)),
            30 => session.handle_reconnect(now),
            _ => match input.below(4) {
                0 => session.handle_no_responders(now),
                is_cut => {
                    self.network.weather = Weather {
                        is_cut: is_cut == 1,
                        ..Weather::default()
                    };
                }
            },
        }
    }

    /// Performs an operation of the application.
    fn act(&mut self, side: usize, input: &mut Input<'_>) {
        let session = &mut self.network.sides[side];
        let application = &mut self.applications[side];
        let stream = session.id(1 + input.below(8));
        // Ended or unknown streams are not used in operations.
        let is_live = |view: &HostileView| !view.is_ended && !view.is_finished;
        let view = application.streams.get_mut(&stream);
        let mut none = HostileView::default();
        let is_known = view.as_deref().is_some_and(is_live);
        let view = view.unwrap_or(&mut none);
        match input.below(10) {
            0 | 1 => {
                if let Ok(stream) =
                    session.open_call(head(METHOD), stream.number.is_multiple_of(2), None)
                {
                    let before = application.streams.insert(stream, HostileView::default());
                    assert!(before.is_none(), "a number is used again");
                }
            }
            2 | 3 => {
                let end = input.byte() > 200;
                let message = Bytes::from(vec![0; input.below(25_000) as usize]);
                let sent = session.send_message(stream, message, end);
                assert!(is_known || sent.is_err());
                view.is_ended |= match sent {
                    Ok(()) => end && side == SERVER,
                    Err(error) => matches!(error, SendError::TooLarge(_)),
                };
            }
            4 => {
                session.finish(stream);
                view.is_ended |= is_known && side == SERVER;
            }
            5 => _ = session.send_headers(stream, &Metadata::new()),
            6 => {
                session.send_status(stream, Err(&Status::aborted("")));
                view.is_ended |= is_known && side == SERVER;
            }
            7 => {
                session.reset(stream, &Status::cancelled(""));
                view.is_ended |= is_known;
            }
            8 => {
                for taken in view.inbox.drain(..) {
                    session.consume(stream, taken);
                }
            }
            _ => match input.below(30) {
                0 => session.close(None),
                1 => session.go_away(),
                packets => session.set_packet_window(packets as u32),
            },
        }
    }

    /// Processes the events of the sessions.
    fn look(&mut self) {
        self.network.pump();
        for side in [CLIENT, SERVER] {
            let events = self.network.take(side);
            let application = &mut self.applications[side];
            for event in events {
                assert!(!application.is_over, "{event:?} after the end");
                application.on_event(side, event);
            }
            application.check_memory();
            let is_closed = self.network.sides[side].is_closed();
            assert_eq!(application.is_over, is_closed);
        }
    }

    /// A session always ends when its side wants that.
    fn end(mut self) {
        self.network.weather = Weather::default();
        self.network.run(Duration::from_secs(40));
        self.look();
        for session in &mut self.network.sides {
            session.close(None);
        }
        self.look();
        for (side, application) in self.applications.iter().enumerate() {
            assert!(application.is_over);
            assert!(self.network.sides[side].poll_timeout().is_none());
            for (id, view) in &application.streams {
                assert!(
                    view.is_finished || view.is_ended,
                    "stream {id} has not ended"
                );
            }
        }
    }
}

impl Application {
    fn view(&mut self, stream: StreamId) -> &mut HostileView {
        let view = self.streams.get_mut(&stream).unwrap();
        assert!(!view.is_finished, "{stream} is over");
        assert!(!view.is_ended, "{stream} was ended here");
        view
    }

    fn on_event(&mut self, side: usize, event: Event) {
        match event {
            Event::Call { stream, head, .. } => {
                assert_eq!((side, &*head.method), (SERVER, METHOD));
                let before = self.streams.insert(stream, HostileView::default());
                assert!(before.is_none(), "called twice");
            }
            Event::Answer { .. } => panic!("the network takes it apart"),
            Event::Message { stream, message } => {
                assert!(message.len() <= MAX_MESSAGE);
                let tally = Tally::of(message.len());
                self.view(stream).inbox.push(tally);
            }
            Event::Row { stream, row } => {
                let tally = row.tally();
                assert!(tally.messages >= 2 && tally.largest <= MAX_MESSAGE);
                self.view(stream).inbox.push(tally);
            }
            Event::Finished { stream, .. } => {
                let view = self.view(stream);
                view.is_finished = true;
                view.inbox.clear();
            }
            Event::Headers { stream, .. } | Event::Writable { stream } => _ = self.view(stream),
            Event::End { stream } => {
                assert_eq!(side, SERVER);
                self.view(stream);
            }
            Event::GoAway => assert_eq!(side, CLIENT),
            Event::Drained => assert_eq!(side, SERVER),
            Event::Opened(_) => panic!("opened twice"),
            Event::Closed(_) => self.is_over = true,
        }
    }

    fn check_memory(&self) {
        let live = self.streams.values();
        let live = live.filter(|view| !view.is_finished && !view.is_ended);
        let (mut held, mut count) = (0, 0);
        for view in live {
            held += view.inbox.iter().map(|tally| tally.cost).sum::<u64>();
            count += 1;
        }
        let most = count * WINDOW * MAX_GROWTH as usize + MAX_MESSAGE + 32;
        assert!(held <= most as u64, "{held} are held");
    }
}

/// Builds a decodable packet, usually the next in sequence.
fn packet(input: &mut Input<'_>, received: u64, last_sent: u64) -> Vec<u8> {
    let what = input.byte();
    let seq = match what & 15 {
        0..3 => 0,
        3 => input.below(300),
        4 => input.number(8) >> 1,
        _ => received + 1,
    };
    let ack = match what >> 4 & 7 {
        0 => input.below(20),
        1 => 0,
        _ => last_sent,
    };
    let mut out = Vec::new();
    Header {
        seq,
        ack,
        go_back: what >> 7 != 0 && input.flag(),
    }
    .put(&mut out);
    for _ in 0..input.below(5) {
        frame(input, seq > 0, &mut out);
    }
    out
}

fn frame(input: &mut Input<'_>, is_numbered: bool, out: &mut Vec<u8>) {
    let what = input.byte();
    let stream = u64::from(what >> 5);
    let which = usize::from(what & 31);
    if !is_numbered {
        let number = input.number(2);
        return match which {
            0 => put_frame(out, 0, kind::CLOSE, &status(input)),
            1 => put_frame(out, 0, kind::OPEN, b""),
            _ if which & 1 == 0 => put_number_frame(out, 0, kind::PING, number),
            _ => put_number_frame(out, 0, kind::PONG, number),
        };
    }
    match which {
        0..6 => {
            let mut body = Vec::new();
            put_varint(&mut body, input.below(1000));
            let method = if which == 0 { "None" } else { METHOD };
            body.extend_from_slice(&head(method).encode());
            let flags = [0, flag::NARROW][usize::from(which > 2)];
            put_frame(out, stream, kind::CALL | flags, &body);
        }
        6..8 => {
            let messages = vec![vec![0; input.below(100) as usize]; input.below(100) as usize];
            let flags = [0, flag::END][which & 1];
            let row = Row::of(&messages);
            put_frame(out, stream, kind::ROW | flags, row.as_bytes());
        }
        8..18 => {
            let flags = [0, flag::END, flag::MORE, flag::MORE][which & 3];
            let len = match input.below(3) {
                0 => input.below(8),
                1 => input.below(256),
                _ => input.below(9000),
            };
            put_frame(out, stream, kind::MESSAGE | flags, &vec![0; len as usize]);
        }
        18..20 => put_frame(out, stream, kind::END, b""),
        20 => put_frame(out, stream, kind::HEADERS, b""),
        21 | 22 => put_frame(out, stream, kind::STATUS, &status(input)),
        23..25 => put_frame(out, stream, kind::RESET, &status(input)),
        25 | 26 => put_number_frame(out, stream, kind::WINDOW, input.below(100_000)),
        27 => put_number_frame(out, 0, kind::WINDOW, input.below(10)),
        28 => put_number_frame(out, 0, kind::GO_AWAY, input.below(9)),
        _ => {
            let len = input.below(12) as usize;
            put_frame(out, stream, input.byte(), input.take(len));
        }
    }
}

fn status(input: &mut Input<'_>) -> Bytes {
    let code = Code::from_number(input.below(17) as i32);
    encode_status(&Status::new(code, "so"), 500)
}
