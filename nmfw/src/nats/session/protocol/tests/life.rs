//! Tests of dead peers, and of peers that only seem dead.

use std::time::Duration;

use bytes::Bytes;

use super::network::{CLIENT, METHOD, Network, SERVER, UNARY, Weather, head};
use crate::{
    Code, Status,
    nats::session::protocol::{Config, Event, Liveness, Site, StreamId},
};
use nmfw_core::call::body::chunk::Tally;

/// Time within which a call with a single answer ends after its instance was killed.
const SOON: Duration = Duration::from_secs(1);

/// Both sides use the same NATS server.
fn near() -> Config {
    Config {
        site: Site::new("NA1", ""),
        ..Config::default()
    }
}

fn network() -> Network {
    Network::both(near())
}

/// Starts a call with a single answer, which never arrives.
fn ask(network: &mut Network) -> StreamId {
    let client = &mut network.sides[CLIENT];
    let id = client.open_call(head(UNARY), true, None).unwrap();
    let message = Bytes::from_static(b"?");
    client.send_message(id, message, true).unwrap();
    id
}

/// Starts a streaming call that the service knows.
fn stream(network: &mut Network) -> StreamId {
    let id = network.sides[CLIENT]
        .open_call(head(METHOD), false, None)
        .unwrap();
    network.run_ms(5);
    assert_eq!(network.take(SERVER).len(), 1);
    id
}

fn liveness(network: &Network) -> Liveness {
    network.sides[CLIENT].liveness(network.now)
}

/// Returns the time until the service is at least in this state.
fn until(network: &mut Network, at_least: Liveness) -> Duration {
    let begin = network.now;
    while liveness(network) < at_least {
        network.run_ms(1);
        let took = network.now - begin;
        assert!(took < Duration::from_secs(40), "it is never {at_least:?}");
    }
    network.now - begin
}

#[test]
fn a_killed_service_is_gone_within_a_second() {
    // Regardless of the client's earlier activity.
    for before in (0..2000).step_by(37) {
        let mut network = network();
        ask(&mut network);
        network.run_ms(before);
        assert_eq!(liveness(&network), Liveness::Alive);
        network.is_gone[SERVER] = true;
        let vanished = until(&mut network, Liveness::Vanished);
        let gone = vanished + until(&mut network, Liveness::Gone);
        assert!(gone < SOON, "{before}: it took {vanished:?} and {gone:?}");
        // The time is sufficient for a service that reconnects.
        assert!(gone >= vanished + Duration::from_millis(400));
    }
}

/// A service that was active until its death is pinged sooner than one that was idle.
#[test]
fn a_killed_service_that_was_busy_is_suspect_sooner() {
    let mut network = network();
    for _ in 0..20 {
        let id = ask(&mut network);
        network.run_ms(20);
        let message = Bytes::from_static(b"!");
        let server = &mut network.sides[SERVER];
        server.send_message(id, message, true).unwrap();
        network.run_ms(3);
    }
    ask(&mut network);
    network.is_gone[SERVER] = true;
    let took = until(&mut network, Liveness::Vanished);
    assert!(took < Duration::from_millis(260), "{took:?}");
}

#[test]
fn a_slow_handler_is_no_death() {
    let mut network = network();
    let id = ask(&mut network);
    network.run_ms(100);
    let before = network.sent;
    for _ in 0..60_000 {
        network.run_ms(1);
        assert_eq!(liveness(&network), Liveness::Alive);
    }
    for side in [CLIENT, SERVER] {
        let sent = network.sent[side] - before[side];
        assert!(sent <= 125, "{sent} packets in a minute");
    }
    let message = Bytes::from_static(b"!");
    let server = &mut network.sides[SERVER];
    server.send_message(id, message, true).unwrap();
    network.run_ms(100);
    let answer = network.take(CLIENT);
    assert!(matches!(
        answer[..],
        [Event::Message { .. }, Event::Finished { .. }]
    ));
    // Without waiting calls, there are no pings.
    let before = network.sent;
    network.run_ms(9000);
    assert_eq!(network.sent, before);
}

#[test]
fn a_stream_that_is_silent_is_not_asked_early() {
    let mut network = network();
    stream(&mut network);
    network.run_ms(100);
    let before = network.sent;
    network.run_ms(60_000);
    let sent = network.sent[CLIENT] - before[CLIENT];
    assert!(sent <= 12, "{sent} packets in a minute");
}

