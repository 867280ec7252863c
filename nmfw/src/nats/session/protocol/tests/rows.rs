//! Tests of messages that are sent together, and of splitting them.

use bytes::Bytes;

use super::{
    network::{CLIENT, Network, SERVER},
    scenarios::{call, told},
};
use crate::{
    Code,
    nats::session::protocol::{Config, Event, SendError, StreamId},
};
use nmfw_core::call::body::chunk::{Row, Tally};

/// Returns the received messages of a request stream, and their cost.
fn arrived(network: &mut Network) -> (Vec<Bytes>, Tally) {
    let (mut messages, mut tally) = (Vec::new(), Tally::default());
    for event in network.take(SERVER) {
        match event {
            Event::Message { message, .. } => {
                tally.add(Tally::of(message.len()));
                messages.push(message);
            }
            Event::Row { row, .. } => {
                tally.add(row.tally());
                messages.extend(row.messages());
            }
            other => panic!("{other:?}"),
        }
    }
    (messages, tally)
}

fn send(network: &mut Network, id: StreamId, messages: &[Bytes]) {
    let row = Row::of(messages).into();
    network.sides[CLIENT].send(id, row, false).unwrap();
}

#[test]
fn a_row_stays_together_and_can_be_the_last() {
    let mut network = Network::both(Config::default());
    let id = call(&mut network);
    for side in [CLIENT, SERVER] {
        let row = Row::of(&["a", "", "b"]).into();
        network.sides[side].send(id, row, true).unwrap();
        network.run_ms(5);
    }
    assert_eq!(told(&mut network, SERVER), ["1 row a,,b", "1 end"]);
    assert_eq!(told(&mut network, CLIENT), ["1 row a,,b", "1 OK 0"]);
}

#[test]
fn a_row_is_parted_by_packets() {
    let mut network = Network::both(Config {
        max_packet: 1024,
        ..Config::default()
    });
    let id = call(&mut network);
    // One of them does not fit into a packet alone.
    let messages: Vec<_> = [5, 400, 300, 400, 0, 3000, 7, 990, 8, 9]
        .map(|len| Bytes::from(vec![len as u8; len]))
        .into();
    send(&mut network, id, &messages);
    network.run_ms(50);
    assert_eq!(arrived(&mut network).0, messages);
}

#[test]
fn a_row_is_parted_by_the_window() {
    let mut network = Network::both(Config {
        stream_window: 4096,
        ..Config::default()
    });
    let id = call(&mut network);
    let messages: Vec<_> = (0..100_u8).map(|i| Bytes::from(vec![i; 100])).collect();
    send(&mut network, id, &messages);
    let mut got = Vec::new();
    while got.len() < messages.len() {
        network.run_ms(50);
        let (come, tally) = arrived(&mut network);
        assert!(!come.is_empty(), "stuck after {}", got.len());
        assert!(tally.cost <= 4096);
        got.extend(come);
        network.sides[SERVER].consume(id, tally);
    }
    assert_eq!(got, messages);
}

/// The preceding messages are sent as if they had been separate.
#[test]
fn one_that_is_too_large_in_a_row_ends_the_stream_there() {
    let mut network = Network::both(Config {
        max_message: 1000,
        ..Config::default()
    });
    let id = call(&mut network);
    let messages = [10, 20, 1001, 30].map(|len| Bytes::from(vec![b'x'; len]));
    let refused = network.sides[SERVER].send(id, Row::of(&messages).into(), true);
    let Err(SendError::TooLarge(status)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("1001"), "{status}");
    network.run_ms(5);
    let row = format!("1 row {},{}", "x".repeat(10), "x".repeat(20));
    assert_eq!(
        told(&mut network, CLIENT),
        [row.as_str(), "1 RESOURCE_EXHAUSTED"]
    );
}
