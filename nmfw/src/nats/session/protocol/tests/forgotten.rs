//! Tests of sessions that one side has forgotten, and of packets from third parties.

use std::time::Duration;

use bytes::Bytes;

use super::network::{CLIENT, METHOD, Network, SECRET, SERVER, head};
use crate::{
    Code, Status,
    nats::session::protocol::{
        Config, Event, Liveness, PeerGone, Secrets, Session, SessionSecret, answer_of_client,
        answer_of_service,
        body::{encode_status, encode_status_with_token},
        frame::{Header, Token, kind, put_frame, put_number_frame, put_ping},
        proof::{Keys, RECENT_TOKENS},
    },
};

/// Creates two sides with a stream.
fn network() -> Network {
    let mut network = Network::both(Config::default());
    network.sides[CLIENT]
        .open_call(head(METHOD), false, None)
        .unwrap();
    network.run_ms(100);
    assert_eq!(network.take(SERVER).len(), 1);
    network
}

/// Returns packets that a third party without the key sends to impersonate the peer.
fn forgeries(session: &Session) -> Vec<Vec<u8>> {
    let write = |header: Header, frames: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        header.put(&mut out);
        frames(&mut out);
        out
    };
    let numbered = Header {
        seq: session.received() + 1,
        ..Header::BARE
    };
    let go_back = Header {
        go_back: true,
        ..Header::BARE
    };
    let never_sent = Header {
        ack: 1 << 40,
        ..Header::BARE
    };
    let status = encode_status(&Status::unavailable("go"), 500);
    let contents = [
        Vec::new(),
        b"x".to_vec(),
        write(Header::BARE, &|_| {}),
        write(go_back, &|_| {}),
        write(never_sent, &|_| {}),
        write(Header::BARE, &|out| put_frame(out, 0, kind::CLOSE, &status)),
        write(Header::BARE, &|out| put_ping(out, 0, Some(&[1; 16]))),
        write(Header::BARE, &|out| put_number_frame(out, 0, kind::PONG, 0)),
        write(numbered, &|out| put_frame(out, 1, kind::RESET, &status)),
        write(numbered, &|out| put_frame(out, 1, kind::MESSAGE, b"forged")),
        write(numbered, &|out| put_frame(out, 1, kind::END, b"")),
    ];
    let others = Secrets::random().of(1);
    let seals = [
        Keys::new(others, session.is_server()),
        Keys::new(others, !session.is_server()),
        // Sealed by the side itself, as if a third party reflected its packets.
        Keys::new(SECRET, session.is_server()),
    ];
    let sealed = contents.iter().flat_map(|content| {
        seals.iter().map(|keys| {
            let mut packet = content.clone();
            keys.seal(&mut packet);
            packet
        })
    });
    let zeros = contents
        .iter()
        .map(|content| [content, &[0; 8][..]].concat());
    sealed.chain(zeros).chain(contents.clone()).collect()
}

#[test]
fn what_does_not_prove_to_be_the_peers_changes_nothing() {
    for side in [CLIENT, SERVER] {
        let mut network = network();
        let forgeries = forgeries(&network.sides[side]);
        for packet in forgeries {
            network.forge(side, packet.into());
        }
        network.run_ms(1000);
        assert!(network.take(CLIENT).is_empty() && network.take(SERVER).is_empty());
        assert!(network.sides.iter().all(|session| !session.is_closed()));
    }
}

#[test]
fn what_does_not_prove_to_be_the_peers_is_no_sign_of_life() {
    for side in [CLIENT, SERVER] {
        let mut network = network();
        let packet: Bytes = forgeries(&network.sides[side])[2].clone().into();
        network.weather.is_cut = true;
        let begin = network.now;
        while !network.sides[side].is_closed() {
            network.forge(side, packet.clone());
            network.run_ms(500);
            assert!(
                network.now - begin < Duration::from_secs(40),
                "forged packets kept the \
                                                                    session alive"
            );
        }
    }
}