/// A service that loses its connection briefly loses no call.
#[test]
fn a_service_that_comes_back_soon_is_not_gone() {
    for before in (0..1000).step_by(50) {
        let mut network = network();
        let id = ask(&mut network);
        network.run_ms(before);
        network.is_gone[SERVER] = true;
        for _ in 0..390 {
            network.run_ms(1);
            assert_ne!(liveness(&network), Liveness::Gone);
        }
        network.is_gone[SERVER] = false;
        let now = network.now;
        network.sides[SERVER].handle_reconnect(now);
        network.run_ms(5);
        assert_eq!(liveness(&network), Liveness::Alive);
        let message = Bytes::from_static(b"!");
        let server = &mut network.sides[SERVER];
        server.send_message(id, message, true).unwrap();
        network.run_ms(100);
        assert_eq!(network.take(CLIENT).len(), 2, "the answer");
    }
}

/// A restarted NATS server reports "no responders" until the service has reconnected.
#[test]
fn after_a_reconnect_of_its_own_a_client_is_patient() {
    let mut network = network();
    ask(&mut network);
    network.run_ms(1);
    network.weather.is_cut = true;
    network.run_ms(500);
    network.weather = Weather::default();
    network.is_gone[SERVER] = true;
    let now = network.now;
    network.sides[CLIENT].handle_reconnect(now);
    for _ in 0..9000 {
        network.run_ms(1);
        assert!(liveness(&network) <= Liveness::Silent);
    }
    assert_eq!(liveness(&network), Liveness::Silent);
    network.is_gone[SERVER] = false;
    let now = network.now;
    network.sides[SERVER].handle_reconnect(now);
    network.run_ms(600);
    assert_eq!(liveness(&network), Liveness::Alive);
    assert!(!network.sides[CLIENT].is_closed());
}

/// A frozen NATS server, an overloaded machine or an isolated region sends no "no responders", so
/// no call ends.
#[test]
fn silence_alone_ends_no_call() {
    let mut network = network();
    ask(&mut network);
    network.run_ms(100);
    network.weather.is_cut = true;
    let took = until(&mut network, Liveness::Silent);
    assert!(took < SOON, "{took:?}");
    for _ in 0..28_000 {
        network.run_ms(1);
        assert_eq!(liveness(&network), Liveness::Silent);
    }
    network.weather = Weather::default();
    network.run_ms(600);
    assert_eq!(liveness(&network), Liveness::Alive);
    // If it lasts, the session ends as usual.
    network.weather.is_cut = true;
    network.run_ms(31_000);
    assert!(network.sides[CLIENT].is_closed());
}

/// A link between NATS servers, such as that of a leaf node, may have been cut and may be restored.
#[test]
fn a_service_that_is_not_near_is_not_taken_for_gone() {
    let elsewhere = |server, cluster| Config {
        site: Site::new(server, cluster),
        ..Config::default()
    };
    let moved = |network: &mut Network| {
        let now = network.now;
        let client = &mut network.sides[CLIENT];
        client.set_site(Site::new("NA9", "us"));
        client.handle_reconnect(now);
        network.run_ms(11_000);
    };
    let stays = |_: &mut Network| {};
    let restarted = |network: &mut Network| {
        let now = network.now;
        let client = &mut network.sides[CLIENT];
        client.set_site(Site::new("NA8", "eu"));
        client.handle_reconnect(now);
        network.run_ms(11_000);
    };
    let far = [elsewhere("NA1", ""), elsewhere("NA2", "")];
    let unknown = [elsewhere("NA1", "eu"), elsewhere("", "")];
    let cluster = || [elsewhere("NA1", "eu"), elsewhere("NA2", "eu")];
    for (configs, then, is_near) in [
        (far, stays as fn(&mut Network), false),
        (unknown, stays, false),
        (cluster(), stays, true),
        (cluster(), restarted, true),
        (cluster(), moved, false),
    ] {
        let mut network = Network::open(configs, 1);
        ask(&mut network);
        then(&mut network);
        network.is_gone[SERVER] = true;
        if is_near {
            assert!(until(&mut network, Liveness::Gone) < SOON);
            continue;
        }
        // New calls use other sessions in any case.
        assert!(until(&mut network, Liveness::Vanished) < SOON);
        for _ in 0..9000 {
            network.run_ms(1);
            assert_ne!(liveness(&network), Liveness::Gone);
        }
        network.is_gone[SERVER] = false;
        network.run_ms(300);
        assert_eq!(liveness(&network), Liveness::Alive);
    }
}

