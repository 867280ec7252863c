//! Attacks of a client in its own session: it keeps slots, repeats packets, and reads nothing.

use std::{io, time::Duration};

use nmfw::prost::Message as _;
use nmfw_tests::{
    packets::{call, first_kind, frame, kind},
    puppet::SleepRequest,
    streams::{CountRequest, Item},
};

use crate::{
    measure::{Attack, attack},
    session::{END, MORE, Session, call_with_metadata, ping, reset, seq_of, window},
    stage::Target,
    wire::Peer,
};

pub(super) const ATTACKS: &[Attack] = &[
    attack("call-silent", call_silent),
    attack("call-metadata", call_metadata).short(),
    attack("call-escapes", call_escapes),
    attack("call-unknown", call_unknown),
    attack("call-slow", call_slow),
    attack("message-unfinished", message_unfinished),
    attack("message-late", message_late),
    attack("answers-untaken", answers_untaken)
        .answered()
        .short(),
    attack("go-back", go_back).short(),
    attack("rapid-reset", rapid_reset).short(),
    attack("window-games", window_games),
    attack("packets-repeated", packets_repeated),
];

/// Acts in a session until it ends or `act` is done with it, and then in another one.
fn sessions(
    peer: &Peer,
    base: &str,
    act: &dyn Fn(&mut Session, u64) -> io::Result<bool>,
) -> io::Result<()> {
    while let Some(mut session) = Session::opened(peer, base)? {
        let mut ack = 0;
        'session: while peer.goes_on() {
            if !act(&mut session, ack)? {
                break;
            }
            while let Some(message) = peer.next(Duration::ZERO)? {
                if message.subject != session.inbox {
                    continue;
                }
                ack = ack.max(seq_of(message.body()));
                if first_kind(message.body()) == Some(kind::CLOSE) {
                    break 'session;
                }
            }
        }
    }
    Ok(())
}

fn item(size: usize) -> Vec<u8> {
    let padding = vec![7; size];
    Item { number: 0, padding }.encode_to_vec()
}

fn echo(stream: u64, size: usize) -> [Vec<u8>; 2] {
    [
        call(stream, "Echo"),
        frame(stream, kind::MSG | END, &item(size)),
    ]
}

/// Makes the maximum number of calls of a session, without messages, in one session after another.
fn call_silent(peer: &Peer, target: &Target) -> io::Result<()> {
    sessions(peer, target.streams, &|session, ack| {
        let frames: Vec<_> = (0..500).map(|_| call(session.stream(), "Echo")).collect();
        session.send(peer, ack, &frames)?;
        peer.rest(Duration::from_millis(5))?;
        Ok(session.stream() < 1_000)
    })
}

/// Makes the maximum number of calls of a session, with a megabyte of metadata each.
fn call_metadata(peer: &Peer, target: &Target) -> io::Result<()> {
    let value = "v".repeat(7_000);
    let pairs: Vec<_> = (0..140).map(|_| ("name", value.as_str())).collect();
    sessions(peer, target.streams, &|session, ack| {
        let call = call_with_metadata(session.stream(), "Echo", &pairs);
        session.send(peer, ack, &[call])?;
        peer.rest(Duration::from_millis(1))?;
        Ok(session.stream() < 2_000)
    })
}

/// Sends sequences that act on a terminal, in every text field.
fn call_escapes(peer: &Peer, target: &Target) -> io::Result<()> {
    let text = "\u{1b}]0;owned\u{7}\u{1b}[2J\r\n";
    sessions(peer, target.streams, &|session, ack| {
        let status = [&[2, 1, 22], text.as_bytes(), text.as_bytes()].concat();
        let frames = [
            call(session.stream(), text),
            call_with_metadata(session.stream(), "Echo", &[(text, text)]),
            call(session.stream(), "Chat"),
        ];
        session.send(peer, ack, &frames)?;
        let stream = session.stream() - 1;
        session.send(peer, ack, &[frame(stream, kind::RESET, &status)])?;
        session.bare(peer, ack, &[frame(0, kind::CLOSE, &status)])?;
        Ok(false)
    })
}

fn call_unknown(peer: &Peer, target: &Target) -> io::Result<()> {
    sessions(peer, target.streams, &|session, ack| {
        let frames: Vec<_> = (0..200)
            .map(|n| call(session.stream(), &format!("Unknown{n}")))
            .collect();
        session.send(peer, ack, &frames)?;
        Ok(true)
    })
}

