//! Excessive headers, and more messages than a subscription holds: their sender gets an error for
//! each or loses them, and all other clients are served.

use std::{fmt::Write as _, time::Duration};

use futures_util::{FutureExt, StreamExt};
use nmfw::{Channel, Code, ConnectOptions, ConnectionEvent, NatsChannel as _, Server};
use nmfw_tests::{
    TestBroker, eventually,
    foreign_peer::{RawPeer, bytes, status_of, subject},
    on_both_brokers,
    puppet::{self, Blob, PuppetServer, SleepRequest, Strings},
    round_trip,
    stream_load::StreamLoad,
    streams::{Flows, StreamsClient, StreamsServer},
};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);

/// Creates `count` headers with values of `value` bytes.
fn headers(count: usize, value: usize) -> Vec<u8> {
    let mut headers = "NATS/1.0\r\n".to_owned();
    for n in 0..count {
        write!(headers, "n{n}:{}\r\n", "v".repeat(value)).unwrap();
    }
    headers.push_str("\r\n");
    headers.into_bytes()
}

/// Returns excessive headers, each with the expected error.
fn floods() -> Vec<(Vec<u8>, &'static str)> {
    let opening = |headers: Vec<u8>| [b"NATS/1.0\r\nNmfw-Session:1\r\n", &headers[10..]].concat();
    vec![
        (headers(50_000, 1), "50000 headers"),
        (headers(513, 1), "513 headers"),
        (headers(1, 200_000), "1 headers with 2000"),
        (headers(100, 5_000), "100 headers with"),
        (opening(headers(50_000, 1)), "50001 headers"),
        // These can be parsed, but exceed the limit of metadata.
        (headers(512, 1), "limit of 256 values"),
    ]
}

on_both_brokers! {
    async fn a_request_with_a_flood_of_headers_is_refused(broker: TestBroker) {
        let strings = Strings::default();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let server = Server::new(nats.clone()).add_service(PuppetServer::new(strings.clone()));
        let running = server.start().await.unwrap();
        let client = puppet::client(&broker.url()).await.unwrap();
        let plain = async_nats::connect(broker.url()).await.unwrap();
        let mut replies = plain.subscribe("replies").await.unwrap();
        round_trip(&plain, LIMIT).await.unwrap();
        let mut peer = RawPeer::connect(broker.port()).await.unwrap();
        for (headers, text) in floods() {
            peer.publish(&subject("Echo"), "replies", &headers, b"").await.unwrap();
            let reply = timeout(LIMIT, replies.next()).await.unwrap().unwrap();
            assert_eq!(status_of(&reply).0, "3", "{text}");
            assert!(status_of(&reply).1.contains(text), "{text}: {:?}", status_of(&reply));
            client.echo(Blob::default()).timeout(LIMIT).await.unwrap();
        }
        assert_eq!(strings.started(), floods().len() as u64, "a flood has reached the handler");
        assert_eq!(nats.state().epoch, 1, "the connection broke");
        running.stop();
        running.join().await.unwrap();
    }

    async fn a_reply_with_a_flood_of_headers_is_an_error(broker: TestBroker) {
        let client = puppet::client(&broker.url()).await.unwrap();
        let impostor = async_nats::connect(broker.url()).await.unwrap();
        let mut requests = impostor.subscribe(subject("Echo")).await.unwrap();
        round_trip(&impostor, LIMIT).await.unwrap();
        let mut peer = RawPeer::connect(broker.port()).await.unwrap();
        for (headers, text) in floods() {
            let call = tokio::spawn(client.echo(Blob::default()).timeout(LIMIT).send());
            let request = timeout(LIMIT, requests.next()).await.unwrap().unwrap();
            peer.publish(&request.reply.unwrap(), "", &headers, b"").await.unwrap();
            let outcome = timeout(LIMIT, call).await.unwrap().unwrap();
            if text == "limit of 256 values" {
                outcome.unwrap();
                continue;
            }
            let status = outcome.unwrap_err();
            assert_eq!(status.code(), Code::Internal, "{text}: {status}");
            assert!(status.message().contains(text), "{text}: {status}");
        }
    }

    /// Sessions, other methods and discovery have their own subscriptions.
    async fn a_flooded_method_holds_up_nothing_else(broker: TestBroker) {
        let (strings, flows) = (Strings::default(), Flows::default());
        let options = ConnectOptions::new().subscription_capacity(512);
        let nats = options.connect(broker.url()).await.unwrap();
        let mut events = nats.events();
        let server = Server::new(nats.clone())
            .add_service(PuppetServer::new(strings.clone()))
            .add_service(StreamsServer::new(flows.clone()));
        let running = server.start().await.unwrap();
        let other = nmfw::connect(broker.url()).await.unwrap();
        let mut load = StreamLoad::start(&StreamsClient::new(Channel::new(other).multiplexed()), 1);
        load.goes_on(LIMIT).await;
        let client = puppet::client(&broker.url()).await.unwrap();
        let mut peer = RawPeer::connect(broker.port()).await.unwrap();

        let request = format!("PUB {} flooded 0\r\n\r\n", subject("Echo")).repeat(20_000);
        let flood = async {
            let is_slow = |event: &ConnectionEvent| matches!(event, ConnectionEvent::SlowConsumer { .. });
            while !events.next().now_or_never().flatten().is_some_and(|event| is_slow(&event)) {
                peer.send(request.as_bytes()).await.unwrap();
                peer.round_trip().await.unwrap();
            }
        };
        let calls = async {
            loop {
                client.sleep(SleepRequest { millis: 1 }).timeout(LIMIT).await.unwrap();
            }
        };
        tokio::select! {
            slow = timeout(LIMIT, flood) => slow.unwrap(),
            () = calls => {}
        }
        load.goes_on(LIMIT).await;
        load.finish(LIMIT).await;
        // The flooded method accepts calls again.
        let echo = || client.echo(Blob { data: bytes(&SleepRequest { millis: 7 }) }).send();
        eventually(LIMIT, echo).await;
        assert_eq!(nats.state().epoch, 1, "the connection broke");
        running.stop();
        running.join().await.unwrap();
    }
}