/// A long round trip is measured, and does not make the peer suspect.
#[test]
fn a_long_round_trip_is_no_sign_of_death() {
    let mut network = network();
    network.latency = Duration::from_millis(300);
    // The PING after the handshake may have been answered quickly.
    ask(&mut network);
    network.run_ms(3000);
    for _ in 0..20_000 {
        network.run_ms(1);
        assert_eq!(liveness(&network), Liveness::Alive);
    }
}

/// A call that passes its deadline in silence makes later calls use other sessions, however short
/// deadlines are.
#[test]
fn a_deadline_that_passes_in_silence_is_suspicious() {
    let mut network = network();
    ask(&mut network);
    network.run_ms(1);
    network.is_gone[SERVER] = true;
    let late = ask(&mut network);
    network.run_ms(100);
    assert_eq!(liveness(&network), Liveness::Alive);
    let now = network.now;
    let client = &mut network.sides[CLIENT];
    client.suspect(now);
    client.reset(late, &Status::cancelled(""));
    assert_eq!(liveness(&network), Liveness::Silent);
    network.run_ms(3);
    assert_eq!(
        liveness(&network),
        Liveness::Vanished,
        "the server was asked at once"
    );
}

#[test]
fn a_deadline_that_passes_is_not_suspicious_by_itself() {
    // The call was just acknowledged.
    let mut network = network();
    ask(&mut network);
    network.run_ms(30);
    let now = network.now;
    network.sides[CLIENT].suspect(now);
    assert_eq!(liveness(&network), Liveness::Alive);
    // Nothing was to be expected before the call.
    network.run_ms(5000);
    network.take(SERVER);
    ask(&mut network);
    network.run_ms(3);
    let now = network.now;
    network.sides[CLIENT].suspect(now);
    assert_eq!(liveness(&network), Liveness::Alive);
    // The handler is slow, as the answer to the PING shows.
    network.run_ms(200);
    let now = network.now;
    network.sides[CLIENT].suspect(now);
    network.run_ms(3);
    assert_eq!(liveness(&network), Liveness::Alive);
}

/// Calls that the service cannot have started are marked so, and if it comes back, it is notified
/// of cancelled ones.
#[test]
fn calls_that_are_given_up() {
    let mut network = Network::both(Config {
        packet_window: 1,
        ..near()
    });
    let streaming = stream(&mut network);
    network.run_ms(100);
    let known = ask(&mut network);
    network.run_ms(5);
    network.take(SERVER);
    network.is_gone[SERVER] = true;
    // Fills the window.
    let pushed = ask(&mut network);
    network.run_ms(1);
    let unknown = ask(&mut network);
    until(&mut network, Liveness::Gone);
    for (call, is_not_started) in [(known, false), (pushed, false), (unknown, true)] {
        let status = network.sides[CLIENT].give_up(call);
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.is_not_started(), is_not_started, "{call}");
        assert!(crate::nats::session::protocol::PeerGone::is_cause_of(
            &status
        ));
    }
    // The stream continues if the service is back in time.
    network.run_ms(5000);
    assert!(network.take(CLIENT).is_empty());
    network.is_gone[SERVER] = false;
    let now = network.now;
    network.sides[SERVER].handle_reconnect(now);
    network.run_ms(1500);
    let told = network.take(SERVER);
    let ended = |id| {
        let is = |event: &Event| matches!(event, Event::Finished { stream, .. } if *stream == id);
        told.iter().filter(|event| is(event)).count()
    };
    assert_eq!([ended(known), ended(pushed), ended(unknown)], [1, 1, 0]);
    assert_eq!(network.sides[SERVER].open_streams(), 1);
    let message = Bytes::from_static(b"still here");
    let tally = Tally::of(message.len());
    let server = &mut network.sides[SERVER];
    server.send_message(streaming, message, false).unwrap();
    network.run_ms(5);
    assert_eq!(network.take(CLIENT).len(), 1);
    network.sides[CLIENT].consume(streaming, tally);
}

/// Streams of a service that does not come back end as usual.
#[test]
fn streams_of_a_service_that_is_gone_wait_longer() {
    let mut network = network();
    let streaming = stream(&mut network);
    let call = ask(&mut network);
    network.is_gone[SERVER] = true;
    let took = until(&mut network, Liveness::Gone);
    network.sides[CLIENT].give_up(call);
    network.run(Duration::from_millis(9500) - took);
    assert!(network.take(CLIENT).is_empty());
    network.run_ms(1500);
    let told = network.take(CLIENT);
    let [Event::Finished { stream, outcome }, Event::Closed(_)] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(*stream, streaming);
    assert_eq!(outcome.as_ref().unwrap_err().code(), Code::Unavailable);
}
