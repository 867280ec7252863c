//! Attackers who know the subjects of other clients' sessions: they read inboxes (`_INBOX.>`, which
//! the default permissions of all clients include), or may publish to them. Only the peer can send
//! into a session, end it or redirect it.

use nmfw::async_nats::ConnectionExt as _;
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, Message, Subject, Subscriber};
use futures_util::{FutureExt, StreamExt};
use nmfw::{Channel, Connection, NatsChannel as _, Streaming};
use nmfw_tests::{
    TestBroker, eventually, on_both_brokers,
    packets::{
        OFFER, OPEN, RawSession, Seal, call, first_kind, frame, kind, number, packet, secret_of,
    },
    permitted, round_trip,
    streams::{self, CountRequest, Flows, Item, STREAMS_SPEC, StreamsClient, items},
};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(30);

fn base() -> &'static str {
    STREAMS_SPEC.base_subject()
}

/// A client with a running stream, which no other client may disturb.
struct Victim {
    client: StreamsClient,
    flows: Flows,
    stream: Streaming<Item>,
    started: u64,
}

impl Victim {
    async fn start(nats: &Connection, flows: &Flows) -> Self {
        let client = StreamsClient::new(Channel::new(nats).multiplexed());
        let request = CountRequest {
            to: 3,
            hang: true,
            ..CountRequest::default()
        };
        let mut stream = client.count(request).await.unwrap();
        for number in 0..3 {
            assert_eq!(stream.message().await.unwrap().unwrap().number, number);
        }
        let started = flows.started();
        let flows = flows.clone();
        Self {
            client,
            flows,
            stream,
            started,
        }
    }

    /// Checks that the stream continues, that no other handler has run, and that further calls
    /// succeed in the same session.
    async fn is_unharmed(&mut self) {
        let next = self.stream.message();
        let next = timeout(Duration::from_millis(300), next).await;
        assert!(
            next.is_err(),
            "the stream received a message or ended: {next:?}"
        );
        assert_eq!(self.flows.started(), self.started, "a handler has run");
        assert_eq!(self.flows.dropped(), 0, "a handler was dropped");
        let total = timeout(LIMIT, self.client.sum(items(0, 5, 9)).send());
        assert_eq!(total.await.expect("a call hangs").unwrap().count, 5);
        self.started += 1;
    }
}

/// Returns the subjects of the session as a reader of inboxes sees them: the service's, and the
/// client's.
async fn seen(inboxes: &mut Subscriber) -> [Subject; 2] {
    loop {
        let message = timeout(LIMIT, inboxes.next()).await.unwrap().unwrap();
        if first_kind(&message.payload) == Some(kind::ACCEPT)
            && let Some(reply) = message.reply
        {
            return [reply, message.subject];
        }
    }
}

/// Returns packets that start a call, send messages in a stream, and end the stream or the session:
/// with the next packet number, and with others.
fn forgeries() -> Vec<Vec<u8>> {
    let close = || frame(0, kind::CLOSE, &[14]);
    let mut packets = vec![
        packet(0, 0, &[close()]),
        packet(
            0,
            0,
            &[frame(
                0,
                kind::CLOSE,
                &[&[14, 4, 16][..], &[7; 16]].concat(),
            )],
        ),
        packet(0, 0, &[frame(0, kind::PING, &number(1 << 20))]),
        packet(0, 0, &[frame(0, kind::PONG, &number(1 << 20))]),
        packet(0, 1 << 40, &[]),
        packet(1 << 40, 0, &[]),
        packet(0, 0, &[frame(0, kind::ACCEPT, OFFER)]),
        OPEN.to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![],
    ];
    for seq in 1..6 {
        packets.push(packet(
            seq,
            0,
            &[
                call(seq + 1, "Echo"),
                frame(seq + 1, kind::MSG | 0x40, &[8, 1]),
            ],
        ));
        packets.push(packet(seq, 0, &[frame(1, kind::MSG, &[8, 9])]));
        packets.push(packet(seq, 0, &[frame(1, kind::RESET, &[1])]));
        packets.push(packet(seq, 0, &[frame(1, 6, &[0])]));
    }
    packets
}

