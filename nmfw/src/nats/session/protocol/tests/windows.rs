//! Tests of the growth of windows.

use bytes::Bytes;

use super::{
    network::{CLIENT, Network, SERVER},
    scenarios::call,
};
use crate::nats::session::protocol::{Config, Event, STREAM_WINDOW};
use nmfw_core::call::body::chunk::{MESSAGE_COST, Tally};

/// Sends much on one of `streams` streams, all of which is taken. Returns its final window.
fn window(streams: usize) -> u64 {
    let mut network = Network::both(Config::default());
    let streams: Vec<_> = (0..streams).map(|_| call(&mut network)).collect();
    let stream = streams[0];
    for _ in 0..300 {
        let message = Bytes::from(vec![7; 60 * 1024]);
        let sent = network.sides[CLIENT].send_message(stream, message, false);
        sent.unwrap();
        network.run_ms(5);
        for event in network.take(SERVER) {
            if let Event::Message { message, .. } = event {
                network.sides[SERVER].consume(stream, Tally::of(message.len()));
            }
        }
    }
    let receiving = network.sides[SERVER].streams.values().next();
    receiving.unwrap().receiving.window()
}

#[test]
fn a_window_grows_further_while_there_are_few() {
    let first = u64::from(STREAM_WINDOW);
    assert_eq!(window(1), 16 * first);
    assert_eq!(window(8), 16 * first);
    assert_eq!(window(9), 4 * first);
}

/// Sends messages that fill the window, exactly or not, and one more. Returns the number of stalls.
fn stalls(size: usize) -> u64 {
    let mut network = Network::both(Config::default());
    let stream = call(&mut network);
    network.sides[CLIENT].take_counts();
    let mut sent = 0;
    while sent < u64::from(STREAM_WINDOW) + 1 {
        let message = Bytes::from(vec![7; size]);
        let outcome = network.sides[CLIENT].send_message(stream, message, false);
        outcome.unwrap();
        network.run_ms(5);
        sent += Tally::of(size).cost;
    }
    network.sides[CLIENT].take_counts().window_stalls
}

#[test]
fn a_used_up_window_is_a_stall_also_if_nothing_is_left() {
    let exact = 4096 - usize::try_from(MESSAGE_COST).unwrap();
    for size in [exact, 4096, 5000] {
        assert_eq!(stalls(size), 1, "{size}");
    }
}
