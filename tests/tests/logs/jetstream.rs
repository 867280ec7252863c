//! JetStream streams, and other foreign subscribers, on the subjects of a service.

use nmfw::async_nats::ConnectionExt as _;
use std::time::Duration;

use futures_util::StreamExt;
use nmfw::{Channel, Code, Connection, Metadata, NatsChannel as _, Server};
use nmfw_tests::{
    NatsServer, TestBroker, eventually,
    log::Log,
    mirror::{self, Client, SPEC},
    on_both_brokers, round_trip,
};
use serde_json::json;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);

/// Creates a stream that captures these subjects.
async fn capture(nats: &Connection, stream: &str, subjects: &[&str]) {
    let config = json!({ "name": stream, "subjects": subjects, "storage": "memory" });
    let subject = format!("$JS.API.STREAM.CREATE.{stream}");
    let answer = nats.client().request(subject, config.to_string().into());
    let answer = answer.await.unwrap().payload;
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    assert!(answer["error"].is_null(), "{answer}");
}

async fn messages(nats: &Connection, stream: &str) -> u64 {
    let subject = format!("$JS.API.STREAM.INFO.{stream}");
    let answer = nats.client().request(subject, "".into()).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
    answer["state"]["messages"].as_u64().unwrap()
}

/// Checks calls in every mode: the acknowledgements are not mistaken for answers.
async fn all_ways_work(nats: &Connection, subjects: &[&str]) {
    capture(nats, "ORDERS", subjects).await;
    let server = Server::new(nats).add_service(mirror::service(&SPEC));
    let running = server.start().await.unwrap();
    for (way, client) in Client::all(nats, &SPEC).await.unwrap() {
        for _ in 0..20 {
            assert_eq!(client.echo("x").await.unwrap(), "x", "{way}");
            client.count("x", &Metadata::new()).await.unwrap();
        }
    }
    let channel = Channel::new(nats);
    channel.wait_ready(&SPEC, LIMIT).await.unwrap();
    // The stream has stored the messages.
    eventually(LIMIT, || async { messages(nats, "ORDERS").await >= 20 }).await;
    running.stop();
    running.join().await.unwrap();
}

#[tokio::test]
async fn a_stream_on_the_subjects_is_no_answer() {
    let server = NatsServer::builder().jetstream().start().await.unwrap();
    let nats = nmfw::connect(server.url()).await.unwrap();
    all_ways_work(&nats, &["nmfw.>"]).await;
}

/// The packets of a service to its clients, and its answers, are captured too.
#[tokio::test]
async fn a_stream_on_the_inboxes_is_no_answer_either() {
    let server = NatsServer::builder().jetstream().start().await.unwrap();
    let nats = nmfw::connect(server.url()).await.unwrap();
    all_ways_work(&nats, &["_INBOX.>", "nmfw.mirror.*"]).await;
}

/// The subjects of discovery cannot be captured, but those of a service of the same name can.
#[tokio::test]
async fn without_a_service_the_error_names_the_stream() {
    let server = NatsServer::builder().jetstream().start().await.unwrap();
    let nats = nmfw::connect(server.url()).await.unwrap();
    capture(&nats, "ORDERS", &["nmfw.>"]).await;
    let client = Client::new(Channel::new(&nats), &SPEC);
    let call = client.echo("x").timeout(Duration::from_millis(300));
    let status = call.await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    let text = "a JetStream stream captures nmfw.mirror.Echo: its acknowledgement arrived first";
    assert!(status.message().contains(text), "{status}");
    assert!(status.message().contains("\"ORDERS\""), "{status}");

    let status = client.count("x", &Metadata::new()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.is_not_started());
    let text = "a JetStream stream captures nmfw.mirror._open: its acknowledgement arrived first";
    assert!(status.message().contains(text), "{status}");
}

#[tokio::test]
async fn both_sides_warn_of_a_stream() {
    // Other tests of this process have their own subjects in the log.
    const SUBJECT: &str = "nmfw.warned";
    let log = Log::start().unwrap();
    let server = NatsServer::builder().jetstream().start().await.unwrap();
    let nats = nmfw::connect(server.url()).await.unwrap();
    // A stream with a similar subject that captures no request.
    capture(&nats, "NEAR", &["nmfw.warned.events.>"]).await;
    capture(&nats, "ORDERS", &["nmfw.warned.Echo"]).await;
    let service = mirror::service(&SPEC).subject(SUBJECT);
    let _running = Server::new(&nats)
        .add_service(service)
        .start()
        .await
        .unwrap();
    let of = |text: &str| {
        let lines = log.with(text).into_iter();
        lines
            .filter(|line| line.contains(SUBJECT))
            .collect::<Vec<_>>()
    };
    eventually(LIMIT, || async { !of("stores every request").is_empty() }).await;
    let warnings = of("stores every request");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("ORDERS"), "{warnings:?}");
    assert!(
        warnings[0].contains("captures nmfw.warned.Echo:"),
        "{warnings:?}"
    );

    let client = Client::new(Channel::new(&nats).subject(SUBJECT), &SPEC);
    for _ in 0..10 {
        client.echo("x").await.unwrap();
    }
    let warnings = of("its acknowledgement arrived first");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("ORDERS"), "{warnings:?}");
}

/// A user without the permission to ask leaves no error in the server's log.
#[tokio::test]
async fn a_service_with_a_login_does_not_ask() {
    let users = "authorization { users: [
        { user: s, password: p, permissions: { publish: [\"_INBOX.>\"], subscribe: [\">\"] } }
    ] }";
    let server = NatsServer::builder().jetstream().config(users);
    let server = server.start().await.unwrap();
    let url = server.url().replace("nats://", "nats://s:p@");
    let nats = nmfw::connect(url).await.unwrap();
    let running = Server::new(&nats).add_service(mirror::service(&SPEC));
    let running = running.start().await.unwrap();
    // Queries at the start precede the last round trip.
    running.stop();
    running.join().await.unwrap();
    let log = server.log().text();
    assert!(!log.to_lowercase().contains("violation"), "{log}");
}

/// Answers each request on a subject with the same bytes.
async fn stranger(broker: &TestBroker, subject: &'static str, answer: &'static [u8]) {
    let client = async_nats::connect(broker.url()).await.unwrap();
    let mut requests = client.subscribe(subject).await.unwrap();
    round_trip(&client, LIMIT).await.unwrap();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let reply = request.reply.unwrap();
            client.publish(reply, answer.into()).await.unwrap();
        }
    });
}

on_both_brokers! {
    async fn a_strangers_reply_is_told_from_an_answer(broker: TestBroker) {
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let client = Client::new(Channel::new(&nats), &SPEC);
        stranger(&broker, "nmfw.mirror.*", b"{\"hello\":\"world\"}").await;
        let status = client.echo("x").await.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{status}");
        for part in ["mirror.Mirror.Echo", "came from nmfw.mirror.Echo"] {
            assert!(status.message().contains(part), "{status}");
        }
        let metadata = Metadata::new();
        let call = client.count("x", &metadata);
        let status = timeout(LIMIT, call).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{status}");
        for part in ["nmfw.mirror.", "does not come from an nmfw service"] {
            assert!(status.message().contains(part), "{status}");
        }
    }
}
