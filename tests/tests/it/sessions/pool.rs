//! The instances with which a client has sessions, and what happens to calls when instances start
//! and stop.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use nmfw::{Channel, Code, NatsChannel as _, Server, Streaming, server::Running};
use nmfw_tests::{
    TestBroker, eventually, on_both_brokers,
    streams::{self, CountRequest, Flows, Item, StreamsClient, StreamsServer, Total},
};
use tokio::{task::JoinSet, time::timeout};

const LIMIT: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_secs(2);
/// The documented maximum age of a session.
const MAX_AGE: Duration = Duration::from_secs(60);

async fn serve(url: &str, flows: &Flows) -> Running {
    streams::serve(url, flows).await.unwrap()
}

fn forever() -> CountRequest {
    CountRequest {
        to: u64::MAX,
        pause_micros: 1000,
        ..CountRequest::default()
    }
}

on_both_brokers! {
    /// Streams of one client go to several instances.
    async fn streams_are_spread(broker: TestBroker) {
        let all: Vec<Flows> = (0..3).map(|_| Flows::default()).collect();
        let mut running = Vec::new();
        for flows in &all {
            running.push(serve(&broker.url(), flows).await);
        }
        let client = streams::client(&broker.url()).await.unwrap();
        // Further sessions are opened during calls; NATS chooses the instances.
        let mut open = JoinSet::new();
        eventually(LIMIT, || {
            let call = client.count(forever());
            open.spawn(async move {
                let mut count = call.await.unwrap();
                while count.message().await.unwrap().is_some() {}
            });
            let busy = all.iter().filter(|flows| flows.started() > 0).count();
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if busy >= 2 { Ok(()) } else { Err(format!("only {busy} instances received calls")) }
            }
        })
        .await;
        // With two sessions, calls go to the less loaded one, and then to both: the first one has many
        // if the second took its time.
        let before: Vec<u64> = all.iter().map(Flows::started).collect();
        let calls = before.iter().max().unwrap_or(&0) + 100;
        for _ in 0..calls {
            let call = client.count(forever());
            open.spawn(async move {
                let mut count = call.await.unwrap();
                while count.message().await.unwrap().is_some() {}
            });
        }
        eventually(LIMIT, || async {
            let now: u64 = all.iter().map(Flows::started).sum();
            now == before.iter().sum::<u64>() + calls
        })
        .await;
        let more = all.iter().zip(&before).map(|(flows, before)| flows.started() - before);
        let busy = more.filter(|more| *more > 10).count();
        assert!(busy >= 2, "{before:?} calls before, {all:?} after");
        open.shutdown().await;
    }

    /// Calls leave a full instance for another at once, and a stopping instance too. Refused calls
    /// are sent again.
    async fn full_and_stopping_instances_are_left(broker: TestBroker) {
        let (full, other) = (Flows::default(), Flows::default());
        let nats = nmfw::connect(&broker.url()).await.unwrap();
        let service = StreamsServer::new(full.clone()).concurrency(1).queue(0);
        let full_running = Server::new(nats).add_service(service).start().await.unwrap();
        let client = streams::client(&broker.url()).await.unwrap();
        // The only place for each method is taken.
        let mut count = client.count(forever()).await.unwrap();
        count.message().await.unwrap();
        let (_ask, questions) = Streaming::<Item>::channel(1);
        let sum = tokio::spawn(client.sum(questions).send());
        eventually(LIMIT, || async { full.started() == 2 }).await;

        let status = client.count(forever()).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.is_not_started());

        let other_running = serve(&broker.url(), &other).await;
        for n in 1..=20 {
            let requests = streams::items(0, 50, 100);
            assert_eq!(client.sum(requests).await.unwrap().count, 50);
            assert_eq!(other.finished(), n);
        }
        assert_eq!(full.started(), 2);

        // The full instance stops. Calls in flight continue there; new calls go to the other
        // instance.
        full_running.stop();
        for _ in 0..20 {
            let chat = client.chat(streams::items(0, 10, 0)).await.unwrap();
            assert_eq!(Total::of(chat).await.unwrap().count, 10);
        }
        count.message().await.unwrap();
        drop((count, sum));
        timeout(LIMIT, full_running.join()).await.unwrap().unwrap();
        drop(other_running);
    }

    /// A new instance gets calls of clients with existing sessions. This takes up to a minute, so
    /// the test is slow.
    async fn a_new_instance_gets_its_share(broker: TestBroker) {
        let (old, new) = (Flows::default(), Flows::default());
        let _old = serve(&broker.url(), &old).await;
        let nats = nmfw::connect(&broker.url()).await.unwrap();
        let channel = Channel::new(nats).multiplexed();
        let client = StreamsClient::new(channel);
        client.count(CountRequest::default()).await.unwrap();
        let _new = serve(&broker.url(), &new).await;
        let begin = Instant::now();
        while new.started() == 0 {
            assert!(begin.elapsed() < MAX_AGE, "a new instance receives no calls");
            client.echo(Item::default()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let of_old = old.started();
        for _ in 0..400 {
            client.echo(Item::default()).await.unwrap();
        }
        let share = old.started() - of_old;
        assert!((100..=300).contains(&share), "the old instance still receives {share} of 400 \
                                               calls");
    }

    async fn a_service_that_is_not_there_is_named(broker: TestBroker) {
        let client = streams::client(&broker.url()).await.unwrap();
        let call = client.count(forever());
        let status = timeout(SHORT, call.send()).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.is_not_started());
        assert!(status.message().contains("nmfw.nmfw.streams._open"), "{status}");
        // The service is found once it has started.
        let _running = serve(&broker.url(), &Flows::default()).await;
        client.count(CountRequest::default()).await.unwrap();
    }

    /// The requests and answers of the foreign service look the same, but it has no sessions.
    async fn a_foreign_service_has_no_streams(broker: TestBroker) {
        let nats = async_nats::connect(broker.url()).await.unwrap();
        let mut requests = nats.subscribe("nmfw.nmfw.streams.*").await.unwrap();
        nats.flush().await.unwrap();
        let foreign = tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                let reply = request.reply.unwrap();
                nats.publish(reply, "hm?".into()).await.unwrap();
            }
        });
        let client = streams::client(&broker.url()).await.unwrap();
        let call = client.count(forever());
        let status = timeout(LIMIT, call.send()).await.unwrap().unwrap_err();
        assert!(status.is_not_started(), "{status}");
        assert!(status.message().contains("_open"), "{status}");
        foreign.abort();
    }
}