/// Returns the packet without a proof, with the proof of another session, and with zeros.
fn with_wrong_proofs(packet: &[u8]) -> [Vec<u8>; 4] {
    [
        packet.to_vec(),
        [packet, &[0; 8]].concat(),
        Seal::client([7; 16]).seal(packet),
        Seal::service([7; 16]).seal(packet),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_inboxes_cannot_act_in_sessions_of_others() {
    let users = [
        permitted::user("service", permitted::service()),
        permitted::user("victim", permitted::client()),
        // The attacker has the default permissions of clients, which include `_INBOX.>`.
        permitted::user("mallory", permitted::client()),
    ];
    let server = permitted::server(&users).await;
    let flows = Flows::default();
    let service = permitted::connect(&server, "service").await;
    let service =
        nmfw::Server::new(service).add_service(streams::StreamsServer::new(flows.clone()));
    let _running = service.start().await.unwrap();
    let mallory = permitted::connect(&server, "mallory").await;
    let mallory = mallory.client();
    let mut inboxes = mallory.subscribe("_INBOX.>").await.unwrap();
    // The attacker's own call shows that the subscription is active.
    mallory
        .request(format!("{}.Echo", base()), "".into())
        .await
        .unwrap();
    let victim = permitted::connect(&server, "victim").await;
    let mut victim = Victim::start(&victim, &flows).await;
    let [service, client] = seen(&mut inboxes).await;

    for forgery in forgeries() {
        for packet in with_wrong_proofs(&forgery) {
            mallory
                .publish(service.clone(), packet.clone().into())
                .await
                .unwrap();
            // Answers would go to the victim.
            mallory
                .publish_with_reply(service.clone(), client.clone(), packet.into())
                .await
                .unwrap();
        }
    }
    mallory.flush().await.unwrap();
    victim.is_unharmed().await;

    // Packets of the service, sent back to the service, and to an unknown session.
    let elsewhere = format!("{}1", service.as_str());
    while let Some(Some(message)) = inboxes.next().now_or_never() {
        for to in [service.as_str(), &elsewhere] {
            let payload = message.payload.clone();
            mallory
                .publish_with_reply(to.to_owned(), client.clone(), payload)
                .await
                .unwrap();
        }
    }
    // The service does not answer in a way that the client accepts, either.
    let ping = frame(0, kind::PING, &[&number(0)[..], &[7; 16]].concat());
    let ping = Seal::client([7; 16]).seal(packet(0, 0, &[ping]));
    mallory
        .publish_with_reply(elsewhere, client, ping.into())
        .await
        .unwrap();
    mallory.flush().await.unwrap();
    victim.is_unharmed().await;

    // All publishes were allowed, and the attacker's own session works.
    assert_eq!(permitted::violations(&server), [""; 0]);
    let own = RawSession::open(mallory, base()).await.unwrap();
    own.send(packet(
        1,
        0,
        &[call(1, "Echo"), frame(1, kind::MSG | 0x40, &[8, 1])],
    ))
    .await
    .unwrap();
    eventually(LIMIT, || async { flows.started() == victim.started + 1 }).await;
    victim.started += 1;
    own.send(packet(0, 0, &[frame(0, kind::CLOSE, &[0])]))
        .await
        .unwrap();
    victim.is_unharmed().await;
}

on_both_brokers! {
    /// Without permissions, any client may do anything except read the OPEN.
    async fn a_publisher_to_inboxes_cannot_act_in_sessions_of_others(broker: TestBroker) {
        let flows = Flows::default();
        let _running = streams::serve(&broker.url(), &flows).await.unwrap();
        let mallory = async_nats::connect(broker.url()).await.unwrap();
        let mut inboxes = mallory.subscribe("_INBOX.>").await.unwrap();
        let mut lured = mallory.subscribe("mallory.>").await.unwrap();
        round_trip(&mallory, LIMIT).await.unwrap();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let mut victim = Victim::start(&nats, &flows).await;
        let [_, client] = seen(&mut inboxes).await;
        for forgery in forgeries() {
            for packet in with_wrong_proofs(&forgery) {
                mallory.publish(client.clone(), packet.clone().into()).await.unwrap();
                mallory.publish_with_reply(client.clone(), "mallory.1", packet.into()).await.unwrap();
            }
        }
        // The NATS server's answer when there is no subscriber.
        let mut peer = nmfw_tests::foreign_peer::RawPeer::connect(broker.port()).await.unwrap();
        peer.publish(&client, "", b"NATS/1.0 503\r\n\r\n", b"").await.unwrap();
        mallory.publish_with_headers(client.clone(), HeaderMap::new(), "".into()).await.unwrap();
        mallory.flush().await.unwrap();
        victim.is_unharmed().await;

        // Packets to past or unknown sessions of that connection get no answer.
        let (prefix, _) = client.rsplit_once('.').unwrap();
        for number in ["0", "1", "2", "ff", "ffffffffffffffff", "x"] {
            let to = format!("{prefix}.{number}");
            for forgery in forgeries() {
                mallory.publish_with_reply(to.clone(), "mallory._i.s.1", forgery.into()).await.unwrap();
            }
        }
        victim.is_unharmed().await;
        sleep(Duration::from_millis(100)).await;
        assert!(lured.next().now_or_never().is_none(), "packets were sent to the attacker");
    }

    /// Replayed packets have no effect, however often they are sent.
    async fn recorded_packets_cannot_be_replayed(broker: TestBroker) {
        let flows = Flows::default();
        let _running = streams::serve(&broker.url(), &flows).await.unwrap();
        let mallory = async_nats::connect(broker.url()).await.unwrap();
        let mut all = mallory.subscribe(">").await.unwrap();
        round_trip(&mallory, LIMIT).await.unwrap();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let mut victim = Victim::start(&nats, &flows).await;
        victim.is_unharmed().await;
        let mut packets: Vec<Message> = Vec::new();
        while let Ok(Some(message)) = timeout(Duration::from_millis(300), all.next()).await {
            let is_of_session = message.subject.contains(".s.");
            if is_of_session && first_kind(&message.payload) != Some(kind::ACCEPT) {
                packets.push(message);
            }
        }
        drop(all);
        assert!(packets.iter().any(|packet| first_kind(&packet.payload) == Some(kind::CALL)));
        for _ in 0..3 {
            for Message { subject, payload, .. } in &packets {
                mallory.publish(subject.clone(), payload.clone()).await.unwrap();
            }
        }
        mallory.flush().await.unwrap();
        victim.is_unharmed().await;
        // A new session of the same client has other keys.
        let sessions: std::collections::HashSet<_> = packets.iter().map(|p| p.subject.as_str()).collect();
        assert!(sessions.len() >= 2, "{sessions:?}");
    }

    /// More packets than a mailbox holds.
    async fn a_flood_of_forged_packets_ends_no_session(broker: TestBroker) {
        let flows = Flows::default();
        let _running = streams::serve(&broker.url(), &flows).await.unwrap();
        let mallory = async_nats::connect(broker.url()).await.unwrap();
        let mut inboxes = mallory.subscribe("_INBOX.>").await.unwrap();
        round_trip(&mallory, LIMIT).await.unwrap();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let mut victim = Victim::start(&nats, &flows).await;
        let session = seen(&mut inboxes).await;
        let forged = packet(0, 0, &[frame(0, kind::CLOSE, &[14])]);
        for subject in session {
            for _ in 0..20_000 {
                mallory.publish(subject.clone(), forged.clone().into()).await.unwrap();
            }
        }
        mallory.flush().await.unwrap();
        victim.is_unharmed().await;
    }

    /// A service answers packets of unknown sessions, up to a limit.
    async fn answers_to_packets_of_no_session_have_a_bound(broker: TestBroker) {
        let flows = Flows::default();
        let _running = streams::serve(&broker.url(), &flows).await.unwrap();
        let mallory = async_nats::connect(broker.url()).await.unwrap();
        let own = RawSession::open(&mallory, base()).await.unwrap();
        own.send(packet(0, 0, &[frame(0, kind::CLOSE, &[0])])).await.unwrap();
        let inbox = mallory.new_inbox();
        let mut answers = mallory.subscribe(inbox.clone()).await.unwrap();
        let elsewhere = format!("{}1", own.service);
        let token = [9; 16];
        let ping = frame(0, kind::PING, &[&number(0)[..], &token].concat());
        let ping = Seal::client([7; 16]).seal(packet(0, 0, &[ping]));
        let begin = Instant::now();
        // Packets without a token get no answer.
        let without = Seal::client([7; 16]).seal(packet(0, 0, &[frame(0, kind::PING, &number(0))]));
        mallory.publish_with_reply(elsewhere.clone(), inbox.clone(), without.into()).await.unwrap();
        for _ in 0..20_000 {
            mallory.publish_with_reply(elsewhere.clone(), inbox.clone(), ping.clone().into()).await.unwrap();
        }
        mallory.flush().await.unwrap();
        let (mut count, mut patience) = (0, LIMIT);
        while let Ok(Some(answer)) = timeout(patience, answers.next()).await {
            assert_eq!(first_kind(&answer.payload), Some(kind::CLOSE));
            assert!(answer.payload.ends_with(&token), "the answer has another token than the PING");
            count += 1;
            patience = Duration::from_secs(1);
        }
        let most = 1000 + begin.elapsed().as_millis() + 1;
        assert!((1000..20_000).contains(&count), "{count} answers");
        assert!(count <= most, "{count} answers, which exceeds {most}");
    }

    /// The secret in the OPEN proves the identity of the peer.
    async fn a_reader_of_open_can_act_as_the_client(broker: TestBroker) {
        let flows = Flows::default();
        let _running = streams::serve(&broker.url(), &flows).await.unwrap();
        let mallory = async_nats::connect(broker.url()).await.unwrap();
        let mut opens = mallory.subscribe(format!("{}._open", base())).await.unwrap();
        let mut inboxes = mallory.subscribe("_INBOX.>").await.unwrap();
        round_trip(&mallory, LIMIT).await.unwrap();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let victim = Victim::start(&nats, &flows).await;
        let open = timeout(LIMIT, opens.next()).await.unwrap().unwrap();
        let [service, _] = seen(&mut inboxes).await;
        let close = packet(0, 0, &[frame(0, kind::CLOSE, &[14])]);
        let close = Seal::client(secret_of(&open.payload)).seal(close);
        mallory.publish(service, close.into()).await.unwrap();
        // Clients with the permissions of a client cannot read it, because only services may
        // subscribe there.
        eventually(LIMIT, || async { flows.dropped() == 1 }).await;
        drop(victim.stream);
        // The service notifies the client, which continues with another session.
        eventually(LIMIT, || victim.client.echo(Item::default()).send()).await;
    }
}
