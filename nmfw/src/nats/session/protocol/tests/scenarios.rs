//! Tests of a session in specific situations.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::network::{CLIENT, METHOD, Network, SECRET, SERVER, UNARY, Weather, head};
use crate::{
    Code, Metadata, Status,
    nats::session::protocol::{CallHead, Config, Event, SendError, Session, StreamId},
};
use nmfw_core::call::body::chunk::Tally;

fn network() -> Network {
    Network::both(Config::default())
}

/// Starts a call that the service knows.
pub(super) fn call(network: &mut Network) -> StreamId {
    let id = network.sides[CLIENT]
        .open_call(head(METHOD), false, None)
        .unwrap();
    network.run_ms(5);
    let events = network.take(SERVER);
    let mut calls = events
        .iter()
        .filter(|event| matches!(event, Event::Call { .. }));
    assert!(matches!(calls.next(), Some(Event::Call { stream, .. }) if *stream == id));
    id
}

fn send(network: &mut Network, side: usize, id: StreamId, text: &str, end: bool) {
    let message = Bytes::copy_from_slice(text.as_bytes());
    network.sides[side].send_message(id, message, end).unwrap();
}

/// Returns abbreviated events.
pub(super) fn told(network: &mut Network, side: usize) -> Vec<String> {
    let events = network.take(side);
    let short = events.into_iter().map(|event| match event {
        Event::Opened(opened) => format!("opened {}", opened.instance),
        Event::Call { stream, head, .. } => format!("{stream} call {}", &*head.method),
        Event::Answer { stream, .. } => format!("{stream} answer"),
        Event::Headers { stream, metadata } => format!("{stream} headers {}", metadata.len()),
        Event::Message { stream, message } => {
            format!("{stream} message {}", String::from_utf8_lossy(&message))
        }
        Event::Row { stream, row } => {
            let messages = row.messages();
            let texts: Vec<_> = messages
                .iter()
                .map(|m| String::from_utf8_lossy(m))
                .collect();
            format!("{stream} row {}", texts.join(","))
        }
        Event::End { stream } => format!("{stream} end"),
        Event::Finished { stream, outcome } => match outcome {
            Ok(trailers) => format!("{stream} OK {}", trailers.len()),
            Err(status) => {
                let not_started = if status.is_not_started() {
                    " not started"
                } else {
                    ""
                };
                format!("{stream} {}{not_started}", status.code())
            }
        },
        Event::Writable { stream } => format!("{stream} writable"),
        Event::GoAway => "go away".to_owned(),
        Event::Drained => "drained".to_owned(),
        Event::Closed(None) => "closed".to_owned(),
        Event::Closed(Some(status)) => format!("closed {}", status.code()),
    });
    short.collect()
}

fn assert_empty(network: &Network) {
    for side in &network.sides {
        assert!(side.is_empty(), "{side:#?}");
    }
}

#[test]
fn a_unary_call_is_one_packet_each_way() {
    let mut network = network();
    let before = network.sent;
    let id = network.sides[CLIENT]
        .open_call(head(METHOD), false, None)
        .unwrap();
    send(&mut network, CLIENT, id, "ping", true);
    network.run_ms(2);
    assert_eq!(
        told(&mut network, SERVER),
        ["1 call Echo", "1 message ping", "1 end"]
    );
    send(&mut network, SERVER, id, "pong", true);
    network.run_ms(2);
    assert_eq!(told(&mut network, CLIENT), ["1 message pong", "1 OK 0"]);
    assert_eq!(network.sent, [before[0] + 1, before[1] + 1]);
    // The last acknowledgement, which no other packet carried.
    network.run_ms(100);
    assert_eq!(network.sent, [before[0] + 2, before[1] + 1]);
    assert_empty(&network);
}

