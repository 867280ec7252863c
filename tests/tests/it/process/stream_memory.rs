//! Memory that streams hold and leave behind. The only tests of their process, one after the other,
//! because they measure the whole process.

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use nmfw::{Channel, NatsChannel as _};
use nmfw_tests::{
    TestBroker,
    broker::{Kind, run},
    eventually, in_own_process,
    streams::{self, CountRequest, Flows, StreamsClient, Total, item, items},
};
use tokio::{runtime::Handle, task::JoinSet};

const LIMIT: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(300);

/// More than the windows and buffers of a stream hold, in items without padding, which take at
/// least three bytes: buffered by the caller and the service, and in transit.
const HELD: u64 = 3 * 256 * 1024 / 3;

/// The number of items with a fully grown window of 4 MiB: the caller reads everything between two pauses, on a busy
/// machine many times.
const MOST_HELD: u64 = (4 * 1024 + 2 * 256) * 1024 / 3;

/// Returns the resident memory of this process in MiB.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096 / (1024 * 1024)
}

fn up_to(to: u64) -> CountRequest {
    CountRequest {
        to,
        ..CountRequest::default()
    }
}

/// One caller reads ten million messages with pauses, concurrently with other streams.
async fn slow_consumer(broker: TestBroker) {
    const MESSAGES: u64 = 10_000_000;
    let slow = Flows::default();
    let _running = streams::serve(&broker.url(), &slow).await.unwrap();
    let client = streams::client(&broker.url()).await.unwrap();
    let mut count = client.count(up_to(MESSAGES)).await.unwrap();
    // Ten other streams of the same session make progress while the first is not read.
    let before = resident();
    let begin = Instant::now();
    let mut others = JoinSet::new();
    for _ in 0..10 {
        let call = client.sum(items(0, 20_000, 16));
        others.spawn(async move { call.await.unwrap() });
    }
    for total in others.join_all().await {
        assert_eq!(total.count, 20_000);
    }
    assert!(
        begin.elapsed() < LIMIT,
        "other streams make no progress beside a slow one"
    );
    assert!(
        slow.sent() <= HELD,
        "{} items were produced although no caller read them",
        slow.sent()
    );

    let mut taken = 0;
    while let Some(item) = count.message().await.unwrap() {
        assert_eq!(item.number, taken);
        taken += 1;
        if taken % 100_000 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let ahead = slow.sent() - taken;
            assert!(
                ahead <= MOST_HELD,
                "{ahead} items are buffered for a slow consumer"
            );
        }
    }
    assert_eq!(taken, MESSAGES);
    let after = resident();
    assert!(after < before + 50, "grew from {before} to {after} MiB");
}

/// Makes calls of every kind, and abandons most of them at various moments.
async fn give_up(client: &StreamsClient, calls: usize) {
    const AT_A_TIME: usize = 500;
    for _ in 0..calls / AT_A_TIME {
        let mut round = JoinSet::new();
        for i in 0..AT_A_TIME {
            let client = client.clone();
            round.spawn(async move { one(&client, i).await });
        }
        round.join_all().await;
    }
}

async fn one(client: &StreamsClient, i: usize) {
    let endless = || CountRequest {
        hang: true,
        ..up_to(i as u64 % 5)
    };
    match i % 10 {
        // To its end.
        0 => assert_eq!(client.echo(item(1, 9)).await.unwrap().number, 1),
        1 => {
            let count = client.count(up_to(10)).await.unwrap();
            assert_eq!(Total::of(count).await.unwrap().count, 10);
        }
        2 => assert_eq!(client.sum(items(0, 10, 9)).await.unwrap().count, 10),
        3 => {
            let chat = client.chat(items(0, 10, 9)).await.unwrap();
            assert_eq!(Total::of(chat).await.unwrap().count, 10);
        }
        // Abandoned after some messages.
        4 | 5 => {
            let mut count = client.count(endless()).await.unwrap();
            for _ in 0..i % 5 {
                count.message().await.unwrap().unwrap();
            }
        }
        6 => {
            let silent = items(0, 3, 9).chain(stream::pending());
            let mut chat = client.chat(silent).await.unwrap();
            chat.message().await.unwrap().unwrap();
        }
        // Abandoned at any moment.
        n => {
            let silent = items(0, n as u64, 9).chain(stream::pending());
            let patience = Duration::from_micros(i as u64 * 20);
            let call: Pin<Box<dyn Future<Output = ()> + Send>> = match n {
                7 => Box::pin(async { drop(client.sum(silent).await) }),
                8 => Box::pin(async { drop(client.chat(silent).await) }),
                _ => Box::pin(async { drop(client.count(endless()).await) }),
            };
            _ = tokio::time::timeout(patience, call).await;
        }
    }
}

/// Returns the number of tasks of this process, once it has fallen to `most`.
async fn tasks(most: usize) -> usize {
    let metrics = Handle::current().metrics();
    eventually(LIMIT, || async {
        match metrics.num_alive_tasks() {
            tasks if tasks <= most => Ok(()),
            tasks => Err(format!("{tasks} tasks instead of at most {most}")),
        }
    })
    .await;
    metrics.num_alive_tasks()
}

async fn calls_given_up(broker: TestBroker) {
    let flows = Flows::default();
    let _running = streams::serve(&broker.url(), &flows).await.unwrap();
    let nats = nmfw::connect(&broker.url()).await.unwrap();
    let client = StreamsClient::new(Channel::new(nats).multiplexed());
    give_up(&client, 10_000).await;
    let settled = async || {
        let all = || flows.finished() + flows.dropped() == flows.started();
        eventually(LIMIT, || async { all() }).await;
    };
    settled().await;
    // The tasks of the connection, the server and the sessions. The sessions can differ by two,
    // because further ones were opened, and may have been closed again.
    let before = (resident(), tasks(usize::MAX).await);
    let begin = flows.started();
    give_up(&client, 100_000).await;
    settled().await;
    // All calls except those that are abandoned at any moment, possibly before they begin.
    let started = flows.started() - begin;
    assert!(started >= 70_000, "only {started} calls have begun");
    tasks(before.1 + 4).await;
    let after = resident();
    let before = before.0;
    assert!(after < before + 15, "grew from {before} to {after} MiB");
}

in_own_process! {
    /// A single test, because it measures the whole process.
    async fn memory_is_bounded_by_the_window_and_freed() {
        for kind in Kind::BOTH {
            run("calls_given_up", kind, LONG, calls_given_up).await;
            run("slow_consumer", kind, LONG, slow_consumer).await;
        }
    }
}
