//! Answers in base mode that no honest service gives. Sessions are refused, so that all calls use
//! base mode or fail.

use std::{fmt::Write as _, io, time::Duration};

use nmfw::prost::Message as _;
use nmfw_tests::streams::Item;

use crate::{
    measure::{Attack, attack},
    stage::{HOSTILE, Target},
    wire::{Message, Peer},
};

pub(super) const ATTACKS: &[Attack] = &[
    attack("answer-not-started", |peer, _| {
        each(peer, &|peer, reply, _| peer.publish_with(reply, "", NOT_STARTED, b""))
    })
    .short(),
    attack("answer-exhausted", |peer, _| {
        each(peer, &|peer, reply, _| peer.publish_with(reply, "", EXHAUSTED, b""))
    }),
    attack("answer-never", |peer, _| each(peer, &|_, _, _| Ok(()))),
    attack("answer-twice", |peer, _| {
        let body = item(10);
        each(peer, &|peer, reply, _| {
            for _ in 0..1_000 {
                peer.publish(reply, "", &body)?;
            }
            Ok(())
        })
    }),
    attack("answer-huge", |peer, _| {
        let body = item(1_000_000);
        each(peer, &|peer, reply, _| {
            for _ in 0..20 {
                peer.publish(reply, "", &body)?;
            }
            Ok(())
        })
    }),
    attack("answer-malformed", answer_malformed).short(),
    attack("answer-text", |peer, _| {
        let text = "\u{1b}]0;owned\u{7}\u{1b}[2J".repeat(50_000);
        let headers = format!("NATS/1.0\r\nNmfw-Status: 13\r\nNats-Service-Error: {text}\r\nNats-Service-Error-Code: 13\r\n\r\n");
        each(peer, &|peer, reply, _| peer.publish_with(reply, "", headers.as_bytes(), b""))
    })
    .short(),
    attack("answer-headers", |peer, _| {
        let mut headers = "NATS/1.0\r\n".to_owned();
        for name in 0..50_000 {
            _ = write!(headers, "n{name}: v\r\n");
        }
        headers.push_str("\r\n");
        let body = item(10);
        each(peer, &|peer, reply, _| peer.publish_with(reply, "", headers.as_bytes(), &body))
    }),
    attack("answer-others", answer_others),
    attack("answer-flood", answer_flood),
    attack("answer-acks", |peer, _| {
        let ack = br#"{"stream":"S","seq":1}"#;
        each(peer, &|peer, reply, _| {
            for _ in 0..1_000 {
                peer.publish(reply, "", ack)?;
            }
            Ok(())
        })
    }),
    attack("discovery-answers", discovery_answers),
];

const NOT_STARTED: &[u8] =
    b"NATS/1.0\r\nNmfw-Status: 14;not-started\r\nNats-Service-Error: no\r\nNats-Service-Error-Code: 14\r\n\r\n";

const EXHAUSTED: &[u8] =
    b"NATS/1.0\r\nNmfw-Status: 8;not-started\r\nNats-Service-Error: no\r\nNats-Service-Error-Code: 8\r\n\r\n";

fn item(size: usize) -> Vec<u8> {
    let padding = vec![7; size];
    Item { number: 0, padding }.encode_to_vec()
}

/// Answers each request with `answer`.
fn each(peer: &Peer, answer: &dyn Fn(&Peer, &str, &Message) -> io::Result<()>) -> io::Result<()> {
    for subject in ["Echo", "Count", "Sum", "Chat", "_open"] {
        peer.queue_subscribe(&format!("{HOSTILE}.{subject}"))?;
    }
    while peer.goes_on() {
        if let Some(request) = peer.next(Duration::from_millis(10))?
            && let Some(reply) = &request.reply
        {
            answer(peer, reply, &request)?;
        }
    }
    Ok(())
}

fn answer_malformed(peer: &Peer, _: &Target) -> io::Result<()> {
    let answers: [(&[u8], &[u8]); 9] = [
        (b"", &[0xff; 100]),
        (b"", &[0x0b; 100_000]),
        (b"NATS/1.0\r\nNmfw-Status: x\r\n\r\n", b""),
        (b"NATS/1.0\r\nNmfw-Status: 0\r\n\r\n", b""),
        (
            b"NATS/1.0\r\nNmfw-Status: 99999999999999999999;;;\r\n\r\n",
            &[0xff; 100],
        ),
        (
            b"NATS/1.0\r\nNats-Service-Error-Code: 99999999999999\r\n\r\n",
            b"",
        ),
        (
            b"NATS/1.0\r\nNmfw: 7;m=,,,\r\nNmfw: 1\r\n\r\n",
            &[0x12, 0xff],
        ),
        (b"NATS/1.0\r\nx-bin: ???\r\n\r\n", b""),
        (b"NATS/1.0 503 No Responders\r\n\r\n", b""),
    ];
    let next = std::cell::Cell::new(0);
    each(peer, &|peer, reply, _| {
        let (headers, body) = answers[next.get() % answers.len()];
        next.set(next.get() + 1);
        peer.publish_with(reply, "", headers, body)
    })
}

/// Answers calls of others, whose inboxes are next to an inbox that it has received.
fn answer_others(peer: &Peer, _: &Target) -> io::Result<()> {
    let body = item(10);
    each(peer, &|peer, reply, _| {
        let Some((inbox, token)) = reply.rsplit_once('.') else {
            return Ok(());
        };
        for n in 0..200_u64 {
            peer.publish(&format!("{inbox}.{n}"), "", &body)?;
            let number = token.parse::<u64>().unwrap_or(0);
            peer.publish(&format!("{inbox}.{}", number.wrapping_add(n)), "", &body)?;
            peer.publish(&format!("{inbox}.s.{n}"), "", &body)?;
        }
        Ok(())
    })
}

/// Sends arbitrary messages at full speed to an inbox that it has received once.
fn answer_flood(peer: &Peer, _: &Target) -> io::Result<()> {
    peer.queue_subscribe(&format!("{HOSTILE}.Echo"))?;
    let (body, mut inbox) = (item(100), None);
    while peer.goes_on() {
        let limit = if inbox.is_none() {
            Duration::from_millis(10)
        } else {
            Duration::ZERO
        };
        if let Some(request) = peer.next(limit)? {
            inbox = request.reply;
        }
        if let Some(reply) = &inbox {
            for _ in 0..1_000 {
                peer.publish(reply, "", &body)?;
            }
        }
    }
    Ok(())
}

/// Shows thousands of instances to a client that waits for one.
fn discovery_answers(peer: &Peer, _: &Target) -> io::Result<()> {
    let name = HOSTILE.replace('.', "-");
    for name in ["", &format!(".{name}"), ".nmfw-streams"] {
        peer.subscribe(&format!("$SRV.INFO{name}"))?;
    }
    let text = "\u{1b}[31m".repeat(100);
    while peer.goes_on() {
        let Some(request) = peer.next(Duration::from_millis(10))? else {
            continue;
        };
        let Some(reply) = &request.reply else {
            continue;
        };
        for n in 0..2_000 {
            let info = format!(
                r#"{{"type":"io.nats.micro.v1.info_response","name":"other","id":"I{n}","version":"{n}","description":{text:?},"metadata":{{}},"endpoints":[]}}"#
            );
            peer.publish(reply, "", info.as_bytes())?;
        }
    }
    Ok(())
}