/// The message that arrives with its CALL counts as taken, and an answer needs a release only.
#[test]
fn a_call_with_its_message_is_one_event_and_its_answer_another() {
    let mut network = network();
    let now = network.now;
    let [client, server] = &mut network.sides;
    let ping = Bytes::from_static(b"ping");
    let id = client.open_call(head(UNARY), true, Some(ping)).unwrap();
    let sent = client.poll_transmit(now).unwrap();
    assert!(server.handle_packet(now, &sent.packet));
    let Some(Event::Call {
        stream,
        message: Some(message),
        ..
    }) = server.poll_event()
    else {
        panic!("the message did not come with its call");
    };
    assert_eq!((stream, &message[..]), (id, &b"ping"[..]));
    assert!(server.poll_event().is_none());
    assert_eq!((server.untaken(), server.budget.heads()), (0, 0));
    let pong = Bytes::from_static(b"pong");
    server.send_message(stream, pong, true).unwrap();
    let sent = server.poll_transmit(now).unwrap();
    assert!(client.handle_packet(now, &sent.packet));
    let Some(Event::Answer { stream, message }) = client.poll_event() else {
        panic!("the answer is not one event");
    };
    assert_eq!((stream, &message[..]), (id, &b"pong"[..]));
    assert!(client.poll_event().is_none());
    let cost = Tally::of(message.len()).cost;
    assert_eq!(client.untaken(), cost.cast_signed());
    client.release(cost);
    assert_eq!(client.untaken(), 0);
    network.run_ms(100);
    assert_empty(&network);
}

#[test]
fn many_calls_share_packets() {
    let mut network = network();
    let before = network.sent[CLIENT];
    for _ in 0..1000 {
        let id = network.sides[CLIENT]
            .open_call(head(METHOD), false, None)
            .unwrap();
        send(&mut network, CLIENT, id, "0123456789abcdef", true);
    }
    network.run_ms(5);
    assert_eq!(network.take(SERVER).len(), 3000);
    assert!(network.sent[CLIENT] - before <= 3);
}

#[test]
fn a_call_with_everything() {
    let mut network = network();
    let mut metadata = Metadata::new();
    metadata.append("a", "b").unwrap();
    let deadline = network.now + Duration::from_millis(700);
    let full = CallHead {
        deadline: Some(deadline),
        metadata: metadata.clone(),
        ..head(METHOD)
    };
    let id = network.sides[CLIENT].open_call(full, false, None).unwrap();
    network.run_ms(1);
    let events = network.take(SERVER);
    let [Event::Call { head, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(head.metadata, metadata);
    let later = head.deadline.unwrap() - deadline;
    assert!(later <= Duration::from_millis(2), "{later:?}");

    network.sides[SERVER].send_headers(id, &metadata).unwrap();
    assert!(network.sides[SERVER].send_headers(id, &metadata).is_err());
    send(&mut network, SERVER, id, "", false);
    send(&mut network, SERVER, id, "x", false);
    let error = Status::aborted("late").with_detail(&"why".to_owned());
    network.sides[SERVER].send_status(id, Err(&error));
    network.run_ms(2);
    let events = network.take(CLIENT);
    let Some(Event::Finished { outcome, .. }) = events.last() else {
        panic!("{events:?}")
    };
    let status = outcome.as_ref().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Aborted, "late"));
    assert_eq!(status.detail::<String>().as_deref(), Some("why"));
    assert_eq!(events.len(), 4);
    network.run_ms(100);
    assert_empty(&network);
}

#[test]
fn half_close_and_no_messages() {
    let mut network = network();
    let id = call(&mut network);
    network.sides[CLIENT].finish(id);
    network.run_ms(2);
    assert_eq!(told(&mut network, SERVER), ["1 end"]);
    let late = network.sides[CLIENT].send_message(id, Bytes::new(), false);
    assert!(matches!(late, Err(SendError::Ended)));
    network.run_ms(30_000);
    send(&mut network, SERVER, id, "still here", false);
    network.sides[SERVER].finish(id);
    network.run_ms(100);
    assert_eq!(
        told(&mut network, CLIENT),
        ["1 message still here", "1 OK 0"]
    );
    assert_empty(&network);
}

#[test]
fn an_early_answer_ends_the_stream() {
    let mut network = network();
    let id = call(&mut network);
    send(&mut network, SERVER, id, "enough", true);
    // Messages sent meanwhile are late, and ignored.
    send(&mut network, CLIENT, id, "and", false);
    network.run_ms(10);
    assert_eq!(told(&mut network, CLIENT), ["1 message enough", "1 OK 0"]);
    assert!(told(&mut network, SERVER).is_empty());
    let late = network.sides[CLIENT].send_message(id, Bytes::new(), false);
    assert!(matches!(late, Err(SendError::Ended)));
    network.run_ms(100);
    assert_empty(&network);
}

