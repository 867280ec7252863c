//! Tests with a peer that sends valid frames in invalid orders.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::network::{CLIENT, METHOD, Network, SERVER, UNARY, check, head};
use crate::{
    Metadata, Status,
    nats::session::protocol::{
        Config, Event, Session,
        body::encode_status,
        frame::{Header, flag, kind, put_frame, put_number_frame},
    },
};
use nmfw_core::call::body::chunk::Tally;
use nmfw_core::call::body::wire::{put_bytes, put_varint};

#[derive(Clone, Debug)]
enum ForgedFrame {
    Call(u64, bool),
    Message(u64, usize, u8),
    /// A number of messages of a given size.
    Messages(u64, usize, usize, u8),
    Plain(u64, u8),
    Status(u64, u8, u8),
    Number(u64, u8, u64),
}

#[derive(Clone, Debug)]
struct ForgedPacket {
    /// Added to the next sequence number; usually zero.
    ahead: i64,
    ack: u64,
    go_back: bool,
    frames: Vec<ForgedFrame>,
}

#[derive(Clone, Debug)]
enum Step {
    Numbered(ForgedPacket),
    Bare(ForgedPacket),
    Bytes(Vec<u8>),
    Wait(u64),
    /// Performs an operation of the application.
    Act(u8, u64),
}

fn frame(is_numbered: bool) -> BoxedStrategy<ForgedFrame> {
    let stream = 0..6u64;
    let number = prop_oneof![0..10u64, 0..300_000u64, Just((1 << 63) - 1)];
    if is_numbered {
        prop_oneof![
            4 => (stream.clone(), any::<bool>()).prop_map(|(s, known)| ForgedFrame::Call(s, known)),
            6 => (stream.clone(), 0..9000usize, 0..4u8).prop_map(|(s, l, f)| ForgedFrame::Message(s, l, f)),
            4 => (stream.clone(), 0..50usize, 0..100usize, 0..4u8)
                .prop_map(|(s, n, l, f)| ForgedFrame::Messages(s, n, l, f)),
            2 => (stream.clone(), prop_oneof![Just(kind::END), Just(kind::HEADERS)])
                .prop_map(|(s, k)| ForgedFrame::Plain(s, k)),
            2 => (stream.clone(), prop_oneof![Just(kind::STATUS), Just(kind::RESET)], 0..17u8)
                .prop_map(|(s, k, c)| ForgedFrame::Status(s, k, c)),
            3 => (stream, prop_oneof![Just(kind::WINDOW), Just(kind::GO_AWAY)], number)
                .prop_map(|(s, k, n)| ForgedFrame::Number(s, k, n)),
        ]
        .boxed()
    } else {
        prop_oneof![
            8 => (prop_oneof![Just(kind::PING), Just(kind::PONG)], number)
                .prop_map(|(k, n)| ForgedFrame::Number(0, k, n)),
            1 => (0..17u8).prop_map(|c| ForgedFrame::Status(0, kind::CLOSE, c)),
            1 => Just(ForgedFrame::Plain(0, kind::OPEN)),
        ]
        .boxed()
    }
}

fn packet(is_numbered: bool) -> impl Strategy<Value = ForgedPacket> {
    (
        prop_oneof![20 => Just(0i64), 1 => -2..100i64],
        prop_oneof![10 => Just(0u64), 1 => 0..4u64],
        prop::bool::weighted(0.2),
        proptest::collection::vec(frame(is_numbered), 0..5),
    )
        .prop_map(|(ahead, ack, go_back, frames)| ForgedPacket {
            ahead,
            ack,
            go_back,
            frames,
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => packet(true).prop_map(Step::Numbered),
        4 => packet(false).prop_map(Step::Bare),
        1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Step::Bytes),
        2 => (0..12_000u64).prop_map(Step::Wait),
        10 => (any::<u8>(), 1..6u64).prop_map(|(what, stream)| Step::Act(what, stream)),
    ]
}

