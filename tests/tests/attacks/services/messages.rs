//! Requests in base mode with headers and bodies that no honest client sends.

use std::{fmt::Write as _, io, time::Duration};

use nmfw::prost::Message as _;
use nmfw_tests::{puppet::SleepRequest, streams::Item};

use crate::{
    measure::{Attack, attack},
    stage::Target,
    wire::Peer,
};

pub(super) const ATTACKS: &[Attack] = &[
    attack("header-names", header_names).short(),
    attack("header-value", header_value),
    attack("header-order", header_order),
    attack("header-nmfw", header_nmfw).short(),
    attack("header-bytes", header_bytes),
    attack("header-escapes", header_escapes),
    attack("body-garbage", body_garbage),
    attack("body-deep", body_deep),
    attack("body-length", body_length),
    attack("body-large", body_large),
    attack("calls", calls),
    attack("calls-slow", calls_slow),
    attack("calls-late", calls_late),
];

/// Returns a valid body for `Echo`.
fn item(size: usize) -> Vec<u8> {
    let padding = vec![7; size];
    Item { number: 0, padding }.encode_to_vec()
}

/// Sends the requests to `Echo` in turn until the attack is over.
fn flood(peer: &Peer, target: &Target, requests: &[(Vec<u8>, Vec<u8>)]) -> io::Result<()> {
    let (subject, reply) = (
        format!("{}.Echo", target.streams),
        format!("{}.r", peer.inbox),
    );
    for (headers, body) in requests.iter().cycle() {
        if !peer.goes_on() {
            break;
        }
        peer.publish_with(&subject, &reply, headers, body)?;
        peer.drain();
    }
    Ok(())
}

fn with_headers(lines: &str) -> (Vec<u8>, Vec<u8>) {
    (format!("NATS/1.0\r\n{lines}\r\n").into_bytes(), item(10))
}

fn header_names(peer: &Peer, target: &Target) -> io::Result<()> {
    let mut lines = String::new();
    for name in 0..50_000 {
        _ = write!(lines, "n{name}: v\r\n");
    }
    flood(peer, target, &[with_headers(&lines)])
}

fn header_value(peer: &Peer, target: &Target) -> io::Result<()> {
    let value = "v".repeat(1_000_000);
    flood(peer, target, &[with_headers(&format!("name: {value}\r\n"))])
}

fn header_order(peer: &Peer, target: &Target) -> io::Result<()> {
    let names = "a,B,".repeat(100_000);
    let lines = format!("Nmfw: 1;t=1000;m={names}\r\na: 1\r\nB: 2\r\n");
    flood(peer, target, &[with_headers(&lines)])
}

fn header_nmfw(peer: &Peer, target: &Target) -> io::Result<()> {
    let values = [
        "",
        ";",
        "x",
        "1;t",
        "1;t=-1",
        "1;t=99999999999999999999999",
        "2",
        "1;e=z",
        "1;v=\u{7f}",
        "1;m=,,,,",
        "1;t=1;t=2;t=3",
    ];
    let requests: Vec<_> = values
        .iter()
        .map(|value| with_headers(&format!("Nmfw: {value}\r\n")))
        .chain([
            with_headers("Nmfw: 1\r\nNmfw: 2\r\nnmfw: 3\r\n"),
            with_headers("Nmfw-Deadline: tomorrow\r\n"),
            with_headers("Content-Type: text/html\r\n"),
            with_headers("traceparent: 00-0-0-0\r\n"),
        ])
        .collect();
    flood(peer, target, &requests)
}

/// Sends headers that async-nats can read: see "What is not stopped" in the page.
fn header_bytes(peer: &Peer, target: &Target) -> io::Result<()> {
    let heads: [&[u8]; 7] = [
        b"NATS/1.0",
        b"NATS/1.0\r\n",
        b"NATS/1.0 503 No Responders\r\n\r\n",
        b"NATS/1.0\r\n\r\n\r\nkey:value without an end",
        b"NATS/1.0\r\nfolded: two\r\n lines\r\n\r\n",
        b"NATS/1.0\r\n: no name\r\n\r\n",
        b"NATS/1.0\r\nkey: nul\0\r\n\r\n",
    ];
    let requests: Vec<_> = heads.iter().map(|head| (head.to_vec(), item(1))).collect();
    flood(peer, target, &requests)
}

/// Sends escape sequences that would act on a terminal which displays a log.
fn header_escapes(peer: &Peer, target: &Target) -> io::Result<()> {
    let text = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{1b}[31m";
    let requests = [
        with_headers(&format!("Nmfw: 1;v={text}\r\n")),
        with_headers(&format!("Nmfw-Client-Version: {text}\r\n")),
        with_headers(&format!("Nmfw-Version: {text}\r\n")),
        with_headers(&format!("Nmfw-Deadline: {text}\r\n")),
        with_headers(&format!("Content-Type: {text}\r\n")),
        with_headers(&format!("name: {text}\r\n")),
    ];
    flood(peer, target, &requests)
}

fn body_garbage(peer: &Peer, target: &Target) -> io::Result<()> {
    let bodies = [
        vec![0xff; 300],
        vec![0; 300],
        b"{\"json\": true}".to_vec(),
        vec![0x0a],
    ];
    let requests = bodies.map(|body| (Vec::new(), body));
    flood(peer, target, &requests)
}

/// Sends nested groups, with which a parser without a limit overflows its stack.
fn body_deep(peer: &Peer, target: &Target) -> io::Result<()> {
    flood(peer, target, &[(Vec::new(), vec![0x0b; 100_000])])
}

/// Sends a field that claims a length of two GiB.
fn body_length(peer: &Peer, target: &Target) -> io::Result<()> {
    let body = vec![0x12, 0xff, 0xff, 0xff, 0xff, 0x07, 1, 2, 3];
    flood(peer, target, &[(Vec::new(), body)])
}

fn body_large(peer: &Peer, target: &Target) -> io::Result<()> {
    flood(peer, target, &[(Vec::new(), item(1_000_000))])
}

fn calls(peer: &Peer, target: &Target) -> io::Result<()> {
    flood(peer, target, &[(Vec::new(), item(10))])
}

/// Makes valid calls that keep their slots.
fn calls_slow(peer: &Peer, target: &Target) -> io::Result<()> {
    let (subject, reply) = (
        format!("{}.Sleep", target.puppet),
        format!("{}.r", peer.inbox),
    );
    let headers = b"NATS/1.0\r\nNmfw: 1;t=30000\r\n\r\n";
    let body = SleepRequest { millis: 5_000 }.encode_to_vec();
    while peer.goes_on() {
        for _ in 0..200 {
            peer.publish_with(&subject, &reply, headers, &body)?;
        }
        peer.drain();
        peer.rest(Duration::from_millis(20))?;
    }
    Ok(())
}

/// Makes calls without time left, and calls that end while they are queued.
fn calls_late(peer: &Peer, target: &Target) -> io::Result<()> {
    let requests = ["0", "1"].map(|left| with_headers(&format!("Nmfw: 1;t={left}\r\n")));
    flood(peer, target, &requests)
}
