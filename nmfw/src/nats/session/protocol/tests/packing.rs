//! Tests of packing messages into packets.

use std::time::Duration;

use bytes::Bytes;

use super::{
    network::{CLIENT, Network, SERVER},
    scenarios::call,
};
use crate::nats::session::protocol::{
    Config, Event, StreamId,
    frame::{Body, Frame, Header},
};
use nmfw_core::call::body::chunk::Tally;

const KIB: usize = 1024;

/// A part of a message: its stream, its length, and whether more follow.
type Part = (StreamId, usize, bool);

/// Returns the parts of messages in each packet.
fn packets(network: &mut Network) -> Vec<Vec<Part>> {
    let now = network.now;
    let mut packets = Vec::new();
    while let Some(transmit) = network.sides[CLIENT].poll_transmit(now) {
        let (content, _) = transmit.packet.split_last_chunk::<8>().unwrap();
        let (_, frames) = Header::decode(content).unwrap();
        let parts = frames.filter_map(|frame| match frame.unwrap() {
            Frame {
                stream,
                body: Body::Message { part, more, .. },
            } => Some((
                StreamId {
                    number: stream,
                    slot: 0,
                },
                part.len(),
                more,
            )),
            _ => None,
        });
        packets.push(parts.collect());
    }
    packets
}

fn send(network: &mut Network, stream: StreamId, len: usize) {
    let message = Bytes::from(vec![7; len]);
    network.sides[CLIENT]
        .send_message(stream, message, false)
        .unwrap();
}

/// The peer has to copy each part of a split message.
#[test]
fn no_message_is_split_that_fits_into_a_packet() {
    for (len, in_a_packet) in [(64 * KIB, 1), (40 * KIB, 1), (20 * KIB, 3)] {
        let mut network = Network::both(Config::default());
        let stream = call(&mut network);
        for _ in 0..3 {
            send(&mut network, stream, len);
        }
        let packets = packets(&mut network);
        let whole = vec![(stream, len, false); in_a_packet];
        assert_eq!(packets, vec![whole; 3 / in_a_packet], "{len}");
    }
    let mut network = Network::both(Config::default());
    let streams = [(); 3].map(|()| call(&mut network));
    for stream in streams {
        send(&mut network, stream, 30 * KIB);
    }
    let parts = packets(&mut network).concat();
    assert_eq!(parts, streams.map(|stream| (stream, 30 * KIB, false)));
}

#[test]
fn what_is_larger_than_a_packet_fills_packets() {
    let mut network = Network::both(Config::default());
    let stream = call(&mut network);
    send(&mut network, stream, 150 * KIB);
    let packets = packets(&mut network);
    let [first, second, third] = &packets[..] else {
        panic!("{packets:?}")
    };
    assert!(first[0].1 > 64 * KIB && first[0].2);
    assert!(second[0].1 > 64 * KIB && second[0].2);
    let rest = 150 * KIB - first[0].1 - second[0].1;
    assert_eq!(third, &[(stream, rest, false)]);
}

/// No stream waits for another one's large message.
#[test]
fn streams_that_are_not_alone_take_turns() {
    let mut network = Network::both(Config::default());
    let (large, small) = (call(&mut network), call(&mut network));
    send(&mut network, large, 150 * KIB);
    send(&mut network, small, 10);
    let first = &packets(&mut network)[0];
    let place = first.iter().position(|(stream, ..)| *stream == small);
    assert_eq!(place, Some(1), "{first:?}");
    let (_, len, more) = first[0];
    assert!(len < 10 * KIB && more, "{first:?}");
    // Streams take turns even beside a message that fits into a packet.
    send(&mut network, large, 60 * KIB);
    send(&mut network, large, 60 * KIB);
    send(&mut network, small, 10);
    let first = &packets(&mut network)[0];
    assert!(first.contains(&(small, 10, false)), "{first:?}");
}

/// A session keeps the memory that it needed recently, and none when it is idle.
#[test]
fn memory_of_packets_is_used_again_and_then_freed() {
    let mut network = Network::both(Config::default());
    let stream = call(&mut network);
    for _ in 0..100 {
        send(&mut network, stream, 60 * KIB);
        network.run_ms(30);
        for event in network.take(SERVER) {
            if let Event::Message { message, .. } = event {
                network.sides[SERVER].consume(stream, Tally::of(message.len()));
            }
        }
    }
    let spare = |network: &mut Network| network.sides[CLIENT].outbound.buffers().spare();
    let needed = spare(&mut network);
    assert!((1..=16).contains(&needed), "{needed}");
    network.run(Duration::from_secs(30));
    assert_eq!(spare(&mut network), 0);
}