fn write(packet: &ForgedPacket, seq: u64) -> Vec<u8> {
    let mut out = Vec::new();
    Header {
        seq,
        ack: packet.ack,
        go_back: packet.go_back,
    }
    .put(&mut out);
    for frame in &packet.frames {
        match *frame {
            ForgedFrame::Call(stream, is_known) => {
                let mut body = Vec::new();
                put_varint(&mut body, 0);
                let method = match (is_known, stream % 2) {
                    (false, _) => "None",
                    (true, 0) => UNARY,
                    (true, _) => METHOD,
                };
                body.extend_from_slice(&head(method).encode());
                let flags = if stream > 8 { flag::NARROW } else { 0 };
                put_frame(&mut out, stream, kind::CALL | flags, &body);
            }
            ForgedFrame::Message(stream, len, flags) => {
                let flags = [0, flag::MORE, flag::END, flag::MORE][usize::from(flags)];
                put_frame(&mut out, stream, kind::MESSAGE | flags, &vec![0; len]);
            }
            ForgedFrame::Messages(stream, count, len, flags) => {
                let mut row = Vec::new();
                for _ in 0..count {
                    put_bytes(&mut row, &vec![0; len]);
                }
                let flags = [0, flag::END, 0, flag::MORE][usize::from(flags)];
                put_frame(&mut out, stream, kind::ROW | flags, &row);
            }
            ForgedFrame::Plain(stream, kind) => put_frame(&mut out, stream, kind, b""),
            ForgedFrame::Status(stream, kind, code) => {
                let status = Status::new(crate::Code::from_number(code.into()), "");
                put_frame(&mut out, stream, kind, &encode_status(&status, 500));
            }
            ForgedFrame::Number(stream, kind, number) => {
                put_number_frame(&mut out, stream, kind, number);
            }
        }
    }
    out
}

fn act(session: &mut Session, what: u8, stream: u64) {
    let stream = session.id(stream);
    let message = vec![0; usize::from(what) * 40].into();
    match what % 11 {
        0 => drop(session.open_call(head(UNARY), true, None)),
        1 | 2 => drop(session.send_message(stream, message, what > 200)),
        3 => session.finish(stream),
        4 => drop(session.send_headers(stream, &Metadata::new())),
        5 => session.send_status(stream, Err(&Status::aborted(""))),
        6 => session.reset(stream, &Status::cancelled("")),
        7 => session.consume(
            stream,
            Tally {
                messages: 1,
                cost: u64::from(what) * 100,
                largest: 0,
            },
        ),
        8 if what > 240 => session.go_away(),
        9 => session.set_packet_window(u32::from(what) % 20),
        _ => drop(session.open_call(head(METHOD), false, None)),
    }
}

/// Feeds a peer's packets to an open session, which has to stay within its limits.
fn endure(side: usize, steps: &[Step]) {
    let config = Config {
        packet_window: 4,
        stream_window: 8192,
        max_message: 20_000,
        max_packet: 60_000,
        max_streams: 3,
        send_buffer: 10_000,
        ..Config::default()
    };
    let network = Network::both(config);
    let mut now: Instant = network.now;
    let mut session = network.sides.into_iter().nth(side).unwrap();
    let mut seq = 0;
    let mut streams = std::collections::BTreeMap::new();
    let mut is_over = false;
    for step in steps {
        match step {
            Step::Numbered(packet) => {
                let this = (seq as i64 + 1 + packet.ahead).max(1) as u64;
                seq = seq.max(if packet.ahead == 0 { this } else { seq });
                session.hear(now, write(packet, this));
            }
            Step::Bare(packet) => session.hear(now, write(packet, 0)),
            Step::Bytes(bytes) => session.hear(now, bytes.clone()),
            Step::Wait(ms) => now += Duration::from_millis(*ms),
            Step::Act(what, stream) => act(&mut session, *what, *stream),
        }
        session.handle_timeout(now);
        let mut packets = 0;
        while session.poll_transmit(now).is_some() {
            packets += 1;
            assert!(packets < 100, "it never stops sending");
        }
        if let Some(at) = session.poll_timeout() {
            assert!(at > now);
        }
        while let Some(event) = session.poll_event() {
            assert!(!is_over, "{event:?} after the end");
            match event {
                Event::Call { stream, .. } => {
                    assert!(streams.insert(stream, false).is_none());
                }
                Event::Finished { stream, .. } => {
                    let before = streams.insert(stream, true);
                    assert_ne!(before, Some(true), "finished twice");
                }
                Event::Message { stream, message } => {
                    assert_ne!(streams.get(&stream), Some(&true));
                    assert!(message.len() <= 20_000);
                }
                Event::Row { stream, row } => {
                    assert_ne!(streams.get(&stream), Some(&true));
                    assert!(row.tally().messages >= 2 && row.tally().largest <= 20_000);
                }
                Event::Closed(_) => is_over = true,
                _ => {}
            }
        }
        check(&session);
        assert_eq!(session.is_closed(), is_over);
    }
}

