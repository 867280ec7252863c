//! Packets that no honest peer sends, to the subject where sessions are opened and to open
//! sessions: at most the receiving session ends, with a status. All others continue.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use nmfw::{Channel, Code, ConnectOptions, NatsChannel as _, server::Running};
use nmfw_tests::{
    TestBroker, eventually, on_both_brokers,
    packets::{
        OFFER, OPEN, RawSession, Seal, call, first_kind, frame, kind, number, packet, secret_of,
    },
    round_trip,
    stream_load::StreamLoad,
    streams::{self, CountRequest, Flows, Item, STREAMS_SPEC, StreamsClient},
};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);

fn base() -> &'static str {
    STREAMS_SPEC.base_subject()
}

/// A service, and a client whose streams no other client may disturb.
struct Bystander {
    flows: Flows,
    load: StreamLoad,
    _running: Running,
}

impl Bystander {
    async fn start(broker: &TestBroker) -> Self {
        let flows = Flows::default();
        let running = streams::serve(&broker.url(), &flows).await.unwrap();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let client = StreamsClient::new(Channel::new(nats).multiplexed());
        let mut load = StreamLoad::start(&client, 1);
        load.goes_on(LIMIT).await;
        Self {
            flows,
            load,
            _running: running,
        }
    }

    async fn goes_on(mut self) {
        self.load.goes_on(LIMIT).await;
        self.load.finish(LIMIT).await;
    }
}

