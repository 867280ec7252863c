//! A server of a cluster that is about to shut down: neither short nor long calls are lost.

use nmfw::async_nats::ConnectionExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nmfw::server::Running;
use nmfw::{Channel, ConnectOptions, Connection, NatsChannel as _, Server, Status};
use nmfw_tests::cluster::Cluster;
use nmfw_tests::eventually;
use nmfw_tests::puppet::{Blob, PuppetClient, PuppetServer, SleepRequest, Strings};
use nmfw_tests::streams::{CountRequest, Flows, StreamsClient, StreamsServer, Total};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(30);

/// The server closes connections after this time; it cannot take less than 30 s in all. Users have
/// only the permissions that services and clients need.
const LAME_DUCK: &str = r#"
lame_duck_duration: "30s"
lame_duck_grace_period: "3s"
no_auth_user: other
authorization { users: [
  { user: other, password: x }
  { user: service, password: x, permissions: {
      subscribe: ["nmfw.nmfw.puppet.>", "nmfw.nmfw.streams.>", "$SRV.>"], publish: ["_INBOX.>"] } }
  { user: client, password: x, permissions: {
      publish: ["nmfw.nmfw.puppet.>", "nmfw.nmfw.streams.>", "$SRV.INFO", "$SRV.INFO.>"], subscribe: ["_INBOX.>"] } }
] }
"#;

/// The caller's account imports the service: the NATS server of the caller maps the reply subject of each
/// request, as long as the caller's connection is open.
const ACCOUNTS: &str = r#"
lame_duck_duration: "30s"
lame_duck_grace_period: "10s"
no_auth_user: other
accounts {
  OTHERS { users: [ { user: other, password: x } ] }
  SERVICES {
    users: [ { user: service, password: x, permissions: {
      subscribe: ["nmfw.nmfw.puppet.>", "nmfw.nmfw.streams.>", "$SRV.>"], publish: ["_INBOX.>", "_R_.>"] } } ]
    exports: [ { service: "nmfw.nmfw.puppet.>" } ]
  }
  CALLERS {
    users: [ { user: client, password: x, permissions: {
      publish: ["nmfw.nmfw.puppet.>"], subscribe: ["_INBOX.>"] } } ]
    imports: [ { service: { account: SERVICES, subject: "nmfw.nmfw.puppet.>" } } ]
  }
}
"#;

/// Long calls end before, during and after the move of the connection, and after the server has
/// closed it.
const LONG_CALLS: u64 = 28;

async fn connect(cluster: &Cluster, node: usize, user: &str) -> Connection {
    ConnectOptions::new()
        .user_and_password(user, "x")
        .retain_servers_order(true)
        .connect(cluster.urls(node))
        .await
        .unwrap()
}

async fn serve(nats: Connection, strings: &Strings) -> Running {
    let server = Server::new(nats)
        .add_service(PuppetServer::new(strings.clone()))
        .add_service(StreamsServer::new(Flows::default()));
    server.start().await.unwrap()
}

fn server_name(nats: &Connection) -> String {
    nats.server_info().unwrap().server_name
}