proptest! {
    #[test]
    fn a_service_endures_any_client(steps in proptest::collection::vec(step(), 1..60)) {
        endure(SERVER, &steps);
    }

    #[test]
    fn a_client_endures_any_service(steps in proptest::collection::vec(step(), 1..60)) {
        endure(CLIENT, &steps);
    }
}

/// Returns well-formed frames that violate the protocol and so end a session.
#[test]
fn violations() {
    let numbered = |frames| ForgedPacket {
        ahead: 0,
        ack: 0,
        go_back: false,
        frames,
    };
    let cases = [
        (SERVER, numbered(vec![ForgedFrame::Message(1, 1, 0)])),
        (
            SERVER,
            numbered(vec![ForgedFrame::Call(2, true), ForgedFrame::Call(2, true)]),
        ),
        (
            SERVER,
            numbered(vec![ForgedFrame::Call(2, true), ForgedFrame::Call(1, true)]),
        ),
        (
            SERVER,
            numbered((1..5).map(|i| ForgedFrame::Call(i, true)).collect()),
        ),
        (
            SERVER,
            numbered(vec![
                ForgedFrame::Call(1, true),
                ForgedFrame::Message(1, 8161, 0),
            ]),
        ),
        (
            SERVER,
            numbered(vec![
                ForgedFrame::Call(1, true),
                ForgedFrame::Plain(1, kind::HEADERS),
            ]),
        ),
        (
            SERVER,
            numbered(vec![
                ForgedFrame::Call(1, true),
                ForgedFrame::Status(1, kind::STATUS, 0),
            ]),
        ),
        (
            SERVER,
            numbered(vec![
                ForgedFrame::Call(1, true),
                ForgedFrame::Message(1, 1, 2),
                ForgedFrame::Plain(1, kind::END),
            ]),
        ),
        (
            SERVER,
            numbered(vec![
                ForgedFrame::Call(1, true),
                ForgedFrame::Message(1, 1, 1),
                ForgedFrame::Plain(1, kind::END),
            ]),
        ),
        // Beyond the window.
        (
            SERVER,
            numbered(vec![
                ForgedFrame::Call(1, true),
                ForgedFrame::Messages(1, 81, 101, 0),
            ]),
        ),
        (
            SERVER,
            numbered(vec![
                ForgedFrame::Call(1, true),
                ForgedFrame::Messages(1, 1, 1, 0),
            ]),
        ),
        // Within another message, and after the end.
        (
            SERVER,
            numbered(vec![
                ForgedFrame::Call(1, true),
                ForgedFrame::Message(1, 1, 1),
                ForgedFrame::Messages(1, 2, 1, 0),
            ]),
        ),
        (
            SERVER,
            numbered(vec![
                ForgedFrame::Call(1, true),
                ForgedFrame::Messages(1, 2, 1, 1),
                ForgedFrame::Messages(1, 2, 1, 0),
            ]),
        ),
        (
            SERVER,
            numbered(vec![ForgedFrame::Number(0, kind::GO_AWAY, 1)]),
        ),
        (
            SERVER,
            numbered(vec![ForgedFrame::Number(0, kind::WINDOW, 0)]),
        ),
        (CLIENT, numbered(vec![ForgedFrame::Call(1, true)])),
        (CLIENT, numbered(vec![ForgedFrame::Message(1, 1, 0)])),
        (
            CLIENT,
            ForgedPacket {
                ack: 1,
                ..numbered(vec![])
            },
        ),
    ];
    for (side, packet) in cases {
        let network = Network::both(Config {
            stream_window: 8192,
            max_streams: 3,
            ..Config::default()
        });
        let now = network.now;
        let mut session = network.sides.into_iter().nth(side).unwrap();
        session.hear(now, write(&packet, 1));
        assert!(session.is_closed(), "{packet:?}");
    }
}

