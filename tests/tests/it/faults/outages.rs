//! Connections that are lost for longer than a session lasts: calls of every kind that begin after
//! the reconnect soon succeed, and streams that the other side has ended end then.

use nmfw::async_nats::ConnectionExt as _;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use nmfw::{
    Channel, Code, ConnectOptions, Connection, NatsChannel as _, Server, Status, server::Running,
};
use nmfw_tests::{
    Proxy, TestBroker,
    broker::{Kind, TEST_LIMIT, run},
    chosen, eventually, on_both_brokers, round_trip,
    streams::{CountRequest, Flows, Item, StreamsClient, StreamsServer, Total, items},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// Longer than any step.
const LIMIT: Duration = Duration::from_secs(30);

/// The maximum delay of calls and ends after a reconnect, in addition to the slowest call of the
/// same kinds just before, which reflects the load of the machine.
const SOON: Duration = Duration::from_secs(1);

/// Number of streams that are open when the connection is lost.
const OPEN: u64 = 4;

/// Reconnects fast.
fn options() -> ConnectOptions {
    ConnectOptions::new().reconnect_delay(|_| Duration::from_millis(20))
}

async fn serve(nats: Connection, flows: &Flows) -> Running {
    let server = Server::new(nats).add_service(StreamsServer::new(flows.clone()));
    server.start().await.unwrap()
}

/// Creates clients that use base mode where possible, and sessions for all calls.
fn clients(nats: &Connection) -> [(&'static str, StreamsClient); 2] {
    [
        ("base mode", StreamsClient::new(Channel::new(nats))),
        (
            "sessions",
            StreamsClient::new(Channel::new(nats).multiplexed()),
        ),
    ]
}

fn call(
    client: &StreamsClient,
    kind: usize,
) -> (&'static str, BoxFuture<'static, Result<(), Status>>) {
    let client = client.clone();
    let (name, call): (_, BoxFuture<'static, Result<(), Status>>) = match kind {
        0 => (
            "Echo",
            async move { client.echo(Item::default()).await.map(drop) }.boxed(),
        ),
        1 => (
            "Count",
            async move {
                let to = 3;
                let request = CountRequest {
                    to,
                    ..CountRequest::default()
                };
                let total = Total::of(client.count(request).await?).await?;
                assert_eq!(total.count, to);
                Ok(())
            }
            .boxed(),
        ),
        2 => (
            "Sum",
            async move { client.sum(items(0, 3, 9)).await.map(drop) }.boxed(),
        ),
        _ => (
            "Chat",
            async move {
                let total = Total::of(client.chat(items(0, 3, 9)).await?).await?;
                assert_eq!(total.count, 3);
                Ok(())
            }
            .boxed(),
        ),
    };
    (name, call)
}

/// Begins calls of every kind, one after the other at growing intervals, and waits for all. Returns
/// the duration of the slowest, which must not exceed `most`.
async fn all_kinds_do_well(clients: &[(&'static str, StreamsClient)], most: Duration) -> Duration {
    let mut calls = JoinSet::new();
    let begin = Instant::now();
    for pause in [0, 1, 2, 5, 10, 30, 100, 300, 700] {
        sleep(Duration::from_millis(pause)).await;
        for (way, client) in clients {
            for kind in 0..4 {
                let (name, call) = call(client, kind);
                let (way, at) = (*way, begin.elapsed());
                calls.spawn(async move {
                    let begin = Instant::now();
                    let outcome = timeout(LIMIT, call).await;
                    (
                        format!("{name} by {way} after {at:?}"),
                        outcome,
                        begin.elapsed(),
                    )
                });
            }
        }
    }
    let mut bad = Vec::new();
    let mut slowest = Duration::ZERO;
    while let Some(call) = calls.join_next().await {
        let (what, outcome, took) = call.unwrap();
        slowest = slowest.max(took);
        if !matches!(outcome, Ok(Ok(()))) || took > most {
            bad.push(format!("{what}: {outcome:?} in {took:?}"));
        }
    }
    assert!(
        bad.is_empty(),
        "calls did not succeed within {most:?}: {bad:#?}"
    );
    slowest
}

/// Opens streams that last until one side gives them up: silent ones, and an active one, by which
/// the service soon notices that its client is away.
async fn open_streams(client: &StreamsClient, flows: &Flows) -> JoinSet<(Status, Instant)> {
    let mut open = JoinSet::new();
    let before = flows.started();
    let silent = || items(0, 3, 9).chain(stream::pending());
    let hang = CountRequest {
        to: 3,
        hang: true,
        ..CountRequest::default()
    };
    let talk = CountRequest {
        to: u64::MAX,
        pause_micros: 5000,
        ..CountRequest::default()
    };
    for request in [hang, talk] {
        let count = client.count(request);
        open.spawn(async move {
            let end = async { Total::of(count.await?).await };
            (end.await.unwrap_err(), Instant::now())
        });
    }
    let (sum, chat) = (client.sum(silent()), client.chat(silent()));
    open.spawn(async move { (sum.await.unwrap_err(), Instant::now()) });
    open.spawn(async move {
        let end = async { Total::of(chat.await?).await };
        (end.await.unwrap_err(), Instant::now())
    });
    eventually(LIMIT, || async { flows.started() == before + OPEN }).await;
    open
}

async fn back(nats: &Connection, epoch: u64) {
    let back = nats.wait_for_state(|state| state.is_connected() && state.epoch > epoch);
    timeout(LIMIT, back).await.unwrap();
}

fn epoch(nats: &Connection) -> u64 {
    nats.state().epoch
}

async fn client_away(broker: TestBroker, away: Duration) {
    let proxy = Proxy::start(broker.port()).await.unwrap();
    let flows = Flows::default();
    let _running = serve(nmfw::connect(broker.url()).await.unwrap(), &flows).await;
    let nats = options().connect(proxy.url()).await.unwrap();
    let clients = clients(&nats);
    let soon = SOON + all_kinds_do_well(&clients, LIMIT).await;
    let mut open = open_streams(&clients[1].1, &flows).await;
    let dropped = flows.dropped();

    let before = epoch(&nats);
    proxy.down();
    sleep(away).await;
    let is_given_up = flows.dropped() > dropped;
    proxy.up();
    back(&nats, before).await;
    let begin = Instant::now();
    all_kinds_do_well(&clients, soon).await;

    // The service considers a client dead that has had no subscription for ten seconds.
    assert_eq!(is_given_up, away > Duration::from_secs(11));
    if is_given_up {
        for _ in 0..OPEN {
            let ended = timeout(soon, open.join_next())
                .await
                .expect("a stream hangs");
            let (status, at) = ended.unwrap().unwrap();
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            assert!(!status.is_not_started(), "{status}");
            assert!(at - begin < soon, "took {:?}", at - begin);
        }
    } else {
        assert!(open.try_join_next().is_none(), "a stream has ended");
        assert_eq!(flows.dropped(), dropped);
    }
}

async fn service_away(broker: TestBroker, away: Duration) {
    let proxy = Proxy::start(broker.port()).await.unwrap();
    let flows = Flows::default();
    let service = options().connect(proxy.url()).await.unwrap();
    let _running = serve(service.clone(), &flows).await;
    let nats = nmfw::connect(broker.url()).await.unwrap();
    let clients = clients(&nats);
    let soon = SOON + all_kinds_do_well(&clients, LIMIT).await;
    let mut open = open_streams(&clients[1].1, &flows).await;
    let dropped = flows.dropped();

    let before = epoch(&service);
    proxy.down();
    // The client considers the service dead, and removes the session.
    while open.join_next().await.is_some() {}
    sleep(away).await;
    assert_eq!(
        flows.dropped(),
        dropped,
        "the stream ended while the service was disconnected"
    );
    proxy.up();
    back(&service, before).await;
    // The subscriptions of the service have to reach the server first.
    round_trip(service.client(), LIMIT).await.unwrap();
    all_kinds_do_well(&clients, soon).await;
    eventually(soon, || async { flows.dropped() == dropped + OPEN }).await;
}

/// The longest outage after which calls must succeed within a second.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_away_for_a_minute_is_told() {
    if !chosen("all") {
        return;
    }
    let minute = Duration::from_secs(60);
    let limit = minute + TEST_LIMIT;
    let on = |kind| {
        run("away_for_a_minute", kind, limit, move |broker| {
            client_away(broker, minute)
        })
    };
    tokio::join!(on(Kind::Embedded), on(Kind::NatsServer));
}

on_both_brokers! {
    async fn a_client_that_is_away_for_a_moment_loses_nothing(broker: TestBroker) {
        client_away(broker, Duration::from_secs(1)).await;
    }

    async fn a_client_that_is_away_for_long_is_told(broker: TestBroker) {
        client_away(broker, Duration::from_secs(12)).await;
    }

    async fn a_client_that_is_away_for_longer_is_told(broker: TestBroker) {
        client_away(broker, Duration::from_secs(24)).await;
    }

    async fn a_service_that_is_away_for_long_is_told(broker: TestBroker) {
        service_away(broker, Duration::from_millis(500)).await;
    }
}