/// Makes calls continuously.
async fn short_calls(
    client: PuppetClient,
    streams: Option<StreamsClient>,
    size: usize,
    over: Arc<AtomicBool>,
) -> (usize, Vec<Status>) {
    let mut callers = JoinSet::new();
    for i in 0..8_u64 {
        let (client, over) = (client.clone(), Arc::clone(&over));
        callers.spawn(async move {
            let (mut good, mut bad) = (0, Vec::new());
            while !over.load(Ordering::Relaxed) {
                let outcome = match i % 2 {
                    0 => {
                        client
                            .echo(Blob {
                                data: vec![7; size],
                            })
                            .timeout(Duration::from_secs(10))
                            .await
                    }
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
    for streams in streams
        .into_iter()
        .flat_map(|streams| [streams.clone(), streams])
    {
        let over = Arc::clone(&over);
        callers.spawn(async move {
            let (mut good, mut bad) = (0, Vec::new());
            while !over.load(Ordering::Relaxed) {
                let request = CountRequest {
                    to: 100,
                    ..CountRequest::default()
                };
                let call = streams.count(request).timeout(Duration::from_secs(10));
                let total = async { Total::of(call.await?).await };
                match total.await {
                    Ok(total) => {
                        assert_eq!(total.count, 100);
                        good += 1;
                    }
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

/// Waits until all connections are on other servers.
async fn moved(connections: &[Connection], leaving: &str) {
    for nats in connections {
        let is_elsewhere = || async {
            let is_connected = nats.is_connected();
            (is_connected && server_name(nats) != leaving)
                .then_some(())
                .ok_or("a connection has not moved")
        };
        eventually(LIMIT, is_elsewhere).await;
    }
}

/// The events during the calls.
#[derive(Clone, Copy, Default)]
struct Plan {
    is_multiplexed: bool,
    /// The caller is in another account than the service. It makes unary calls only, the longest of
    /// which takes less time than a connection waits before it moves.
    is_mapped: bool,
    /// The server to which everything has moved leaves too.
    leaves_again: bool,
    /// The first instance stops while its connection moves, with its server.
    stops_first: bool,
    /// Size of every other short call and of its answer.
    size: usize,
}

/// Runs the plan with these instances, each on a node, and a caller on the node that leaves.
async fn nothing_is_lost(instances: &[usize], plan: Plan) {
    let config = if plan.is_mapped { ACCOUNTS } else { LAME_DUCK };
    let cluster = Cluster::start_with(3, config).await.unwrap();
    let strings = Strings::default();
    let mut serving = Vec::new();
    for node in instances {
        let nats = connect(&cluster, *node, "service").await;
        serving.push((nats.clone(), serve(nats, &strings).await));
    }
    let nats = connect(&cluster, 0, "client").await;
    let channel = match plan.is_multiplexed {
        true => Channel::new(&nats).multiplexed(),
        false => Channel::new(&nats),
    };
    let client = PuppetClient::new(channel.clone());
    let streams = (!plan.is_mapped).then(|| StreamsClient::new(channel));
    // Discovery does not cross accounts.
    let is_ready = async || client.echo(Blob::default()).await;
    eventually(LIMIT, is_ready).await;

    let over = Arc::new(AtomicBool::new(false));
    let load = short_calls(client.clone(), streams, plan.size, Arc::clone(&over));
    let load = tokio::spawn(load);
    let began = Instant::now();
    let mut long = JoinSet::new();
    let step = if plan.is_mapped { 150 } else { 250 };
    for i in 0..LONG_CALLS {
        let call = client.sleep(SleepRequest {
            millis: 500 + i * step,
        });
        let nats = nats.clone();
        long.spawn(async move {
            let outcome = call.timeout(LIMIT).await;
            outcome.map(|_| server_name(&nats))
        });
    }
    sleep(Duration::from_millis(500)).await;
    let mut moving: Vec<_> = serving.iter().map(|(nats, _)| nats.clone()).collect();
    moving.push(nats.clone());
    let leaving = server_name(&nats);
    cluster.lame_duck(0).unwrap();
    if plan.stops_first {
        // The move begins at a random time within half a second, so this hits any part of it.
        sleep(Duration::from_millis(700)).await;
        let (nats, running) = serving.remove(0);
        running.stop();
        running.join().await.unwrap();
        moving.remove(0);
        drop(nats);
    }
    moved(&moving, &leaving).await;
    if plan.leaves_again {
        let leaving = server_name(&nats);
        cluster.lame_duck(1).unwrap();
        moved(&moving, &leaving).await;
    }
    let (mut lost, mut before_leaving) = (Vec::new(), 0);
    for outcome in long.join_all().await {
        match outcome {
            Ok(server) => before_leaving += usize::from(server == leaving),
            Err(status) => lost.push(status),
        }
    }
    // Until after the server has closed the remaining connections.
    sleep(Duration::from_secs(6).saturating_sub(began.elapsed())).await;
    over.store(true, Ordering::Relaxed);
    let (good, bad) = timeout(LIMIT, load).await.expect("a call hangs").unwrap();
    assert!(good > 200, "{good} short calls");
    assert!(
        bad.is_empty() && lost.is_empty(),
        "{} of {good} short calls lost: {:?}; {} of {LONG_CALLS} long ones: {:?}",
        bad.len(),
        bad.first(),
        lost.len(),
        lost.first(),
    );
    if plan.is_mapped {
        // Some versions of nats-server map replies after the caller has left, too. The last calls end while
        // it does.
        assert!(
            before_leaving > 20,
            "the caller left after {before_leaving} of {LONG_CALLS} long calls"
        );
    }
    // New instances are found.
    let another = serve(connect(&cluster, 1, "service").await, &strings).await;
    client.echo(Blob::default()).await.unwrap();
    drop(another);
    // On a slow machine, late round trips are retried in another way, which may be denied.
    let mut violations = cluster.logged("Violation");
    violations.retain(|line| !line.contains(".fence.") && !line.contains(".moved."));
    assert_eq!(violations, [""; 0]);
}

fn sessions() -> Plan {
    Plan {
        is_multiplexed: true,
        ..Plan::default()
    }
}

/// The only instance moves too: no other can take its place meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn base_mode_with_one_instance() {
    nothing_is_lost(&[0], Plan::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn base_mode_with_instances_everywhere() {
    nothing_is_lost(&[0, 1, 2], Plan::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_with_one_instance() {
    nothing_is_lost(&[0], sessions()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_with_instances_everywhere() {
    nothing_is_lost(&[0, 1, 2], sessions()).await;
}

/// The buffers of the connections hold much data when they move.
#[tokio::test(flavor = "multi_thread")]
async fn large_calls() {
    let plan = Plan {
        size: 300_000,
        ..Plan::default()
    };
    nothing_is_lost(&[0], plan).await;
}

/// Every server that maps replies leaves: that of the caller, and that of the service.
#[tokio::test(flavor = "multi_thread")]
async fn calls_to_another_account() {
    let plan = Plan {
        is_mapped: true,
        ..Plan::default()
    };
    nothing_is_lost(&[0], plan).await;
}

/// One server after the other leaves, as in an upgrade of a cluster.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_server_leaves_too() {
    let plan = Plan {
        leaves_again: true,
        ..Plan::default()
    };
    nothing_is_lost(&[0], plan).await;
}

/// Requests on both of its connections are answered.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_stops_while_it_moves() {
    let plan = Plan {
        stops_first: true,
        ..Plan::default()
    };
    nothing_is_lost(&[0, 0], plan).await;
}