/// Only the service can have read the OPEN.
#[test]
fn an_answer_to_open_without_the_key_opens_nothing() {
    let mut network = Network::new([Config::default(), Config::default()], 1);
    let now = network.now;
    let open = network.sides[CLIENT].poll_transmit(now).unwrap();
    let mut service = Session::server(Config::default(), String::new(), &Default::default(), now);
    let mut other = Session::client(Config::default(), SessionSecret::new([7; 16]), now);
    let others = other.poll_transmit(now).unwrap();
    assert!(service.handle_packet(now, &others.packet));
    let accept = service.poll_transmit(now).unwrap();
    assert!(!network.sides[CLIENT].handle_packet(now, &accept.packet));
    // The answer of the session's own service is accepted.
    assert!(network.sides[SERVER].handle_packet(now, &open.packet));
    let accept = network.sides[SERVER].poll_transmit(now).unwrap();
    assert!(network.sides[CLIENT].handle_packet(now, &accept.packet));
    assert!(matches!(
        network.sides[CLIENT].poll_event(),
        Some(Event::Opened(_))
    ));
}

/// With a proof, so that the client knows the sender of the refusal.
#[test]
fn a_refusal_is_sealed() {
    let mut network = Network::new([Config::default(), Config::default()], 1);
    let now = network.now;
    let open = network.sides[CLIENT].poll_transmit(now).unwrap();
    let status = Status::resource_exhausted("full").not_started();
    network.sides[SERVER].refuse(&open.packet, status);
    let answer = network.sides[SERVER].poll_transmit(now).unwrap();
    let keys = Keys::new(SECRET, false);
    assert!(keys.open(&answer.packet).is_some());
    assert!(network.sides[CLIENT].handle_packet(now, &answer.packet));
    let Some(Event::Closed(Some(status))) = network.sides[CLIENT].poll_event() else {
        panic!()
    };
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.is_not_started());
}

/// Checks the time from a reconnect of one side until it knows that the other has forgotten the
/// session.
fn ended_within(side: usize, limit: Duration) {
    let mut network = network();
    network.weather.is_cut = true;
    network.forget(1 - side);
    network.run_ms(15_000);
    assert!(!network.sides[side].is_closed());
    network.weather.is_cut = false;
    let now = network.now;
    network.sides[side].handle_reconnect(now);
    assert!(network.sides[side].is_unheard());
    while !network.sides[side].is_closed() {
        network.run_ms(1);
        assert!(
            network.now - now <= limit,
            "the end of the session takes too long"
        );
    }
    let ended = network
        .take(side)
        .into_iter()
        .find_map(|event| match event {
            Event::Finished { outcome, .. } => outcome.err(),
            _ => None,
        });
    let status = ended.unwrap();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(!status.is_not_started());
    assert_eq!(PeerGone::is_cause_of(&status), side == CLIENT, "{status}");
}

#[test]
fn a_session_that_the_service_has_forgotten_ends_within_a_round_trip() {
    ended_within(CLIENT, Duration::from_millis(2));
}

#[test]
fn a_session_that_the_client_has_forgotten_ends_within_a_round_trip() {
    ended_within(SERVER, Duration::from_millis(2));
}

#[test]
fn a_peer_that_is_heard_after_a_reconnect_is_there() {
    let mut network = network();
    let now = network.now;
    network.sides[CLIENT].handle_reconnect(now);
    assert!(network.sides[CLIENT].is_unheard());
    network.run_ms(3);
    assert!(!network.sides[CLIENT].is_unheard());
    assert_eq!(network.sides[CLIENT].liveness(network.now), Liveness::Alive);
}

/// If the first PING after a reconnect is lost, the wait does not last until the heartbeat.
#[test]
fn a_peer_is_asked_until_it_is_heard() {
    for side in [CLIENT, SERVER] {
        let mut network = network();
        network.weather.is_cut = true;
        network.forget(1 - side);
        let now = network.now;
        network.sides[side].handle_reconnect(now);
        network.run_ms(100);
        network.weather.is_cut = false;
        network.run_ms(600);
        assert!(network.sides[side].is_closed());
    }
}