#[test]
fn resets_go_both_ways() {
    let mut network = network();
    let first = call(&mut network);
    let second = call(&mut network);
    network.sides[CLIENT].reset(first, &Status::cancelled("gave up"));
    network.sides[SERVER].reset(second, &Status::unavailable("busy").not_started());
    network.run_ms(100);
    assert_eq!(told(&mut network, SERVER), ["1 CANCELLED"]);
    assert_eq!(told(&mut network, CLIENT), ["2 UNAVAILABLE not started"]);
    assert_empty(&network);
    // A stream that was never sent leaves no trace.
    let before = network.sent;
    let third = network.sides[CLIENT]
        .open_call(head(METHOD), false, None)
        .unwrap();
    network.sides[CLIENT].reset(third, &Status::cancelled(""));
    network.run_ms(100);
    assert_eq!(network.sent, before);
    assert_empty(&network);
}

#[test]
fn a_session_serves_its_methods_only() {
    let mut network = network();
    network.sides[CLIENT]
        .open_call(head("Other"), false, None)
        .unwrap();
    network.run_ms(100);
    assert_eq!(told(&mut network, CLIENT), ["1 UNIMPLEMENTED not started"]);
    assert!(told(&mut network, SERVER).is_empty());
    assert_empty(&network);
}

#[test]
fn as_many_streams_as_agreed() {
    let mut network = Network::both(Config {
        max_streams: 2,
        ..Config::default()
    });
    let first = call(&mut network);
    call(&mut network);
    let status = network.sides[CLIENT]
        .open_call(head(METHOD), false, None)
        .unwrap_err();
    assert!(status.code() == Code::ResourceExhausted && status.is_not_started());
    network.sides[CLIENT].reset(first, &Status::cancelled(""));
    network.run_ms(5);
    assert_eq!(told(&mut network, SERVER), ["1 CANCELLED"]);
    call(&mut network);
}

#[test]
fn a_slow_consumer_holds_up_its_stream_alone() {
    let mut network = network();
    let [slow, fast] = [call(&mut network), call(&mut network)];
    let message = Bytes::from(vec![7; 1000]);
    let mut taken = 0;
    for _ in 0..400 {
        for id in [slow, fast] {
            while network.sides[SERVER]
                .send_message(id, message.clone(), false)
                .is_ok()
            {}
        }
        network.run_ms(3);
        for event in network.take(CLIENT) {
            if let Event::Message { stream, message } = event {
                if stream == fast {
                    taken += 1;
                    network.sides[CLIENT].consume(stream, Tally::of(message.len()));
                } else {
                    // The data counts against the window of its stream, and stays there.
                    taken += 1_000_000;
                }
            }
        }
    }
    let (on_slow, on_fast) = (taken / 1_000_000, taken % 1_000_000);
    assert_eq!(on_slow, 256 * 1024 / 1032);
    assert!(on_fast > 50_000, "{on_fast}");
}

#[test]
fn a_full_stream_becomes_writable() {
    let mut network = network();
    let id = call(&mut network);
    let message = Bytes::from(vec![7; 100_000]);
    let mut accepted = 0;
    while network.sides[CLIENT]
        .send_message(id, message.clone(), false)
        .is_ok()
    {
        accepted += 1;
    }
    assert_eq!(accepted, 2);
    network.run_ms(5);
    assert_eq!(told(&mut network, CLIENT), ["1 writable"]);
}

#[test]
fn a_big_stream_does_not_starve_others() {
    let mut network = Network::both(Config {
        packet_window: 1,
        ..Config::default()
    });
    let big = call(&mut network);
    let message = Bytes::from(vec![7; 10_000_000]);
    network.sides[CLIENT]
        .send_message(big, message, true)
        .unwrap();
    network.run_ms(3);
    for _ in 0..10 {
        let id = network.sides[CLIENT]
            .open_call(head(METHOD), false, None)
            .unwrap();
        send(&mut network, CLIENT, id, "small", true);
    }
    // A packet that was already in transit, and the next.
    network.run_ms(4);
    let events = told(&mut network, SERVER);
    assert_eq!(events.len(), 30, "{events:?}");
}