/// Makes valid calls that keep their slots.
fn call_slow(peer: &Peer, target: &Target) -> io::Result<()> {
    let request = SleepRequest { millis: 5_000 }.encode_to_vec();
    sessions(peer, target.puppet, &|session, ack| {
        let frames: Vec<_> = (0..200)
            .flat_map(|_| {
                let stream = session.stream();
                [
                    call(stream, "Sleep"),
                    frame(stream, kind::MSG | END, &request),
                ]
            })
            .collect();
        session.send(peer, ack, &frames)?;
        peer.rest(Duration::from_millis(20))?;
        Ok(session.stream() < 1_000)
    })
}

/// Sends only the beginnings of messages.
fn message_unfinished(peer: &Peer, target: &Target) -> io::Result<()> {
    sessions(peer, target.streams, &|session, ack| {
        let stream = session.stream();
        let part = frame(stream, kind::MSG | MORE, &vec![0x12; 200_000]);
        session.send(peer, ack, &[call(stream, "Echo"), part])?;
        peer.rest(Duration::from_millis(1))?;
        Ok(stream < 1_000)
    })
}

/// Sends a message byte by byte, with pauses.
fn message_late(peer: &Peer, target: &Target) -> io::Result<()> {
    sessions(peer, target.streams, &|session, ack| {
        let streams: Vec<_> = (0..200).map(|_| session.stream()).collect();
        let calls: Vec<_> = streams.iter().map(|stream| call(*stream, "Echo")).collect();
        session.send(peer, ack, &calls)?;
        while peer.goes_on() {
            let parts: Vec<_> = streams
                .iter()
                .map(|stream| frame(*stream, kind::MSG | MORE, &[0x12]))
                .collect();
            session.send(peer, ack, &parts)?;
            peer.rest(Duration::from_millis(20))?;
        }
        Ok(false)
    })
}

/// Requests streams of a gigabyte each, and acknowledges no packet.
fn answers_untaken(peer: &Peer, target: &Target) -> io::Result<()> {
    let request = CountRequest {
        to: 100_000,
        size: 10_000,
        ..CountRequest::default()
    };
    let request = request.encode_to_vec();
    sessions(peer, target.streams, &|session, _| {
        let mut frames = Vec::new();
        for _ in 0..100 {
            let stream = session.stream();
            frames.push(call(stream, "Count"));
            frames.push(frame(stream, kind::MSG | END, &request));
        }
        session.send(peer, 0, &frames)?;
        peer.rest(Duration::from_millis(100))?;
        Ok(false)
    })
}

/// Makes the service resend the same answers repeatedly.
fn go_back(peer: &Peer, target: &Target) -> io::Result<()> {
    sessions(peer, target.streams, &|session, _| {
        if session.stream() == 1 {
            for _ in 0..20 {
                let stream = session.stream();
                session.send(peer, 0, &echo(stream, 50_000))?;
            }
        }
        for _ in 0..100 {
            session.go_back(peer, 0)?;
        }
        peer.rest(Duration::from_millis(5))?;
        Ok(true)
    })
}

fn rapid_reset(peer: &Peer, target: &Target) -> io::Result<()> {
    sessions(peer, target.streams, &|session, ack| {
        let frames: Vec<_> = (0..100)
            .flat_map(|_| {
                let stream = session.stream();
                let [call, message] = echo(stream, 10);
                [call, message, reset(stream)]
            })
            .collect();
        session.send(peer, ack, &frames)?;
        Ok(true)
    })
}

/// Grants unlimited credit and no credit in turn.
fn window_games(peer: &Peer, target: &Target) -> io::Result<()> {
    sessions(peer, target.streams, &|session, ack| {
        let stream = session.stream();
        let request = CountRequest {
            to: 100,
            size: 10,
            ..CountRequest::default()
        };
        let mut frames = vec![
            call(stream, "Count"),
            frame(stream, kind::MSG | END, &request.encode_to_vec()),
        ];
        for round in 0..50 {
            let credit = if round % 2 == 0 { 0 } else { 1 << 62 };
            frames.push(window(stream, credit));
            frames.push(window(0, credit));
        }
        session.send(peer, ack, &frames)?;
        session.bare(peer, ack, &[ping()])?;
        Ok(true)
    })
}

/// Repeats a processed packet.
fn packets_repeated(peer: &Peer, target: &Target) -> io::Result<()> {
    sessions(peer, target.streams, &|session, ack| {
        let stream = session.stream();
        let frames = echo(stream, 10);
        session.send(peer, ack, &frames)?;
        for _ in 0..100 {
            session.repeat(peer, &frames)?;
        }
        Ok(true)
    })
}
