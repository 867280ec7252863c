//! Tests of messages larger than windows, and of the streams that wait because of them.

use std::time::Duration;

use bytes::Bytes;

use super::{
    network::{CLIENT, METHOD, Network, SERVER, UNARY, head},
    scenarios::call,
};
use crate::nats::session::protocol::{Config, Event, StreamId};
use nmfw_core::call::body::chunk::Tally;

/// From the original issue: messages that fit into a window, on a stream that is not read.
const UNREAD: usize = 200 * 1024;

/// Larger than any window.
const LARGE: usize = 5 << 20;

/// Starts a unary call with a request of this size.
fn ask(network: &mut Network, request: usize) -> StreamId {
    let client = &mut network.sides[CLIENT];
    let id = client.open_call(head(UNARY), true, None).unwrap();
    let request = Bytes::from(vec![1; request]);
    client.send_message(id, request, true).unwrap();
    id
}

/// Sends continuously while the other side reads nothing.
fn fill(network: &mut Network, side: usize, stream: StreamId) {
    for _ in 0..20 {
        let message = Bytes::from(vec![2; UNREAD]);
        let _ = network.sides[side].send_message(stream, message, false);
        network.run_ms(5);
    }
    assert!(!network.take(1 - side).is_empty());
}

/// Answers unary calls with `answer` bytes for a while. The drivers take messages at once.
fn serve(network: &mut Network, answer: usize) -> usize {
    let mut served = 0;
    for _ in 0..400 {
        network.run_ms(1);
        for side in [SERVER, CLIENT] {
            for event in network.take(side) {
                let Event::Message { stream, message } = event else {
                    continue;
                };
                network.sides[side].consume(stream, Tally::of(message.len()));
                if side == SERVER {
                    let answer = Bytes::from(vec![3; answer]);
                    let server = &mut network.sides[SERVER];
                    server.send_message(stream, answer, true).unwrap();
                } else {
                    assert_eq!(message.len(), answer);
                    served += 1;
                }
            }
        }
    }
    served
}

/// Numbers of unread streams: one, and as many as reach the limit of owed bytes.
const UNREAD_STREAMS: [usize; 2] = [1, 40];

#[test]
fn large_answers_do_not_wait_for_the_reader_of_a_stream() {
    for unread in UNREAD_STREAMS {
        let mut network = Network::both(Config::default());
        for _ in 0..unread {
            let stream = call(&mut network);
            fill(&mut network, SERVER, stream);
        }
        for _ in 0..3 {
            for _ in 0..4 {
                ask(&mut network, 10);
            }
            assert_eq!(serve(&mut network, LARGE), 4);
        }
    }
}

#[test]
fn large_requests_do_not_wait_for_a_slow_handler_of_a_stream() {
    for unread in UNREAD_STREAMS {
        let mut network = Network::both(Config::default());
        for _ in 0..unread {
            let stream = call(&mut network);
            fill(&mut network, CLIENT, stream);
        }
        for _ in 0..3 {
            for _ in 0..4 {
                ask(&mut network, LARGE);
            }
            assert_eq!(serve(&mut network, 10), 4);
        }
    }
}

/// A stream that is read does not wait for unread ones either, unless these hold more than a
/// session may.
#[test]
fn a_stream_that_is_read_does_not_wait_for_some_that_are_not() {
    for unread in [1, 8] {
        let mut network = Network::both(Config::default());
        for _ in 0..unread {
            let stream = call(&mut network);
            fill(&mut network, SERVER, stream);
        }
        let read = call(&mut network);
        for _ in 0..5 {
            let message = Bytes::from(vec![4; LARGE]);
            let server = &mut network.sides[SERVER];
            server.send_message(read, message, false).unwrap();
            network.run_ms(200);
            let events = network.take(CLIENT);
            let [Event::Message { stream, message }] = &events[..] else {
                panic!("{unread} unread streams hold it up: {events:?}")
            };
            assert_eq!((*stream, message.len()), (read, LARGE));
            network.sides[CLIENT].consume(read, Tally::of(LARGE));
        }
    }
}

/// The memory that a peer can occupy is bounded for any number of unread streams.
#[test]
fn what_is_held_for_readers_has_a_bound() {
    let config = Config {
        max_message: LARGE,
        // The sender should have all messages at once.
        memory: 1 << 30,
        ..Config::default()
    };
    let window = u64::from(config.stream_window);
    let mut network = Network::both(config);
    let streams: Vec<_> = (0..20).map(|_| call(&mut network)).collect();
    for stream in &streams {
        let message = Bytes::from(vec![5; LARGE]);
        let server = &mut network.sides[SERVER];
        server.send_message(*stream, message, false).unwrap();
    }
    network.run_ms(2000);
    // One message arrived, and owes more than the limit: its turn lasts.
    assert_eq!(network.take(CLIENT).len(), 1);
    let client = &network.sides[CLIENT];
    let owes = |debt: u64| debt > 0;
    let debts: Vec<u64> = client
        .streams
        .values()
        .map(|stream| stream.receiving.debt())
        .filter(|debt| owes(*debt))
        .collect();
    assert!(matches!(debts[..], [debt] if debt <= LARGE as u64 && debt > client.most_owed()));
    let held: u64 = client.streams.values().map(|s| s.receiving.held()).sum();
    assert!(held <= 19 * window, "{held}");
    // Each message arrives when the previous one was taken.
    for _ in 1..20 {
        let owing = client_owing(&network);
        network.sides[CLIENT].consume(owing, Tally::of(LARGE));
        network.run_ms(2000);
        assert_eq!(network.take(CLIENT).len(), 1);
    }
}