#[test]
fn messages_larger_than_windows_take_turns() {
    let mut network = network();
    let ids = [call(&mut network), call(&mut network), call(&mut network)];
    let big = Bytes::from(
        (0..9_000_000u32)
            .map(|i| (i % 251) as u8)
            .collect::<Vec<_>>(),
    );
    for id in ids {
        network.sides[CLIENT]
            .send_message(id, big.clone(), true)
            .unwrap();
    }
    let mut got = 0;
    for _ in 0..10 {
        network.run_ms(500);
        for event in network.take(SERVER) {
            if let Event::Message { stream, message } = event {
                assert!(message == big);
                got += 1;
                // Only now may the next one arrive.
                network.run_ms(500);
                assert!(
                    network.events[SERVER]
                        .iter()
                        .all(|e| !matches!(e, Event::Message { .. }))
                );
                network.sides[SERVER].consume(stream, Tally::of(message.len()));
            }
        }
    }
    assert_eq!(got, 3);
    for id in ids {
        network.sides[SERVER].finish(id);
    }
    network.run_ms(100);
    assert_empty(&network);
}

/// Grants come in steps of half a window. The rest below a step must not block an unfinished
/// message that is not large enough for a turn.
#[test]
fn a_message_does_not_wait_for_a_step_that_never_comes() {
    let mut network = Network::both(Config {
        max_packet: 1024,
        stream_window: 4096,
        ..Config::default()
    });
    let id = call(&mut network);
    let almost_half = Bytes::from(vec![1; 2048 - 32 - 1]);
    network.sides[CLIENT]
        .send_message(id, almost_half, false)
        .unwrap();
    network.run_ms(5);
    assert_eq!(network.take(SERVER).len(), 1);
    network.sides[SERVER].consume(id, Tally::of(2048 - 32 - 1));
    let more = Bytes::from(vec![2; 3500]);
    network.sides[CLIENT].send_message(id, more, false).unwrap();
    network.run_ms(5);
    assert_eq!(network.take(SERVER).len(), 1);
}

/// The numbers of calls must ascend on the wire, whatever fits into a packet.
#[test]
fn calls_go_out_in_order() {
    let mut network = Network::both(Config {
        max_packet: 1024,
        ..Config::default()
    });
    for size in [700, 10, 900, 100, 500, 20, 800] {
        let mut head = head(METHOD);
        head.metadata.append("a", "x".repeat(size)).unwrap();
        network.sides[CLIENT].open_call(head, false, None).unwrap();
    }
    network.run_ms(10);
    let calls = (1..=7).map(|id| format!("{id} call Echo"));
    assert_eq!(told(&mut network, SERVER), calls.collect::<Vec<_>>());
}

#[test]
fn a_message_over_the_limit_ends_its_stream_alone() {
    let mut network = Network::both(Config {
        max_message: 1000,
        ..Config::default()
    });
    let ids = [call(&mut network), call(&mut network)];
    let fits = Bytes::from(vec![1; 1000]);
    let too_large = Bytes::from(vec![1; 1001]);
    for (side, id) in [(CLIENT, ids[0]), (SERVER, ids[1])] {
        network.sides[side]
            .send_message(id, fits.clone(), false)
            .unwrap();
        let refused = network.sides[side].send_message(id, too_large.clone(), false);
        let Err(SendError::TooLarge(status)) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.message().contains("1001") && status.message().contains("1000"));
    }
    network.run_ms(100);
    assert_eq!(told(&mut network, SERVER), ["1 RESOURCE_EXHAUSTED"]);
    assert_eq!(
        told(&mut network, CLIENT).last().unwrap(),
        "2 RESOURCE_EXHAUSTED"
    );
    assert_empty(&network);
    call(&mut network);
}