/// Ended streams cannot keep a service busy beyond the credit they had.
#[test]
fn late_messages_have_a_bound() {
    let network = Network::both(Config {
        stream_window: 8192,
        ..Config::default()
    });
    let now = network.now;
    let mut session = network.sides.into_iter().nth(SERVER).unwrap();
    let mut seq = 0;
    let mut hear = |session: &mut Session, frames| {
        seq += 1;
        let packet = ForgedPacket {
            ahead: 0,
            ack: 0,
            go_back: false,
            frames,
        };
        session.hear(now, write(&packet, seq));
        while session.poll_transmit(now).is_some() {}
    };
    hear(&mut session, vec![ForgedFrame::Call(1, false)]);
    assert_eq!(session.open_streams(), 0);
    hear(&mut session, vec![ForgedFrame::Message(1, 4000, 0)]);
    hear(&mut session, vec![ForgedFrame::Message(1, 4000, 0)]);
    assert!(!session.is_closed());
    hear(&mut session, vec![ForgedFrame::Message(1, 4000, 0)]);
    assert!(session.is_closed());
}

/// Every stream gets a copy of the status.
#[test]
fn the_status_of_a_close_has_a_bound() {
    let mut network = Network::both(Config::default());
    let now = network.now;
    let client = &mut network.sides[CLIENT];
    client.open_call(head(METHOD), false, None).unwrap();
    let status = Status::aborted("ä".repeat(50_000)).with_detail(&"x".repeat(50_000));
    let mut packet = Vec::new();
    Header::BARE.put(&mut packet);
    put_frame(
        &mut packet,
        0,
        kind::CLOSE,
        &encode_status(&status, 500_000),
    );
    client.hear(now, packet);
    let Some(Event::Finished { outcome, .. }) = client.poll_event() else {
        panic!()
    };
    let status = outcome.unwrap_err();
    assert_eq!(status.code(), crate::Code::Aborted);
    assert_eq!(status.message().len(), 1024);
    assert!(status.details().is_empty());
}

/// Pending answers do not slow down the end of other calls.
#[test]
fn many_refused_calls_that_are_reset() {
    let network = Network::both(Config::default());
    let now = network.now;
    let mut session = network.sides.into_iter().nth(SERVER).unwrap();
    let calls = |ids: std::ops::Range<u64>, reset: bool| {
        ids.flat_map(|id| {
            let reset = reset.then_some(ForgedFrame::Status(id, kind::RESET, 1));
            [Some(ForgedFrame::Call(id, false)), reset]
                .into_iter()
                .flatten()
        })
        .collect()
    };
    let packet = |frames| ForgedPacket {
        ahead: 0,
        ack: 0,
        go_back: false,
        frames,
    };
    session.hear(now, write(&packet(calls(1..1024, false)), 1));
    check(&session);
    for seq in 2..5 {
        let first = seq * 1024;
        let packet = packet(calls(first..first + 1024, true));
        session.hear(now, write(&packet, seq));
        check(&session);
    }
    assert_eq!(session.open_streams(), 1023);
}

/// A packet after a lost one also proves that the handshake is complete.
#[test]
fn a_packet_after_a_gap_is_a_sign_of_life() {
    let config = Config::default();
    let mut network = Network::new([config.clone(), config], 1);
    let now = network.now;
    let open = network.sides[CLIENT].poll_transmit(now).unwrap();
    let service = &mut network.sides[SERVER];
    service.handle_packet(now, &open.packet);
    let packet = ForgedPacket {
        ahead: 0,
        ack: 0,
        go_back: false,
        frames: vec![ForgedFrame::Call(1, true)],
    };
    service.hear(now, write(&packet, 2));
    service.handle_timeout(now + Duration::from_secs(6));
    assert!(!service.is_closed());
}

/// A few bytes cannot repeatedly trigger resending everything.
#[test]
fn going_back_packet_by_packet() {
    let mut network = Network::both(Config {
        max_packet: 32 * 1024,
        ..Config::default()
    });
    network.sides[CLIENT]
        .open_call(head(METHOD), false, None)
        .unwrap();
    network.run_ms(50);
    let now = network.now;
    let service = &mut network.sides[SERVER];
    let message = vec![0; 200_000].into();
    service.send_message(service.id(1), message, true).unwrap();
    let mut sent = 0;
    let mut transmit = |service: &mut Session| {
        while let Some(transmit) = service.poll_transmit(now) {
            sent += transmit.packet.len();
        }
        sent
    };
    transmit(service);
    let last = service.last_sent();
    assert!(last > 5);
    for ack in 0..last {
        let header = Header {
            seq: 0,
            ack,
            go_back: true,
        };
        let mut packet = Vec::new();
        header.put(&mut packet);
        service.hear(now, packet);
        transmit(service);
    }
    assert!(transmit(service) < 500_000, "{sent} bytes");
}