/// OPEN or ACCEPT may be lost with the connection, and is not resent.
#[test]
fn a_session_that_is_opening_ends_with_the_connection() {
    let mut network = Network::new([Config::default(), Config::default()], 1);
    let now = network.now;
    network.sides[CLIENT].handle_reconnect(now);
    let Some(Event::Closed(Some(status))) = network.sides[CLIENT].poll_event() else {
        panic!()
    };
    assert!(status.code() == Code::Unavailable && status.is_not_started());
}

fn close_with(token: &Token) -> Bytes {
    let mut out = Vec::new();
    Header::BARE.put(&mut out);
    let body = encode_status_with_token(&Status::unavailable("gone"), 500, token);
    put_frame(&mut out, 0, kind::CLOSE, &body);
    out.into()
}

/// Only the tokens of recent PINGs are valid, not arbitrary or older ones.
#[test]
fn a_session_is_given_up_by_who_has_read_one_of_the_last_pings() {
    for (answered, is_good) in [(0, false), (1, true), (RECENT_TOKENS as usize, true)] {
        let mut network = network();
        let now = network.now;
        network.forge(CLIENT, close_with(&[0; 16]));
        let mut answers = Vec::new();
        for _ in 0..=RECENT_TOKENS {
            network.sides[CLIENT].handle_reconnect(now);
            let ping = network.sides[CLIENT].poll_transmit(now).unwrap();
            assert!(ping.with_reply);
            answers.push(answer_of_service(&ping.packet).unwrap());
        }
        network.forge(CLIENT, close_with(&[0; 16]));
        let answer = answers[answered].clone();
        if !is_good {
            network.forge(CLIENT, answer);
            continue;
        }
        assert!(network.sides[CLIENT].handle_packet(now, &answer));
        assert!(network.sides[CLIENT].is_closed());
        assert!(
            network.sides[CLIENT].poll_transmit(now).is_none(),
            "a closed session sent an answer"
        );
    }
}

/// With a long round trip, the answer to a PING arrives after others were sent, so accepting only
/// the last token would fail.
#[test]
fn a_long_way_does_not_hide_that_a_session_is_forgotten() {
    let mut network = network();
    network.weather.is_cut = true;
    network.forget(SERVER);
    network.run_ms(12_000);
    network.weather.is_cut = false;
    network.latency = Duration::from_millis(900);
    let now = network.now;
    network.sides[CLIENT].handle_reconnect(now);
    network.run_ms(1_850);
    assert!(network.sides[CLIENT].is_closed());
}

/// A service accepts CLOSE only from its client.
#[test]
fn no_token_ends_the_session_of_a_service() {
    let mut network = network();
    let now = network.now;
    network.sides[SERVER].handle_reconnect(now);
    let ping = network.sides[SERVER].poll_transmit(now).unwrap();
    assert_eq!(
        answer_of_service(&ping.packet),
        None,
        "a service has no token"
    );
    network.forge(SERVER, close_with(&[0; 16]));
}

#[test]
fn answers_are_not_answered() {
    let mut network = network();
    let now = network.now;
    network.sides[CLIENT].handle_reconnect(now);
    let ping = network.sides[CLIENT].poll_transmit(now).unwrap().packet;
    let from_service = answer_of_service(&ping).unwrap();
    assert_eq!(answer_of_service(&from_service), None);
    assert_eq!(answer_of_client(SECRET, &from_service), None);
    network.sides[SERVER].handle_reconnect(now);
    let ping = network.sides[SERVER].poll_transmit(now).unwrap().packet;
    let from_client = answer_of_client(SECRET, &ping).unwrap();
    assert_eq!(answer_of_service(&from_client), None);
    network.sides[SERVER].close(None);
    let close = network.sides[SERVER].poll_transmit(now).unwrap().packet;
    assert_eq!(answer_of_client(SECRET, &close), None);
    // Packets of another service are not answered either.
    let others = Secrets::random().of(1);
    assert_eq!(answer_of_client(others, &ping), None);
    for packet in [&b""[..], b"x", &[0; 100]] {
        assert_eq!(answer_of_service(packet), None);
        assert_eq!(answer_of_client(SECRET, packet), None);
    }
}
