//! Processes that are killed or freeze, with streams in flight: how soon the other side notices.
//!
//! The timeouts are the default ones, which are long. So all waiting is done concurrently, in one
//! test for each broker.

use std::time::{Duration, Instant};

use futures_util::{FutureExt, Stream, StreamExt, TryFutureExt, future::BoxFuture, stream};
use nmfw::{Channel, Code, NatsChannel as _, Status, Streaming};
use nmfw_tests::{
    TestBroker,
    broker::{Kind, run},
    eventually,
    puppet::{PuppetClient, SleepRequest},
    streams::{CountRequest, Item, StreamsClient, items},
    streams_process::{Process, puppet_subject},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_streams");
const LIMIT: Duration = Duration::from_secs(30);

/// A silent peer is considered dead after this; a peer that is known to have no subscription,
/// sooner.
const DEAD: Duration = Duration::from_secs(30);
const VANISHED: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Slack for a busy machine.
const SLACK: Duration = Duration::from_secs(8);

/// Longer than the test.
const FOREVER: Duration = Duration::from_secs(600);

/// Number of calls of each kind that a client has in flight.
const CALLS: u64 = 20;

/// Number of calls of each kind of the client process; the service holds a window for each.
const HELD: u64 = 100;

fn silent() -> impl Stream<Item = Item> + Send + 'static {
    items(0, 3, 9).chain(stream::pending())
}

/// Calls of every kind in flight to a process, which all fail when it is gone.
struct Calls(JoinSet<(&'static str, Status, Instant)>);

impl Calls {
    async fn start(url: &str, service: &mut Process, subject: &str) -> Self {
        let nats = nmfw::connect(url).await.unwrap();
        let channel = Channel::new(nats).multiplexed();
        let puppet = PuppetClient::new(channel.clone().subject(puppet_subject(subject)));
        let client = StreamsClient::new(channel.subject(subject));
        puppet.wait_ready(LIMIT).await.unwrap();
        // Calls with one message each way use base mode until a session is open.
        eventually(LIMIT, || async {
            let seen = puppet.inspect(()).await.map_err(|s| s.to_string())?;
            let is_in_session = seen.reply.contains(".s.");
            is_in_session.then_some(()).ok_or(seen.reply)
        })
        .await;
        let mut calls = Self(JoinSet::new());
        for i in 0..CALLS {
            // Some services send continuously, others are silent.
            let talks = i % 2 == 0;
            let request = CountRequest {
                to: if talks { u64::MAX } else { 2 },
                hang: true,
                pause_micros: if talks { 2_000 } else { 0 },
                ..CountRequest::default()
            };
            let count = client.count(request).send();
            let sum = client.sum(silent()).send();
            let chat = client.chat(silent()).send();
            let sleep = puppet.sleep(SleepRequest { millis: 600_000 });
            calls.add("Count", count.and_then(all_of).boxed());
            calls.add("Sum", sum.map_ok(drop).boxed());
            calls.add("Chat", chat.and_then(all_of).boxed());
            calls.add("Sleep", sleep.timeout(FOREVER).send().map_ok(drop).boxed());
        }
        has_running(service, 3 * CALLS).await;
        calls
    }

    fn add(&mut self, kind: &'static str, call: BoxFuture<'static, Result<(), Status>>) {
        self.0.spawn(async move {
            let status = call.await.unwrap_err();
            (kind, status, Instant::now())
        });
    }

    /// Checks that all calls end within this time.
    async fn end_within(mut self, limit: Duration) {
        let begin = Instant::now();
        let all = timeout(LIMIT * 3, async {
            let mut all = Vec::new();
            while let Some(outcome) = self.0.join_next().await {
                all.push(outcome.unwrap());
            }
            all
        });
        let all = all.await.expect("calls hang");
        assert_eq!(all.len() as u64, 4 * CALLS);
        for (kind, status, at) in all {
            assert_eq!(status.code(), Code::Unavailable, "{kind}: {status}");
            assert!(!status.is_not_started(), "{kind}: {status}");
            let took = at - begin;
            assert!(took < limit, "{kind} took {took:?}");
        }
    }
}

async fn gone_service(url: &str, signal: fn(&mut Process), limit: Duration) {
    let subject = format!("test.{}", limit.as_secs());
    let mut service = Process::serve(PROGRAM, url, &subject).unwrap();
    let calls = Calls::start(url, &mut service, &subject).await;
    signal(&mut service);
    calls.end_within(limit).await;
}

async fn all_of(mut items: Streaming<Item>) -> Result<(), Status> {
    while items.message().await?.is_some() {}
    Ok(())
}

async fn has_running(service: &mut Process, calls: u64) {
    eventually(LIMIT, || {
        let counts = service.counts();
        async move {
            let counts = counts.map_err(|error| error.to_string())?;
            let is_it = counts.running() == calls;
            is_it.then_some(()).ok_or_else(|| format!("{counts:?}"))
        }
    })
    .await;
}

/// Returns the memory of a process once it no longer changes.
async fn settled(service: &Process) -> u64 {
    let mut before = 0;
    for _ in 0..100 {
        let now = service.resident().unwrap();
        if now == before {
            return now;
        }
        before = now;
        sleep(Duration::from_millis(300)).await;
    }
    panic!("the memory still changes");
}

/// A client in another process is gone: its calls are dropped, and the service frees the memory it
/// held for them.
async fn gone_client(url: &str, signal: fn(&mut Process), limit: Duration) {
    let subject = format!("test.client.{}", limit.as_secs());
    let mut service = Process::serve(PROGRAM, url, &subject).unwrap();
    let mut client = Process::call(PROGRAM, url, &subject, HELD).unwrap();
    has_running(&mut service, 3 * HELD).await;
    let full = settled(&service).await;

    signal(&mut client);
    let begin = Instant::now();
    eventually(LIMIT * 3, || {
        let counts = service.counts();
        async move {
            let counts = counts.map_err(|error| error.to_string())?;
            let are_dropped = counts.dropped == 3 * HELD;
            are_dropped
                .then_some(())
                .ok_or_else(|| format!("{counts:?}"))
        }
    })
    .await;
    assert!(
        begin.elapsed() < limit,
        "the client was noticed after {:?}",
        begin.elapsed()
    );

    let _other = Process::call(PROGRAM, url, &subject, HELD).unwrap();
    has_running(&mut service, 3 * HELD).await;
    let again = settled(&service).await;
    assert!(
        again < full + full / 4,
        "{full} MiB before, {again} MiB later"
    );
}

async fn all_at_once(broker: TestBroker) {
    let url = broker.url();
    let kill = |process: &mut Process| process.kill().unwrap();
    let freeze = |process: &mut Process| process.freeze().unwrap();
    // The client probes after a heartbeat; then the server reports that there is no subscriber.
    let soon = HEARTBEAT + VANISHED + SLACK;
    tokio::join!(
        gone_service(&url, kill, soon),
        gone_service(&url, freeze, DEAD + SLACK),
        gone_client(&url, kill, soon),
        gone_client(&url, freeze, DEAD + SLACK),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded() {
    run("all_at_once", Kind::Embedded, LIMIT * 4, all_at_once).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_server() {
    run("all_at_once", Kind::NatsServer, LIMIT * 4, all_at_once).await;
}
