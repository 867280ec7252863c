//! Tests of the harness itself, on which the other tests rely.

use std::time::{Duration, Instant};

use nmfw_tests::broker::{Kind, Options, TestBroker, run};
use nmfw_tests::{Failure, NatsServer, eventually, on_both_brokers, probe, round_trip};

const LIMIT: Duration = Duration::from_secs(10);

/// Makes one round trip to the server, within a limit.
async fn answers(client: &async_nats::Client) -> Result<(), Failure> {
    round_trip(client, Duration::from_millis(300)).await
}

#[tokio::test]
async fn a_server_serves_and_is_gone_after_drop() {
    let server = NatsServer::start().await.unwrap();
    let client = async_nats::connect(server.url()).await.unwrap();
    answers(&client).await.unwrap();
    assert!(
        !client.server_info().jetstream,
        "JetStream is off unless asked for"
    );

    let port = server.port();
    let log = server.log().clone();
    drop(server);
    assert!(
        std::net::TcpStream::connect(("127.0.0.1", port)).is_err(),
        "the port {port} is still in use"
    );
    assert!(
        log.text().contains("Server is ready"),
        "the log outlives the server"
    );
}

#[tokio::test]
async fn a_restart_keeps_the_port_and_clients_come_back() {
    let mut server = NatsServer::start().await.unwrap();
    let client = async_nats::connect(server.url()).await.unwrap();
    answers(&client).await.unwrap();
    let (url, pid) = (server.url(), server.pid());

    server.kill().unwrap();
    assert!(
        probe::ask(server.port()).await.is_err(),
        "a killed server still answers"
    );
    assert_eq!(server.pid(), None);
    server.restart().await.unwrap();

    assert_eq!(server.url(), url);
    assert_ne!(server.pid(), pid);
    eventually(LIMIT, || answers(&client)).await;
}

#[tokio::test]
async fn a_frozen_server_keeps_connections_and_answers_once_thawed() {
    let server = NatsServer::start().await.unwrap();
    let client = async_nats::connect(server.url()).await.unwrap();
    answers(&client).await.unwrap();

    server.freeze().await.unwrap();
    let failure = answers(&client).await.unwrap_err();
    assert!(failure.to_string().contains("no echo"), "{failure}");
    server.thaw().unwrap();

    eventually(LIMIT, || answers(&client)).await;
    assert_eq!(
        client
            .statistics()
            .connects
            .load(std::sync::atomic::Ordering::Relaxed),
        1
    );
}

#[tokio::test]
async fn a_terminated_server_shuts_down_cleanly() {
    let mut server = NatsServer::start().await.unwrap();
    server.terminate().await.unwrap();
    assert!(
        server.log().text().contains("Server Exiting"),
        "{}",
        server.log().text()
    );
    assert!(
        server.freeze().await.is_err(),
        "a stopped server was frozen"
    );
}

#[tokio::test]
async fn lame_duck_mode_is_announced() {
    let server = NatsServer::start().await.unwrap();
    server.lame_duck().unwrap();
    let log = server.log().clone();
    eventually(LIMIT, || async { log.text().contains("lame duck") }).await;
}

#[tokio::test]
async fn configuration_reaches_the_server() {
    let server = NatsServer::builder()
        .max_payload(2048)
        .jetstream()
        .config(r#"authorization { user: "u", password: "p" }"#)
        .start()
        .await
        .unwrap();
    assert!(
        async_nats::connect(server.url()).await.is_err(),
        "a client without a password was accepted"
    );
    let client = async_nats::ConnectOptions::with_user_and_password("u".into(), "p".into())
        .connect(server.url())
        .await
        .unwrap();
    let info = client.server_info();
    assert_eq!(info.max_payload, 2048);
    assert!(info.jetstream);
}

#[tokio::test]
async fn a_server_that_cannot_start_fails_at_once_with_the_reason() {
    let began = Instant::now();
    let failure = NatsServer::builder()
        .config("no_such_key: 1")
        .start()
        .await
        .unwrap_err();
    assert!(failure.to_string().contains("no_such_key"), "{failure}");

    let first = NatsServer::start().await.unwrap();
    let failure = NatsServer::builder()
        .port(first.port())
        .start()
        .await
        .unwrap_err();
    assert!(
        failure.to_string().contains("address already in use"),
        "{failure}"
    );
    assert!(began.elapsed() < LIMIT, "took {:?}", began.elapsed());
}

on_both_brokers! {
    async fn a_broker_stops_and_comes_back_on_its_port(mut broker: TestBroker) {
        let client = async_nats::connect(broker.url()).await.unwrap();
        answers(&client).await.unwrap();
        broker.stop().await.unwrap();
        broker.stop().await.unwrap();
        assert!(async_nats::connect(broker.url()).await.is_err());
        broker.restart().await.unwrap();
        eventually(LIMIT, || answers(&client)).await;
        broker.restart().await.unwrap();
        eventually(LIMIT, || answers(&client)).await;
    }

    async fn a_second_broker_of_a_kind_has_its_own_options(broker: TestBroker) {
        let small = Options { max_payload: Some(1_000), ..Options::default() };
        let small = broker.another(small).await.unwrap();
        assert_eq!(small.kind(), broker.kind());
        for (url, limit) in [(small.url(), 1_000), (broker.url(), 1024 * 1024)] {
            let client = async_nats::connect(url).await.unwrap();
            assert_eq!(client.server_info().max_payload, limit);
        }
        let taken = Options { port: Some(small.port()), ..Options::default() };
        assert!(broker.another(taken).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "sleeper on the nats-server: the test did not end within 50ms")]
async fn a_test_that_hangs_fails_by_name() {
    let limit = Duration::from_millis(50);
    run("sleeper", Kind::NatsServer, limit, |_broker| {
        std::future::pending::<()>()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "refuser on the embedded broker: \"no\"")]
async fn a_test_that_returns_an_error_fails() {
    run("refuser", Kind::Embedded, LIMIT, |_broker| async {
        Err("no")
    })
    .await;
}
