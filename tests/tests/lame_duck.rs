//! A server of a cluster that is about to shut down: nothing is lost, neither short calls nor long ones.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nmfw::server::Running;
use nmfw::{Channel, ConnectOptions, Connection, Server, Status};
use nmfw_tests::cluster::Cluster;
use nmfw_tests::puppet::{Blob, PuppetClient, PuppetServer, SleepRequest, Strings};
use nmfw_tests::eventually;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(30);

/// The server closes connections after this time; it cannot be told to take less than 30 s for all.
const LAME_DUCK: &str = "lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"3s\"";

/// Long calls end before, while and after the connection moves, and after the server has closed it.
const LONG_CALLS: u64 = 28;

async fn connect(cluster: &Cluster, node: usize) -> Connection {
    ConnectOptions::new()
        .retain_servers_order()
        .connect(cluster.urls(node))
        .await
        .unwrap()
}

async fn serve(nats: Connection, strings: &Strings) -> Running {
    let server = Server::new(nats).add_service(PuppetServer::new(strings.clone()));
    server.start().await.unwrap()
}

fn server_name(nats: &Connection) -> String {
    nats.server_info().unwrap().server_name
}

/// Callers that never stop.
async fn short_calls(client: PuppetClient, over: Arc<AtomicBool>) -> (usize, Vec<Status>) {
    let mut callers = JoinSet::new();
    for i in 0..8_u64 {
        let (client, over) = (client.clone(), Arc::clone(&over));
        callers.spawn(async move {
            let (mut good, mut bad) = (0, Vec::new());
            while !over.load(Ordering::Relaxed) {
                let outcome = match i % 2 {
                    0 => client.echo(Blob::default()).timeout(Duration::from_secs(10)).await,
                    _ => {
                        let call = client.sleep(SleepRequest { millis: i });
                        call.timeout(Duration::from_secs(10)).await
                    }
                };
                match outcome {
                    Ok(_) => good += 1,
                    Err(status) => bad.push(status),
                }
            }
            (good, bad)
        });
    }
    let (mut all_good, mut all_bad) = (0, Vec::new());
    for (good, bad) in callers.join_all().await {
        all_good += good;
        all_bad.extend(bad);
    }
    (all_good, all_bad)
}

/// With these instances, each at a node, and a caller at the node that leaves.
async fn nothing_is_lost(instances: &[usize], is_multiplexed: bool) {
    let cluster = Cluster::start_with(3, LAME_DUCK).await.unwrap();
    let strings = Strings::default();
    let mut serving = Vec::new();
    for node in instances {
        let nats = connect(&cluster, *node).await;
        serving.push((nats.clone(), serve(nats, &strings).await));
    }
    let nats = connect(&cluster, 0).await;
    let channel = match is_multiplexed {
        true => Channel::new(&nats).multiplexed(),
        false => Channel::new(&nats),
    };
    let client = PuppetClient::new(channel);
    client.wait_ready(LIMIT).await.unwrap();
    let leaving = server_name(&nats);

    let over = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(short_calls(client.clone(), Arc::clone(&over)));
    let began = Instant::now();
    let mut long = JoinSet::new();
    for i in 0..LONG_CALLS {
        let call = client.sleep(SleepRequest {
            millis: 500 + i * 250,
        });
        long.spawn(call.timeout(LIMIT).into_future());
    }
    sleep(Duration::from_millis(500)).await;
    cluster.lame_duck(0).unwrap();
    let mut moving: Vec<_> = serving.iter().map(|(nats, _)| nats).collect();
    moving.push(&nats);
    for nats in moving {
        eventually(LIMIT, || async {
            let state = nats.state();
            let is_connected = state.borrow().is_connected();
            (is_connected && server_name(nats) != leaving)
                .then_some(())
                .ok_or("it has not moved")
        })
        .await;
    }
    let lost: Vec<_> = long
        .join_all()
        .await
        .into_iter()
        .filter_map(Result::err)
        .collect();
    // Past the moment when the server closes what is left.
    sleep(Duration::from_secs(6).saturating_sub(began.elapsed())).await;
    over.store(true, Ordering::Relaxed);
    let (good, bad) = timeout(LIMIT, load).await.expect("a call hangs").unwrap();
    println!("{good} short calls, {} lost; {} long ones lost", bad.len(), lost.len());
    assert!(good > 500, "{good} short calls");
    assert!(
        bad.is_empty() && lost.is_empty(),
        "{} of {good} short calls lost: {:?}; {} of {LONG_CALLS} long ones: {:?}",
        bad.len(),
        bad.first(),
        lost.len(),
        lost.first(),
    );
    // And new instances are found.
    let another = serve(connect(&cluster, 1).await, &strings).await;
    client.echo(Blob::default()).await.unwrap();
    drop(another);
}

/// The instance moves too: there is no other to take its place meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn base_mode_with_one_instance() {
    nothing_is_lost(&[0], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn base_mode_with_instances_everywhere() {
    nothing_is_lost(&[0, 1, 2], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_with_one_instance() {
    nothing_is_lost(&[0], true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_with_instances_everywhere() {
    nothing_is_lost(&[0, 1, 2], true).await;
}
