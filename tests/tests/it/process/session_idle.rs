//! The cost of a thousand idle clients. The only test of its process, because it measures the whole
//! process.

use nmfw::async_nats::ConnectionExt as _;
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use nmfw::{Channel, Connection, Server};
use nmfw_tests::{
    NatsServer, eventually, in_own_process,
    streams::{CountRequest, Flows, Item, StreamsClient, StreamsServer},
};
use tokio::runtime::Handle;

const CLIENTS: usize = 1000;
/// Calls made at a time. A service keeps as many idle tasks for the next ones.
const AT_A_TIME: usize = 50;
const LIMIT: Duration = Duration::from_secs(60);
/// Longer than a heartbeat, so that each session sends signs of life.
const QUIET: Duration = Duration::from_secs(12);

/// Returns the resident memory of this process in KiB.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4
}

fn messages(nats: &Connection) -> u64 {
    let statistics = nats.client().statistics();
    statistics.in_messages.load(Ordering::Relaxed) + statistics.out_messages.load(Ordering::Relaxed)
}

in_own_process! {
    async fn a_thousand_idle_clients_cost_little() {
        let server = NatsServer::start().await.unwrap();
        let flows = Flows::default();
        let nats = nmfw::connect(server.url()).await.unwrap();
        let _running = Server::new(nats.clone())
            .add_service(StreamsServer::new(flows.clone()))
            .start()
            .await
            .unwrap();
        let clients: Vec<StreamsClient> = stream::iter(0..CLIENTS)
            .map(|_| async {
                let nats = nmfw::connect(server.url()).await.unwrap();
                let client = StreamsClient::new(Channel::new(nats));
                client.echo(Item::default()).await.unwrap();
                client
            })
            .buffer_unordered(AT_A_TIME)
            .collect()
            .await;
        let tasks = || Handle::current().metrics().num_alive_tasks();
        let before = (resident(), tasks());

        // Each client opens a session, and all sessions are open at the same time.
        let open = Instant::now();
        stream::iter(&clients)
            .for_each_concurrent(AT_A_TIME, |client| async {
                client.count(CountRequest::default()).await.unwrap();
            })
            .await;
        let open = open.elapsed();
        // What is left is a task on each side of each session, and the idle ones of the service.
        let both = before.1 + 2 * CLIENTS;
        eventually(LIMIT / 3, || async {
            match tasks() {
                now if (both..=both + AT_A_TIME).contains(&now) => Ok(()),
                now => Err(format!("{now} tasks, with {} before", before.1)),
            }
        })
        .await;
        let cost = resident().saturating_sub(before.0) / CLIENTS;
        let (begin, said) = (Instant::now(), messages(&nats));

        // No calls are made. Another test, with paused time, checks that sessions end after a minute of
        // this.
        tokio::time::sleep(QUIET).await;
        let said = messages(&nats) - said;
        let minutes = begin.elapsed().as_secs_f64() / 60.0;
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let rate = said as f64 / CLIENTS as f64 / minutes;
        println!(
            "{CLIENTS} sessions opened in {open:?}; {cost} KiB and {rate:.0} messages a minute each"
        );
        // Both sides, including their part of the connection's buffers.
        assert!(cost < 100, "a session takes {cost} KiB");
        assert!(
            rate < 30.0,
            "an idle session sends {rate:.0} messages a minute"
        );

        // The next call succeeds as usual, and sessions end with their clients.
        clients[0].count(CountRequest::default()).await.unwrap();
        drop(clients);
        eventually(LIMIT, || async {
            match tasks() {
                now if now < before.1 => Ok(()),
            now => Err(format!("{now} of {} tasks are left", before.1)),
            }
        })
        .await;
    }
}