/// A peer that ignores the limit, which it knows.
#[test]
fn a_message_over_the_limit_is_not_received() {
    let mut network = Network::both(Config {
        max_message: 100_000,
        ..Config::default()
    });
    let id = call(&mut network);
    network.sides[CLIENT].agreed.max_message = 200_000;
    let message = Bytes::from(vec![1; 100_001]);
    network.sides[CLIENT]
        .send_message(id, message, true)
        .unwrap();
    network.run_ms(100);
    assert_eq!(told(&mut network, SERVER), ["1 RESOURCE_EXHAUSTED"]);
    assert_eq!(told(&mut network, CLIENT), ["1 RESOURCE_EXHAUSTED"]);
    assert_empty(&network);
    call(&mut network);
}

#[test]
fn what_is_larger_than_a_packet_and_cannot_be_split() {
    let mut network = Network::both(Config {
        max_packet: 2000,
        ..Config::default()
    });
    let mut large = Metadata::new();
    large.append("a", "x".repeat(2000)).unwrap();
    let large_head = CallHead {
        metadata: large.clone(),
        ..head(METHOD)
    };
    let refused = network.sides[CLIENT].open_call(large_head, false, None);
    assert!(refused.unwrap_err().is_not_started());
    let id = call(&mut network);
    assert!(network.sides[SERVER].send_headers(id, &large).is_err());
    network.sides[SERVER].send_status(id, Ok(&large));
    network.run_ms(100);
    assert_eq!(told(&mut network, CLIENT), ["1 RESOURCE_EXHAUSTED"]);
}

#[test]
fn a_lost_tail_is_sent_again() {
    let mut network = network();
    network.weather.is_cut = true;
    let id = network.sides[CLIENT]
        .open_call(head(METHOD), false, None)
        .unwrap();
    send(&mut network, CLIENT, id, "lost", true);
    network.run_ms(300);
    network.weather = Weather::default();
    network.run_ms(150);
    assert!(told(&mut network, SERVER).is_empty());
    network.run_ms(100);
    assert_eq!(
        told(&mut network, SERVER),
        ["1 call Echo", "1 message lost", "1 end"]
    );
}

#[test]
fn a_reconnect_does_not_wait_for_a_timer() {
    for side in [CLIENT, SERVER] {
        let mut network = network();
        let id = call(&mut network);
        network.weather.is_cut = true;
        send(&mut network, CLIENT, id, "a", false);
        network.run_ms(1);
        send(&mut network, CLIENT, id, "b", false);
        network.run_ms(1);
        network.weather = Weather::default();
        let now = network.now;
        network.sides[side].handle_reconnect(now);
        network.run_ms(5);
        assert_eq!(
            told(&mut network, SERVER),
            ["1 message a", "1 message b"],
            "{side}"
        );
    }
}

#[test]
fn a_silent_peer_is_dead_after_a_while() {
    let mut network = network();
    let id = call(&mut network);
    let never_sent = {
        network.weather.is_cut = true;
        network.run_ms(29_000);
        assert!(told(&mut network, CLIENT).is_empty());
        for _ in 0..64 {
            // Fills the window, which is not drained any more.
            network.sides[CLIENT].set_packet_window(64);
            network.pump();
        }
        network.sides[CLIENT]
            .open_call(head(METHOD), false, None)
            .unwrap()
    };
    network.run_ms(1500);
    let [known, unknown] = [id, never_sent];
    assert_eq!(
        told(&mut network, CLIENT),
        [
            format!("{known} UNAVAILABLE"),
            format!("{unknown} UNAVAILABLE not started"),
            "closed UNAVAILABLE".to_owned()
        ]
    );
    assert_eq!(
        told(&mut network, SERVER),
        ["1 UNAVAILABLE", "closed UNAVAILABLE"]
    );
    assert_empty(&network);
    assert!(
        network
            .sides
            .iter()
            .all(|side| side.poll_timeout().is_none())
    );
}

#[test]
fn a_peer_without_a_subscription_is_dead_sooner() {
    let mut network = network();
    let now = network.now;
    network.sides[CLIENT].handle_no_responders(now);
    network.run_ms(20_000);
    assert!(told(&mut network, CLIENT).is_empty(), "it was back");
    network.weather.is_cut = true;
    let now = network.now;
    network.sides[CLIENT].handle_no_responders(now);
    network.run_ms(10_100);
    assert_eq!(told(&mut network, CLIENT), ["closed UNAVAILABLE"]);
}