/// A server's subscription holds the packets that all sessions may send at a time: the number of
/// sessions is limited by that, and with many of them each gets little at first. Calls still
/// succeed.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_as_many_as_the_subscription_holds() {
    let server = nmfw_tests::NatsServer::start().await.unwrap();
    let flows = Flows::default();
    // 64 packets for the first two sessions, 8 for each of the others.
    let options = nmfw::ConnectOptions::new().subscription_capacity(512);
    let nats = options.connect(server.url()).await.unwrap();
    let _running = Server::new(nats)
        .add_service(StreamsServer::new(flows.clone()))
        .start()
        .await
        .unwrap();
    let mut open = Vec::new();
    for _ in 0..18 {
        let client = streams::client(&server.url()).await.unwrap();
        let mut count = client.count(forever()).await.unwrap();
        count.message().await.unwrap();
        open.push((client, count));
    }
    let late = streams::client(&server.url()).await.unwrap();
    let status = late.count(forever()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.is_not_started());
    assert!(
        status.message().contains("18 sessions are open"),
        "{status}"
    );
    // Other clients are not affected, and unary calls never are.
    late.echo(Item::default()).await.unwrap();
    let mut busy = JoinSet::new();
    for (client, _) in &open {
        for _ in 0..6 {
            busy.spawn(client.sum(streams::items(0, 2000, 500)).send());
        }
    }
    for total in busy.join_all().await {
        assert_eq!(total.unwrap().count, 2000);
    }
    // There is room again when some are closed.
    open.truncate(2);
    let gone = || async { late.count(CountRequest::default()).await.is_ok() };
    eventually(LIMIT, gone).await;
}
