//! Instances that are killed, freeze or briefly lose their connection, with multiplexed calls in
//! flight: how soon the callers notice, and which calls are unaffected.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use nmfw::{Channel, Code, ConnectOptions, NatsChannel as _, Server, Status, server::Running};
use nmfw_tests::{
    Proxy, TestBroker, eventually, on_both_brokers,
    puppet::{Blob, PuppetClient, PuppetServer, SleepRequest, Strings},
    streams::{CountRequest, StreamsClient},
    streams_process::{Process, puppet_subject},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_streams");
const SUBJECT: &str = "test.killed";
const LIMIT: Duration = Duration::from_secs(30);
const CALLERS: usize = 16;

/// Calls wait one second for the end of a killed instance; the rest is slack for a busy machine.
/// Less than the timeout of calls, which they waited for before.
const SOON: Duration = Duration::from_secs(3);

/// The timeout of calls without their own.
const DEFAULT: Duration = Duration::from_secs(5);

fn serve(url: &str) -> Process {
    Process::serve(PROGRAM, url, SUBJECT).unwrap()
}

/// Creates clients of a channel that has sessions with `instances` instances.
async fn client(url: &str, instances: usize) -> (PuppetClient, StreamsClient) {
    let channel = Channel::new(nmfw::connect(url).await.unwrap()).multiplexed();
    let puppet = PuppetClient::new(channel.clone().subject(puppet_subject(SUBJECT)));
    let streams = StreamsClient::new(channel.subject(SUBJECT));
    puppet.wait_ready(LIMIT).await.unwrap();
    // Sessions are counted by their inboxes.
    let mut inboxes = BTreeSet::new();
    let all = async {
        while inboxes.len() < instances {
            let seen = puppet.inspect(()).await.unwrap();
            if seen.reply.contains(".s.") {
                inboxes.insert(seen.reply);
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, all)
        .await
        .expect("too few sessions are open");
    (puppet, streams)
}

/// An outcome, and the time since the beginning.
type Outcome = (Result<(), Status>, Duration);

/// Makes calls of this duration, which are in flight when the function returns.
async fn sleepers(client: &PuppetClient, millis: u64) -> JoinSet<Outcome> {
    let mut calls = JoinSet::new();
    for _ in 0..CALLERS {
        let call = client.sleep(SleepRequest { millis }).send();
        calls.spawn(async move {
            let begin = Instant::now();
            let outcome = call.await.map(drop);
            (outcome, begin.elapsed())
        });
    }
    sleep(Duration::from_millis(300)).await;
    calls
}

/// Checks that none of many calls reaches an instance that is gone: such a call would fail, because
/// it may not run twice.
async fn works(client: &PuppetClient) {
    for _ in 0..50 {
        let call = client.sleep(SleepRequest { millis: 0 });
        call.timeout(SOON).await.unwrap();
    }
}

on_both_brokers! {
    async fn calls_under_way_end_soon_and_later_ones_go_elsewhere(broker: TestBroker) {
        let mut killed = serve(&broker.url());
        let _stays = serve(&broker.url());
        let (client, _) = client(&broker.url(), 2).await;
        // Acknowledged, so no packet would be sent again.
        let calls = sleepers(&client, 4000).await;
        killed.kill().unwrap();
        let begin = Instant::now();
        // Calls that are made until the client suspects the instance.
        let later = {
            let client = client.clone();
            tokio::spawn(async move {
                sleep(SOON).await;
                works(&client).await;
            })
        };
        let mut lost = 0;
        for (outcome, took) in calls.join_all().await {
            let Err(status) = outcome else {
                assert!(took >= Duration::from_millis(3900), "{took:?}");
                continue;
            };
            lost += 1;
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            assert!(!status.is_not_started(), "{status}");
            assert!(took < SOON + Duration::from_millis(300), "{status} after {took:?}");
        }
        assert!((1..CALLERS).contains(&lost), "{lost} calls were lost");
        later.await.unwrap();
        assert!(begin.elapsed() < LIMIT);
    }

    /// Calls of methods that may run twice. The instance no longer answers, and is killed then.
    async fn idempotent_calls_succeed_elsewhere(broker: TestBroker) {
        let mut killed = serve(&broker.url());
        let _stays = serve(&broker.url());
        let (client, _) = client(&broker.url(), 2).await;
        killed.freeze().unwrap();
        let begin = Instant::now();
        let mut calls = JoinSet::new();
        for i in 0..CALLERS as u8 {
            let data = vec![i];
            let call = client.echo(Blob { data: data.clone() }).send();
            calls.spawn(async move { assert_eq!(call.await.unwrap().data, data) });
        }
        sleep(Duration::from_millis(100)).await;
        // Some calls wait for it.
        assert!(!calls.is_empty());
        killed.kill().unwrap();
        calls.join_all().await;
        let took = begin.elapsed();
        assert!(took < SOON, "{took:?}");
    }

    /// Answers of other instances do not show whether the instance has started the calls.
    async fn idempotent_calls_that_find_nobody_else(broker: TestBroker) {
        let mut killed = serve(&broker.url());
        let (client, _) = client(&broker.url(), 1).await;
        killed.freeze().unwrap();
        let mut calls = JoinSet::new();
        for _ in 0..CALLERS {
            calls.spawn(client.echo(Blob::default()).send());
        }
        sleep(Duration::from_millis(100)).await;
        let begin = Instant::now();
        killed.kill().unwrap();
        for outcome in calls.join_all().await {
            let status = outcome.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            assert!(!status.is_not_started(), "{status}");
        }
        assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    }

    /// One late call is enough, even with short deadlines.
    async fn a_second_call_does_not_go_to_an_instance_that_did_not_answer(broker: TestBroker) {
        let frozen = serve(&broker.url());
        let _stays = serve(&broker.url());
        let (client, _) = client(&broker.url(), 2).await;
        frozen.freeze().unwrap();
        let mut late = 0;
        for _ in 0..60 {
            let call = client.echo(Blob::default()).timeout(Duration::from_millis(300));
            if let Err(status) = call.await {
                assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
                late += 1;
            }
        }
        // The first call, and calls that are late because the machine is busy. Otherwise half of
        // them would be.
        assert!((1..=4).contains(&late), "{late} calls were late");
        // The instance is used again once it answers.
        frozen.thaw().unwrap();
        works(&client).await;
    }

    async fn the_only_instance(broker: TestBroker) {
        let mut killed = serve(&broker.url());
        let (client, streams) = client(&broker.url(), 1).await;
        let request = CountRequest { to: 1, hang: true, ..CountRequest::default() };
        let mut count = streams.count(request).await.unwrap();
        count.message().await.unwrap().unwrap();
        let calls = sleepers(&client, 60_000).await;
        killed.kill().unwrap();
        let begin = Instant::now();
        for (outcome, _) in calls.join_all().await {
            let status = outcome.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            assert!(!status.is_not_started(), "{status}");
        }
        assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
        // The absence of instances is now known at once.
        for _ in 0..20 {
            let begin = Instant::now();
            let status = client.sleep(SleepRequest { millis: 0 }).await.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            assert!(status.is_not_started(), "{status}");
            assert!(begin.elapsed() < DEFAULT / 5, "{:?}", begin.elapsed());
        }
        // A stream waits longer, as the instance may come back.
        let is_over = timeout(Duration::from_secs(1), count.message()).await;
        assert!(is_over.is_err(), "{is_over:?}");
        let status = timeout(LIMIT, count.message()).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        // The service is found once it is back.
        let _again = serve(&broker.url());
        eventually(LIMIT, || client.echo(Blob::default()).send()).await;
    }

    /// A frozen instance stays connected, so the NATS server reports no missing subscriber.
    async fn an_instance_that_freezes_for_a_while_loses_no_call(broker: TestBroker) {
        let frozen = serve(&broker.url());
        let (client, _) = client(&broker.url(), 1).await;
        let calls = sleepers(&client, 1000).await;
        frozen.freeze().unwrap();
        // New calls still go there if there is no other instance.
        let late = sleepers(&client, 0).await;
        sleep(Duration::from_millis(2500)).await;
        frozen.thaw().unwrap();
        for (outcome, _) in calls.join_all().await.into_iter().chain(late.join_all().await) {
            outcome.unwrap();
        }
    }

    /// The instance reconnects with the same sessions before it is considered gone.
    async fn an_instance_that_reconnects_at_once_loses_no_call(broker: TestBroker) {
        let proxy = Proxy::start(broker.port()).await.unwrap();
        let strings = Strings::default();
        let _running = behind(&proxy, &strings).await;
        let (client, _) = client(&broker.url(), 1).await;
        for _ in 0..5 {
            let accepted = proxy.accepted();
            let calls = sleepers(&client, 800).await;
            proxy.cut();
            for (outcome, _) in calls.join_all().await {
                outcome.unwrap();
            }
            assert!(proxy.accepted() > accepted);
        }
    }
}

/// Starts a service on a connection that can be cut.
async fn behind(proxy: &Proxy, strings: &Strings) -> Running {
    let options = ConnectOptions::new().reconnect_delay(|_| Duration::from_millis(20));
    let nats = options.connect(proxy.url()).await.unwrap();
    let service = PuppetServer::new(strings.clone()).subject(puppet_subject(SUBJECT));
    Server::new(nats)
        .add_service(service)
        .start()
        .await
        .unwrap()
}