/// Returns invalid packets, and packets that are not allowed on a new session.
fn broken_packets() -> Vec<(&'static str, Vec<u8>)> {
    let ping = [frame(0, kind::PING, &number(0))];
    vec![
        ("nothing", vec![]),
        ("text", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("zeros", vec![0; 100_000]),
        ("ones", vec![0xff; 100]),
        (
            "another version",
            [&[0x20_u8][..], &packet(0, 0, &ping)[1..]].concat(),
        ),
        (
            "an unknown flag",
            [&[0x12_u8][..], &packet(0, 0, &ping)[1..]].concat(),
        ),
        ("a header that is cut", vec![0x10, 0x80]),
        (
            "a number that is too long",
            [vec![0x10], vec![0xff; 12], vec![0]].concat(),
        ),
        ("a long form of a number", vec![0x10, 0x80, 0x00, 0x00]),
        ("a frame that is cut", vec![0x10, 0, 0, 0, kind::PING, 9, 1]),
        (
            "a frame of an unknown type",
            packet(0, 0, &[frame(0, 14, b"")]),
        ),
        (
            "a frame with an unknown flag",
            packet(0, 0, &[frame(0, kind::PING | 0x80, &number(0))]),
        ),
        (
            "a PING on a stream",
            packet(0, 0, &[frame(7, kind::PING, &number(0))]),
        ),
        (
            "a PING without a number",
            packet(0, 0, &[frame(0, kind::PING, b"")]),
        ),
        (
            "a message without a number",
            packet(0, 0, &[frame(1, kind::MSG, b"x")]),
        ),
        ("a packet far ahead", packet(1 << 40, 0, &[])),
        ("the last packet of all", packet((1 << 63) - 1, 0, &[])),
        (
            "an ack of a packet that was never sent",
            packet(0, 1 << 40, &[]),
        ),
    ]
}

/// Finds the first session opened from inboxes with this prefix: the subjects of its packets to the
/// service and to the client, and the seal of each side.
async fn session(
    opens: &mut async_nats::Subscriber,
    inboxes: &mut async_nats::Subscriber,
    prefix: &str,
) -> [(String, Seal); 2] {
    // Other clients open sessions too.
    let (inbox, secret) = loop {
        let open = timeout(LIMIT, opens.next()).await.unwrap().unwrap();
        let inbox = open.reply.filter(|reply| reply.starts_with(prefix));
        if let Some(inbox) = inbox {
            break (inbox, secret_of(&open.payload));
        }
    };
    loop {
        let message = timeout(LIMIT, inboxes.next()).await.unwrap().unwrap();
        if message.subject == inbox
            && first_kind(&message.payload) == Some(kind::ACCEPT)
            && let Some(reply) = message.reply
        {
            return [
                (reply.into_string(), Seal::client(secret)),
                (message.subject.into_string(), Seal::service(secret)),
            ];
        }
    }
}

on_both_brokers! {
    async fn broken_packets_open_no_session(broker: TestBroker) {
        let bystander = Bystander::start(&broker).await;
        let plain = async_nats::connect(broker.url()).await.unwrap();
        let inbox = plain.new_inbox();
        let mut answers = plain.subscribe(inbox.clone()).await.unwrap();
        let open = format!("{}._open", base());
        let mut sent = 0;
        let cut = (0..OPEN.len()).map(|len| ("OPEN that is cut", OPEN[..len].to_vec()));
        for (_, packet) in broken_packets().into_iter().chain(cut) {
            plain.publish(open.clone(), packet.clone().into()).await.unwrap();
            plain.publish_with_reply(open.clone(), inbox.clone(), packet.into()).await.unwrap();
            sent += 1;
        }
        // Each is refused; incomplete ones when their time is over.
        for _ in 0..sent {
            let answer = timeout(LIMIT, answers.next()).await.unwrap().unwrap();
            assert_eq!(first_kind(&answer.payload), Some(kind::CLOSE), "{answer:?}");
        }
        bystander.goes_on().await;
    }

    /// Broken packets end a session only if they come from its peer.
    async fn broken_packets_end_the_session_that_gets_them(broker: TestBroker) {
        let bystander = Bystander::start(&broker).await;
        let plain = async_nats::connect(broker.url()).await.unwrap();
        let mut clients = 0;
        for (what, packet) in broken_packets() {
            for side in 0..2 {
                clients += 1;
                let inboxes = format!("_INBOX.{clients}.");
                let mut tap = plain.subscribe(format!("{inboxes}>")).await.unwrap();
                let mut opens = plain.subscribe(format!("{}._open", base())).await.unwrap();
                round_trip(&plain, LIMIT).await.unwrap();
                let nats = ConnectOptions::new().inbox_prefix(inboxes.trim_end_matches('.'));
                let nats = nats.connect(broker.url()).await.unwrap();
                let client = StreamsClient::new(Channel::new(nats));
                let request = CountRequest { to: 3, hang: true, ..CountRequest::default() };
                let mut count = client.count(request).await.unwrap();
                for _ in 0..3 {
                    count.message().await.unwrap().unwrap();
                }
                let (subject, seal) = session(&mut opens, &mut tap, &inboxes).await[side].clone();
                let dropped = bystander.flows.dropped();
                let begin = Instant::now();
                plain.publish(subject.clone(), packet.clone().into()).await.unwrap();
                plain.publish(subject, seal.seal(packet.clone()).into()).await.unwrap();
                let status = timeout(LIMIT, count.message()).await.expect(what).unwrap_err();
                assert_eq!(status.code(), Code::Internal, "{what}: {status}");
                assert!(begin.elapsed() < LIMIT / 3, "{what} took {:?}", begin.elapsed());
                eventually(LIMIT, || async { bystander.flows.dropped() == dropped + 1 }).await;
                // The bystander's own session is unaffected.
                let echo = client.count(CountRequest { to: 1, ..request }).await;
                assert_eq!(echo.unwrap().message().await.unwrap().unwrap().number, 0, "{what}");
            }
        }
        bystander.goes_on().await;
    }

    async fn a_peer_that_breaks_its_promises_ends_its_session(broker: TestBroker) {
        let bystander = Bystander::start(&broker).await;
        let plain = async_nats::connect(broker.url()).await.unwrap();
        let calls = |streams: std::ops::RangeInclusive<u64>| -> Vec<Vec<u8>> {
            streams.map(|stream| call(stream, "Sum")).collect()
        };
        let message = |len| frame(1, kind::MSG, &vec![0; len]);
        let breaches: [(&str, Vec<Vec<u8>>); 7] = [
            ("a message of no stream", vec![packet(1, 0, &[message(1)])]),
            ("a call twice", vec![packet(1, 0, &calls(1..=1)), packet(2, 0, &calls(1..=1))]),
            ("too many calls", vec![packet(1, 0, &calls(1..=1025))]),
            ("more than the credit", (0..9)
                .map(|i| packet(i + 1, 0, &[if i == 0 { call(1, "Sum") } else { message(40_000) }]))
                .collect()),
            ("a method that is not UTF-8", vec![packet(1, 0, &[frame(1, kind::CALL, &[0, 2, 0xff, 0xfe])])]),
            ("ACCEPT of a client, numbered", vec![packet(1, 0, &[frame(0, kind::ACCEPT, OFFER)])]),
            ("GOAWAY of a client", vec![packet(1, 0, &[frame(0, 11, &number(1))])]),
        ];
        for (what, packets) in breaches {
            let mut session = RawSession::open(&plain, base()).await.unwrap();
            for packet in packets {
                session.send(packet).await.unwrap();
            }
            let closed = session.closed().await;
            assert!(closed.is_ok(), "{what}: {closed:?}");
        }
        bystander.goes_on().await;
    }

    /// The service does not buffer more than its limit, either.
    async fn a_peer_that_acknowledges_nothing_gets_no_more_than_the_window(broker: TestBroker) {
        let bystander = Bystander::start(&broker).await;
        let plain = async_nats::connect(broker.url()).await.unwrap();
        let mut silent = RawSession::open(&plain, base()).await.unwrap();
        // A million items of 10 kB for each of ten calls.
        let request = [&[0x10][..], &number(1_000_000), &[0x18], &number(10_000)].concat();
        let frames = (1..=10).flat_map(|n| [call(n, "Count"), frame(n, kind::MSG | 0x40, &request)]);
        silent.send(packet(1, 0, &frames.collect::<Vec<_>>())).await.unwrap();
        let mut bytes = 0;
        let mut seen = HashSet::new();
        let begin = Instant::now();
        // The service sends only PINGs.
        while begin.elapsed() < Duration::from_secs(3) {
            let message = silent.next().await.unwrap();
            if seen.insert(message.payload[1]) {
                bytes += message.payload.len();
            }
            silent.send(packet(0, 0, &[frame(0, kind::PING, &number(1))])).await.unwrap();
        }
        assert!(seen.len() <= 65, "{} packets", seen.len());
        assert!(bytes <= 10 * (256 * 1024 + 40_000), "{bytes} bytes");
        bystander.goes_on().await;
    }

    /// Messages that the caller does not wait for would be unbounded.
    async fn a_service_that_answers_a_stream_of_requests_twice(broker: TestBroker) {
        let service = async_nats::connect(broker.url()).await.unwrap();
        let own = format!("{}._i.I1.s.1", base());
        let mut opening = service.subscribe(format!("{}._open", base())).await.unwrap();
        let mut packets = service.subscribe(own.clone()).await.unwrap();
        round_trip(&service, LIMIT).await.unwrap();
        let client = streams::client(&broker.url()).await.unwrap();
        let call = client.sum(stream::pending::<Item>()).timeout(LIMIT).send();
        let outcome = tokio::spawn(call);

        let open = timeout(LIMIT, opening.next()).await.unwrap().unwrap();
        let inbox = open.reply.unwrap();
        // The client's offer of eight streams, and a name.
        let seal = Seal::service(secret_of(&open.payload));
        let offer = [OFFER, &[6, 1, 8, 7, 2], b"I1"].concat();
        let accept = seal.seal(packet(0, 0, &[frame(0, kind::ACCEPT, &offer)]));
        service.publish_with_reply(inbox.clone(), own, accept.into()).await.unwrap();
        let mut is_ended = false;
        while !is_ended {
            let came = timeout(LIMIT, packets.next()).await.unwrap().unwrap().payload;
            let answer = match first_kind(&came) {
                Some(kind::PING) => packet(0, 0, &[frame(0, kind::PONG, &number(0))]),
                // Two messages, and more to come.
                Some(kind::CALL) => {
                    let message = || frame(1, kind::MSG, &[8, 1]);
                    packet(1, 1, &[message(), message()])
                }
                Some(kind::RESET) => {
                    is_ended = true;
                    continue;
                }
                _ => continue,
            };
            service.publish(inbox.clone(), seal.seal(answer).into()).await.unwrap();
        }
        let status = outcome.await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{status}");
        assert!(status.message().contains("more than one message"), "{status}");
    }

    /// A client opens as many sessions as possible and uses none: others continue, and there is
    /// room again when the sessions have expired.
    async fn a_flood_of_sessions_is_forgotten(broker: TestBroker) {
        let bystander = Bystander::start(&broker).await;
        let plain = async_nats::connect(broker.url()).await.unwrap();
        let inbox = plain.new_inbox();
        let mut answers = plain.subscribe(inbox.clone()).await.unwrap();
        let open = format!("{}._open", base());
        let mut refused = 0;
        for _ in 0..1500 {
            plain.publish_with_reply(open.clone(), inbox.clone(), OPEN.into()).await.unwrap();
        }
        while refused < 500 {
            let answer = timeout(LIMIT, answers.next()).await.unwrap().unwrap();
            if first_kind(&answer.payload) == Some(kind::CLOSE) {
                refused += 1;
            }
        }
        let client = streams::client(&broker.url()).await.unwrap();
        let request = CountRequest { to: 1, ..CountRequest::default() };
        eventually(LIMIT, || client.count(request).send()).await;
        bystander.goes_on().await;
    }
}