#[test]
fn an_idle_session_costs_a_few_packets_a_minute() {
    let mut network = network();
    let before = network.sent;
    network.run_ms(60_000);
    let sent = network.sent[0] - before[0] + network.sent[1] - before[1];
    assert!((6..=24).contains(&sent), "{sent}");
    assert!(told(&mut network, CLIENT).is_empty());
}

#[test]
fn a_handshake_that_is_not_answered() {
    for side in [CLIENT, SERVER] {
        let configs = [Config::default(), Config::default()];
        let mut network = Network::new(configs, 1);
        if side == CLIENT {
            network.weather.is_cut = true;
        } else {
            // OPEN arrives, but nothing after it.
            network.pump();
            network.weather.is_cut = true;
        }
        network.run_ms(5001);
        assert_eq!(told(&mut network, CLIENT), ["closed UNAVAILABLE"]);
        assert_eq!(
            told(&mut network, side).len(),
            if side == CLIENT { 0 } else { 2 }
        );
        assert!(network.sides[CLIENT].is_closed());
    }
}

#[test]
fn nobody_who_takes_sessions() {
    let now = std::time::Instant::now();
    let mut client = Session::client(Config::default(), SECRET, now);
    assert!(client.poll_transmit(now).is_some());
    client.handle_no_responders(now);
    let Some(Event::Closed(Some(status))) = client.poll_event() else {
        panic!()
    };
    assert!(status.code() == Code::Unavailable && status.is_not_started());
    assert_eq!(client.poll_transmit(now), None);
}

#[test]
fn a_service_refuses_a_session() {
    let mut network = Network::new([Config::default(), Config::default()], 1);
    let full = Status::resource_exhausted("as many sessions as may be").not_started();
    network.sides[SERVER].close(Some(full));
    network.run_ms(10);
    assert_eq!(told(&mut network, CLIENT), ["closed RESOURCE_EXHAUSTED"]);
}

#[test]
fn the_smaller_of_both_holds() {
    let small = Config {
        max_packet: 2000,
        max_message: 3000,
        packet_window: 2,
        ..Config::default()
    };
    for configs in [
        [small.clone(), Config::default()],
        [Config::default(), small],
    ] {
        let network = Network::open(configs, 1);
        for side in &network.sides {
            assert_eq!(side.agreed.max_packet, 2000);
            assert_eq!(side.peer_window.min(side.own_window), 2);
        }
    }
}

#[test]
fn going_away() {
    let mut network = network();
    let served = call(&mut network);
    let refused = network.sides[CLIENT]
        .open_call(head(METHOD), false, None)
        .unwrap();
    send(&mut network, CLIENT, refused, "cross", true);
    network.sides[SERVER].go_away();
    network.run_ms(5);
    assert_eq!(
        told(&mut network, CLIENT),
        ["2 UNAVAILABLE not started", "go away"]
    );
    assert!(told(&mut network, SERVER).is_empty());
    assert!(
        network.sides[CLIENT]
            .open_call(head(METHOD), false, None)
            .unwrap_err()
            .is_not_started()
    );

    send(&mut network, SERVER, served, "done", true);
    network.pump();
    assert!(told(&mut network, SERVER).is_empty(), "it may be lost yet");
    network.run_ms(100);
    assert_eq!(told(&mut network, SERVER), ["drained"]);
    network.sides[SERVER].close(None);
    network.run_ms(5);
    assert_eq!(told(&mut network, SERVER), ["closed"]);
    assert_eq!(
        told(&mut network, CLIENT),
        ["1 message done", "1 OK 0", "closed"]
    );
    assert_empty(&network);
}

#[test]
fn closing_ends_every_stream_once() {
    let mut network = network();
    call(&mut network);
    let status = Status::internal("on fire");
    network.sides[CLIENT].close(Some(status.clone()));
    network.sides[CLIENT].close(Some(status));
    network.run_ms(5);
    assert_eq!(
        told(&mut network, CLIENT),
        ["1 INTERNAL", "closed INTERNAL"]
    );
    assert_eq!(
        told(&mut network, SERVER),
        ["1 INTERNAL", "closed INTERNAL"]
    );
    let after = network.sent;
    network.run_ms(100_000);
    assert_eq!(network.sent, after);
}

