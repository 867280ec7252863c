//! Reply subjects that no honest peer uses: other subjects of the service, subjects of NATS itself,
//! and none at all. The service publishes nothing there, and keeps serving other clients.

use std::{collections::HashMap, time::Duration};

use async_nats::Subscriber;
use futures_util::{StreamExt, stream};
use nmfw::{Channel, Code, NatsChannel as _, Server};
use nmfw_tests::{
    TestBroker,
    foreign_peer::{RawPeer, subject},
    on_both_brokers,
    packets::{OFFER, OPEN, Seal, first_kind, frame, kind, packet, secret_of},
    puppet::{self, Blob, PUPPET_SPEC, PuppetServer, Strings},
    round_trip,
    streams::{CountRequest, STREAMS_SPEC, StreamsClient},
};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);

/// Counts messages by subject, up to a message on `last`.
async fn seen(spy: &mut Subscriber, last: &str) -> HashMap<String, usize> {
    let mut seen = HashMap::new();
    loop {
        let message = timeout(LIMIT, spy.next()).await.unwrap().unwrap();
        if message.subject.as_str() == last {
            return seen;
        }
        *seen.entry(message.subject.into_string()).or_default() += 1;
    }
}

on_both_brokers! {
    async fn a_service_answers_in_inboxes_only(broker: TestBroker) {
        let strings = Strings::default();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let service = PuppetServer::new(strings.clone());
        let elsewhere = PuppetServer::new(strings.clone()).subject("shop").name("shop");
        let server = Server::new(nats.clone()).add_service(service).add_service(elsewhere);
        let running = server.start().await.unwrap();
        let id = &running.services()[0].id;
        let (client, base) = (puppet::client(&broker.url()).await.unwrap(), PUPPET_SPEC.base_subject());
        let plain = async_nats::connect(broker.url()).await.unwrap();
        let mut peer = RawPeer::connect(broker.port()).await.unwrap();

        let targets = [
            subject("Echo"),
            "shop.Echo".to_owned(),
            format!("{base}._open"),
            subject("_health"),
            format!("{base}._i.{id}.health"),
            "$SRV.PING".to_owned(),
            "$SRV.INFO".to_owned(),
            format!("$SRV.STATS.{}.{id}", running.services()[0].name),
        ];
        let long = |len| format!("_INBOX.{}", "a".repeat(len));
        let replies = [
            subject("Echo"),
            subject("Sleep"),
            "shop.Echo".to_owned(),
            "shop".to_owned(),
            "nmfw.other.Pay".to_owned(),
            "other._open".to_owned(),
            format!("{base}._open"),
            format!("{base}._i.{id}.health"),
            format!("{base}._i.{id}.fence.1"),
            format!("{base}._i.{id}.s.1"),
            "$SRV.PING".to_owned(),
            "$JS.API.STREAM.DELETE.orders".to_owned(),
            "$SYS.REQ.SERVER.PING".to_owned(),
            "_INBOX.a.>".to_owned(),
            "_INBOX.*".to_owned(),
            long(1100),
            long(3900),
        ];
        let mut asked: HashMap<String, usize> = HashMap::new();
        let mut spy = plain.subscribe(">").await.unwrap();
        round_trip(&plain, LIMIT).await.unwrap();
        for target in &targets {
            for reply in &replies {
                let body = if target.ends_with("_open") { OPEN } else { b"" };
                // A NATS server may also refuse such a subject itself.
                match peer.publish(target, reply, b"NATS/1.0\r\n\r\n", body).await {
                    Ok(()) => *asked.entry(target.clone()).or_default() += 1,
                    Err(_) => peer = RawPeer::connect(broker.port()).await.unwrap(),
                }
            }
        }
        // Each message is read after the earlier ones of its subscription.
        for target in &targets {
            let inbox = plain.new_inbox();
            let body = if target.ends_with("_open") { OPEN } else { b"" };
            let mut answers = plain.subscribe(inbox.clone()).await.unwrap();
            plain.publish_with_reply(target.clone(), inbox.clone(), body.into()).await.unwrap();
            timeout(LIMIT, answers.next()).await.unwrap().unwrap();
            *asked.entry(target.clone()).or_default() += 1;
        }
        plain.publish("end-of-test", "".into()).await.unwrap();
        let mut seen = seen(&mut spy, "end-of-test").await;
        let is_answer = |subject: &str| subject.starts_with("_INBOX.") && subject.len() < 1000;
        seen.retain(|subject, _| !is_answer(subject));
        assert_eq!(seen, asked, "the service published to a subject of the peer's choice");
        // The requests to Echo of both services with an inbox as reply subject.
        assert_eq!(strings.started(), 2, "handlers ran although their answers could not be sent");

        client.echo(Blob::default()).await.unwrap();
        assert_eq!(nats.state().epoch, 1, "the connection broke");
        running.stop();
        running.join().await.unwrap();
    }

    /// One peer sends such requests at full speed, while others make calls.
    async fn a_loop_of_replies_disturbs_nobody(broker: TestBroker) {
        let strings = Strings::default();
        let running = puppet::serve(&broker.url(), &strings).await.unwrap();
        let client = puppet::client(&broker.url()).await.unwrap();
        let mut peer = RawPeer::connect(broker.port()).await.unwrap();
        let own = subject("Echo");
        let request = format!("PUB {own} {own} 0\r\n\r\nPUB $SRV.PING $SRV.PING 0\r\n\r\n");
        for _ in 0..20 {
            peer.send(request.repeat(500).as_bytes()).await.unwrap();
            peer.round_trip().await.unwrap();
            client.echo(Blob::default()).timeout(LIMIT).await.unwrap();
        }
        assert_eq!(strings.started(), 20, "handlers ran although their answers could not be sent");
        running.stop();
        running.join().await.unwrap();
    }

    /// A client refuses other subjects, because a service could otherwise make it publish with its
    /// own permissions.
    async fn a_client_sends_packets_to_the_service_that_it_called(broker: TestBroker) {
        let service = async_nats::connect(broker.url()).await.unwrap();
        let base = STREAMS_SPEC.base_subject();
        let mut opening = service.subscribe(format!("{base}._open")).await.unwrap();
        let mut spies = stream::SelectAll::new();
        for subject in ["nmfw.other.>", "$JS.>", "$SRV.>", "_INBOX.other", "end-of-test"] {
            spies.push(service.subscribe(subject).await.unwrap());
        }
        round_trip(&service, LIMIT).await.unwrap();
        let offer = [OFFER, &[6, 1, 8, 7, 2], b"I1"].concat();
        let accept = packet(0, 0, &[frame(0, kind::ACCEPT, &offer)]);
        let subjects = [
            Some("nmfw.other.Pay"),
            Some("$JS.API.STREAM.DELETE.orders"),
            Some("$SRV.PING"),
            Some("_INBOX.other"),
            Some("_INBOX.>"),
            None,
        ];
        for named in subjects {
            let nats = nmfw::connect(broker.url()).await.unwrap();
            let client = StreamsClient::new(Channel::new(nats).max_attempts(1));
            let call = client.count(CountRequest::default()).timeout(LIMIT);
            let call = tokio::spawn(call.send());
            let open = timeout(LIMIT, opening.next()).await.unwrap().unwrap();
            assert_eq!(first_kind(&open.payload), Some(kind::OPEN), "a packet other than OPEN");
            let seal = Seal::service(secret_of(&open.payload));
            let (inbox, accept) = (open.reply.unwrap(), seal.seal(accept.clone()).into());
            match named {
                Some(named) => service.publish_with_reply(inbox, named, accept).await,
                None => service.publish(inbox, accept).await,
            }
            .unwrap();
            let status = call.await.unwrap().err().unwrap();
            assert_eq!(status.code(), Code::Internal, "{named:?}: {status}");
            assert!(status.is_not_started(), "{named:?}: {status}");
            assert!(status.message().contains("the answer to OPEN"), "{named:?}: {status}");
        }
        service.publish("end-of-test", "".into()).await.unwrap();
        let first = timeout(LIMIT, spies.next()).await.unwrap().unwrap();
        assert_eq!(first.subject.as_str(), "end-of-test", "the client has sent packets to another subject");
    }
}
