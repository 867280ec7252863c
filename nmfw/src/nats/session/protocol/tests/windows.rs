//! Tests of the growth of windows.

use bytes::Bytes;

use super::{
    network::{CLIENT, Network, SERVER},
    scenarios::call,
};
use crate::nats::session::protocol::{Config, Event, STREAM_WINDOW};
use nmfw_core::call::body::chunk::Tally;

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