fn client_owing(network: &Network) -> StreamId {
    let mut streams = network.sides[CLIENT].streams.iter();
    let owing = streams.find(|(_, stream)| stream.receiving.debt() > 0);
    owing.unwrap().0
}

/// An ended stream owes nothing.
#[test]
fn streams_that_end_owe_nothing() {
    for by in [CLIENT, SERVER] {
        let mut network = Network::both(Config::default());
        for _ in 0..3 {
            let streams: Vec<_> = (0..30).map(|_| call(&mut network)).collect();
            for stream in &streams {
                fill_once(&mut network, *stream);
            }
            for stream in streams {
                let status = crate::Status::cancelled("");
                network.sides[by].reset(stream, &status);
            }
            network.run_ms(100);
            assert!(network.sides[CLIENT].is_empty() || by == SERVER);
            network.take(CLIENT);
            network.take(SERVER);
            assert!(
                network
                    .sides
                    .iter()
                    .all(crate::nats::session::protocol::Session::is_empty)
            );
        }
    }
}

fn fill_once(network: &mut Network, stream: StreamId) {
    let server = &mut network.sides[SERVER];
    for _ in 0..2 {
        let message = Bytes::from(vec![6; UNREAD]);
        let _ = server.send_message(stream, message, false);
    }
    network.run_ms(20);
}

/// A peer of an older version with other rules for turns is a normal sender, which uses the credit
/// it has. The same applies if the two sides disagree on the kind of a call.
#[test]
fn sides_need_not_agree_on_what_is_single() {
    let mut network = Network::both(Config::default());
    let client = &mut network.sides[CLIENT];
    let first = client.open_call(head(METHOD), true, None).unwrap();
    let second = client.open_call(head(UNARY), false, None).unwrap();
    for id in [first, second] {
        let message = Bytes::from(vec![1; LARGE]);
        network.sides[CLIENT]
            .send_message(id, message, true)
            .unwrap();
    }
    for _ in 0..2 {
        network.run_ms(500);
        for event in network.take(SERVER) {
            if let Event::Message { stream, message } = event {
                network.sides[SERVER].consume(stream, Tally::of(message.len()));
                let server = &mut network.sides[SERVER];
                server.send_message(stream, message, true).unwrap();
            }
        }
    }
    network.run_ms(1000);
    let answers = network.take(CLIENT);
    let answers = answers
        .iter()
        .filter(|event| matches!(event, Event::Message { .. }));
    assert_eq!(answers.count(), 2);
}

/// The first part of a surplus message reaches the application, which ends the call: the session
/// would never assemble the rest.
#[test]
fn a_second_message_of_a_unary_call_is_seen_at_once() {
    let mut network = Network::both(Config::default());
    let client = &mut network.sides[CLIENT];
    let call = client.open_call(head(UNARY), true, None).unwrap();
    for _ in 0..2 {
        let message = Bytes::from(vec![1; UNREAD]);
        network.sides[CLIENT]
            .send_message(call, message, false)
            .unwrap();
        network.run_ms(500);
        let events = network.take(SERVER);
        let message = events.into_iter().find_map(|event| match event {
            Event::Message { message, .. } => Some(message),
            _ => None,
        });
        let message = message.expect("a part of the message was lost");
        let server = &mut network.sides[SERVER];
        server.consume(call, Tally::of(message.len()));
    }
}

/// Returns the time until all of `calls` concurrent calls are answered, with messages of this size
/// in both directions and a packet delay of 5 ms. The drivers take messages at once.
fn time_of(calls: usize, size: usize) -> Duration {
    let mut network = Network::both(Config::default());
    network.latency = Duration::from_millis(5);
    for _ in 0..calls {
        ask(&mut network, size);
    }
    let begin = network.now;
    let mut answered = 0;
    while answered < calls {
        network.run_ms(1);
        assert!(network.now - begin < Duration::from_secs(20), "{answered}");
        for side in [SERVER, CLIENT] {
            for event in network.take(side) {
                let Event::Message { stream, message } = event else {
                    continue;
                };
                assert_eq!(message.len(), size);
                network.sides[side].consume(stream, Tally::of(size));
                if side == SERVER {
                    let server = &mut network.sides[SERVER];
                    server.send_message(stream, message, true).unwrap();
                } else {
                    answered += 1;
                }
            }
        }
    }
    network.now - begin
}

/// Messages of medium size are assembled concurrently. With one turn after the other, 32 of 128
/// calls were fast, and the rest ran sequentially.
#[test]
fn many_messages_of_medium_size_do_not_wait_for_turns() {
    for (calls, size, most) in [
        (128, 16 << 10, 60),
        (128, 64 << 10, 100),
        (64, 256 << 10, 150),
        (16, 1 << 20, 250),
    ] {
        let took = time_of(calls, size);
        println!("{calls} calls of {size} bytes took {took:?}");
        assert!(
            took <= Duration::from_millis(most),
            "{calls}, {size}: {took:?}"
        );
    }
}
