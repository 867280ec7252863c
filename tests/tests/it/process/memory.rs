//! Calls leave no memory behind. The only test of its process, because it measures the whole
//! process.

use std::time::Duration;

use futures_util::StreamExt;
use nmfw::Code;
use nmfw_tests::broker::{Kind, TEST_LIMIT, run};
use nmfw_tests::foreign_peer::subject;
use nmfw_tests::puppet::{self, PuppetClient, SleepRequest};
use nmfw_tests::{TestBroker, in_own_process, round_trip};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Returns the resident memory of this process in MiB.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096 / (1024 * 1024)
}

/// Abandons this many calls: half of them are dropped, half time out.
async fn give_up(client: &PuppetClient, calls: usize) {
    const AT_A_TIME: usize = 1_000;
    for _ in 0..calls / AT_A_TIME {
        let mut round = JoinSet::new();
        for i in 0..AT_A_TIME {
            let call = client.sleep(SleepRequest { millis: 20_000 });
            round.spawn(async move {
                if i % 2 == 0 {
                    let call = call.timeout(Duration::from_millis(20));
                    assert_eq!(call.await.unwrap_err().code(), Code::DeadlineExceeded);
                } else {
                    let call = timeout(Duration::from_millis(20), call.send()).await;
                    assert!(call.is_err(), "a call was answered: {call:?}");
                }
            });
        }
        round.join_all().await;
    }
}

/// The requests of async-nats leave an entry for each that timed out: 70 MB for 200,000.
async fn calls_given_up(broker: TestBroker) {
    // A subscriber that never answers.
    let silent = async_nats::connect(broker.url()).await.unwrap();
    let mut requests = silent.subscribe(subject("Sleep")).await.unwrap();
    round_trip(&silent, TEST_LIMIT).await.unwrap();
    let listening = tokio::spawn(async move { while requests.next().await.is_some() {} });
    let client = puppet::client(&broker.url()).await.unwrap();
    give_up(&client, 20_000).await;
    let before = resident();
    give_up(&client, 100_000).await;
    let after = resident();
    assert!(after < before + 10, "grew from {before} to {after} MiB");
    listening.abort();
}

in_own_process! {
    async fn calls_given_up_leave_nothing_behind() {
        for kind in Kind::BOTH {
            run("calls_given_up", kind, TEST_LIMIT, calls_given_up).await;
        }
    }
}