#[test]
fn garbage_ends_the_session_with_a_status() {
    for garbage in [
        &b""[..],
        b"x",
        b"\x10",
        b"\x10\x02\x00\x01\x04\x05",
        b"\x20\x00\x00",
    ] {
        let mut network = network();
        call(&mut network);
        let now = network.now;
        network.sides[SERVER].hear(now, garbage);
        network.run_ms(5);
        assert_eq!(
            told(&mut network, SERVER),
            ["1 INTERNAL", "closed INTERNAL"]
        );
        assert_eq!(
            told(&mut network, CLIENT),
            ["1 INTERNAL", "closed INTERNAL"]
        );
    }
}

#[test]
fn an_open_that_is_not_understood_is_answered() {
    let now = std::time::Instant::now();
    let mut server = Session::server(Config::default(), String::new(), &Arc::default(), now);
    server.handle_packet(now, &Bytes::from_static(b"\x20\x00\x00\x00\x01\x00"));
    let answer = server.poll_transmit(now).unwrap();
    let mut client = Session::client(Config::default(), SECRET, now);
    assert!(client.poll_transmit(now).unwrap().with_reply);
    client.handle_packet(now, &answer.packet);
    let Some(Event::Closed(Some(status))) = client.poll_event() else {
        panic!()
    };
    assert!(status.code() == Code::Unimplemented && status.is_not_started());
    assert_eq!(client.poll_transmit(now), None);
}

/// Account mappings may pass only one answer.
#[test]
fn a_service_that_is_not_heard_behind_its_accept_is_given_up() {
    let mut now = std::time::Instant::now();
    let mut server = Session::server(Config::default(), String::new(), &Arc::default(), now);
    let mut client = Session::client(Config::default(), SECRET, now);
    server.handle_packet(now, &client.poll_transmit(now).unwrap().packet);
    client.handle_packet(now, &server.poll_transmit(now).unwrap().packet);
    assert!(matches!(client.poll_event(), Some(Event::Opened(_))));
    assert!(!client.is_confirmed());
    let begin = now;
    let mut asked = 0;
    while let Some(at) = client.poll_timeout() {
        asked += usize::from(
            client
                .poll_transmit(now)
                .is_some_and(|sent| sent.with_reply),
        );
        now = now.max(at);
        client.handle_timeout(now);
    }
    assert_eq!(now - begin, Config::default().open_timeout);
    assert_eq!(asked, 10, "at once, and every half a second");
    let Some(Event::Closed(Some(status))) = client.poll_event() else {
        panic!()
    };
    assert!(status.code() == Code::Unavailable && status.is_not_started());
}

#[test]
fn nothing_is_left_of_100_000_streams() {
    let mut network = network();
    let mut opened = 0;
    while opened < 100_000 {
        let mut ids = Vec::new();
        for i in 0..500 {
            let id = network.sides[CLIENT]
                .open_call(head(METHOD), false, None)
                .unwrap();
            ids.push(id);
            let _ = network.sides[CLIENT].send_message(id, Bytes::from_static(b"x"), i % 2 == 0);
            if i % 7 == 0 {
                network.sides[CLIENT].reset(id, &Status::cancelled(""));
            }
        }
        opened += ids.len();
        network.run_ms(5);
        for (i, id) in ids.iter().enumerate() {
            let there = network.sides[SERVER].id(id.number);
            match i % 4 {
                0 => network.sides[SERVER].finish(there),
                1 => network.sides[SERVER].send_status(there, Err(&Status::aborted(""))),
                2 => network.sides[SERVER].reset(there, &Status::aborted("")),
                _ => network.sides[CLIENT].reset(*id, &Status::cancelled("")),
            }
        }
        network.run_ms(5);
        network.take(CLIENT);
        network.take(SERVER);
        // All packets are eventually acknowledged.
        if opened % 10_000 == 0 {
            network.run_ms(100);
            assert_empty(&network);
        }
    }
    for side in &network.sides {
        assert!(side.ready.capacity() <= 4096 && side.turns.capacity() <= 16);
    }
}

/// Empty messages take room only for their headers.
#[test]
fn empty_messages_end_with_the_packet() {
    let config = Config {
        max_packet: 1024,
        ..Config::default()
    };
    let mut network = Network::both(config);
    let id = call(&mut network);
    for _ in 0..1000 {
        send(&mut network, CLIENT, id, "", false);
    }
    let now = network.now;
    while let Some(transmit) = network.sides[CLIENT].poll_transmit(now) {
        assert!(transmit.packet.len() <= 1024, "{}", transmit.packet.len());
    }
}

/// A stream with an endless supply of large messages lets others have their turns.
#[test]
fn large_messages_without_end_do_not_starve_another() {
    for len in (70_000..200_000).step_by(9_999) {
        let mut network = Network::both(Config {
            stream_window: 65_536,
            ..Config::default()
        });
        let (endless, other) = (call(&mut network), call(&mut network));
        let large = Bytes::from(vec![0; len]);
        let mut got = 0;
        'rounds: for round in 0.. {
            assert!(
                round < 20,
                "the stream waits for {got} other messages of {len} bytes"
            );
            let client = &mut network.sides[CLIENT];
            while client.send_message(endless, large.clone(), false).is_ok() {}
            if round == 10 {
                client.send_message(other, large.clone(), true).unwrap();
            }
            network.run_ms(50);
            for event in network.take(SERVER) {
                let Event::Message { stream, message } = event else {
                    continue;
                };
                if stream == other {
                    break 'rounds;
                }
                got += 1;
                network.sides[SERVER].consume(stream, Tally::of(message.len()));
            }
        }
    }
}

/// A stream that waits for a turn, and then does not need it, does not keep it.
#[test]
fn a_turn_to_assemble_is_not_kept_for_nothing() {
    let mut network = Network::both(Config {
        max_packet: 1024,
        stream_window: 4096,
        ..Config::default()
    });
    let [first, second, third] = [(); 3].map(|()| call(&mut network));
    let send = |network: &mut Network, stream, len| {
        let message = vec![0; len].into();
        let client = &mut network.sides[CLIENT];
        client.send_message(stream, message, false).unwrap();
        network.run_ms(100);
        network.take(SERVER).len()
    };
    assert_eq!(send(&mut network, first, 50_000), 1);
    // Larger than half a window.
    assert_eq!(send(&mut network, second, 3500), 1);
    network.sides[SERVER].consume(second, Tally::of(3500));
    network.sides[SERVER].consume(first, Tally::of(50_000));
    assert_eq!(send(&mut network, third, 50_000), 1);
}

/// A side that accepts few packets keeps few of its own, and must not wait for acknowledgements
/// that come only after as many packets as the other side accepts.
#[test]
fn a_narrow_sender_is_acknowledged_in_time() {
    let narrow = Config {
        packet_window: 4,
        max_packet: 1024,
        ..Config::default()
    };
    let mut network = Network::open([narrow, Config::default()], 1);
    let id = call(&mut network);
    for _ in 0..100 {
        let message = vec![0; 900].into();
        let client = &mut network.sides[CLIENT];
        client.send_message(id, message, false).unwrap();
    }
    network.run_ms(250);
    assert_eq!(network.take(SERVER).len(), 100);
}

/// Packets that were requested in vain during an outage are requested again when it ends, not at
/// the next scheduled time, which may be far away.
#[test]
fn a_gap_does_not_outlast_a_reconnect() {
    for back in [CLIENT, SERVER] {
        let mut network = network();
        let id = call(&mut network);
        network.weather.is_cut = true;
        send(&mut network, CLIENT, id, "lost", false);
        network.run_ms(1);
        network.weather.is_cut = false;
        send(&mut network, CLIENT, id, "after", false);
        let now = network.now;
        network.pump();
        // The packet is in transit; the request that it causes is lost.
        network.weather.is_cut = true;
        network.run_ms(6000);
        assert!(network.take(SERVER).is_empty());
        network.weather.is_cut = false;
        network.sides[back].handle_reconnect(network.now);
        network.run_ms(20);
        assert_eq!(network.take(SERVER).len(), 2, "{:?}", network.now - now);
    }
}
