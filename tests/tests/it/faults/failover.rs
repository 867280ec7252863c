//! Servers that freeze, shut down or die while others take over. Needs real nats-servers.

use nmfw::async_nats::ConnectionExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nmfw::server::Running;
use nmfw::{Code, ConnectOptions, ConnectionEvent, Server, Status};
use nmfw_tests::puppet::{Blob, PuppetClient, PuppetServer, SleepRequest, Strings};
use nmfw_tests::{NatsServer, eventually, free_port};
use tokio::task::JoinSet;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);

/// Lame-duck mode takes at least this long; it cannot be shortened.
const LAME_DUCK: Duration = Duration::from_secs(30);

fn options() -> ConnectOptions {
    ConnectOptions::new().reconnect_delay(|_| Duration::from_millis(20))
}

/// Starts a cluster of two servers.
async fn cluster() -> [NatsServer; 2] {
    let routes = [free_port().unwrap(), free_port().unwrap()];
    let start = |own: u16, other: u16| {
        NatsServer::builder()
            .config(format!(
                "cluster {{ name: test, listen: \"127.0.0.1:{own}\", \
                 routes: [\"nats://127.0.0.1:{other}\"], ping_interval: \"500ms\" }}"
            ))
            .config(format!("lame_duck_duration: \"{}s\"", LAME_DUCK.as_secs()))
            .config("lame_duck_grace_period: \"1s\"")
            .start()
    };
    let servers = [
        start(routes[0], routes[1]).await.unwrap(),
        start(routes[1], routes[0]).await.unwrap(),
    ];
    for server in &servers {
        // Connects anew each time: a client that is connecting while the other server joins is not told.
        eventually(LIMIT, || async {
            let client = async_nats::connect(server.url()).await.unwrap();
            client.server_info().connect_urls.len() > 1
        })
        .await;
    }
    servers
}

/// Connects to the first of the servers while it is available. Knows both.
async fn connect(servers: &[NatsServer; 2]) -> nmfw::Connection {
    let urls = [servers[0].url(), servers[1].url()];
    options()
        .retain_servers_order(true)
        .connect(urls)
        .await
        .unwrap()
}

async fn serve(nats: nmfw::Connection, strings: &Strings) -> Running {
    let server = Server::new(nats).add_service(PuppetServer::new(strings.clone()));
    server.start().await.unwrap()
}

async fn works(client: &PuppetClient) {
    eventually(LIMIT, || client.echo(Blob::default()).send()).await;
    for i in 0..100_u8 {
        let echo = client.echo(Blob { data: vec![i] }).await.unwrap();
        assert_eq!(echo.data, [i]);
    }
}

/// Callers that call continuously, and the outcomes of their calls.
struct Load {
    over: Arc<AtomicBool>,
    callers: JoinSet<(u32, Vec<Status>, Duration)>,
}

impl Load {
    fn start(client: &PuppetClient) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mut callers = JoinSet::new();
        for i in 0..8 {
            let (client, over) = (client.clone(), Arc::clone(&over));
            callers.spawn(async move {
                let (mut good, mut bad, mut longest) = (0, Vec::new(), Duration::ZERO);
                while !over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let call = client.sleep(SleepRequest { millis: i });
                    match call.timeout(Duration::from_secs(3)).await {
                        Ok(_) => good += 1,
                        Err(status) => bad.push(status),
                    }
                    longest = longest.max(began.elapsed());
                }
                (good, bad, longest)
            });
        }
        Self { over, callers }
    }

    /// Returns the number of successful calls, and the errors of the others.
    async fn stop(self) -> (u32, Vec<Status>) {
        self.over.store(true, Ordering::Relaxed);
        let callers = timeout(LIMIT, self.callers.join_all()).await;
        let (mut all_good, mut all_bad) = (0, Vec::new());
        for (good, bad, longest) in callers.expect("a call hangs") {
            assert!(longest < LIMIT / 2, "a call took {longest:?}");
            all_good += good;
            all_bad.extend(bad);
        }
        (all_good, all_bad)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_costs_calls_their_deadline() {
    let server = NatsServer::start().await.unwrap();
    let strings = Strings::default();
    let nats = options().connect(server.url()).await.unwrap();
    let _running = serve(nats, &strings).await;
    let client = PuppetClient::new(options().connect(server.url()).await.unwrap());
    works(&client).await;

    for _ in 0..3 {
        server.freeze().await.unwrap();
        let began = Instant::now();
        let mut calls = JoinSet::new();
        for _ in 0..100 {
            let call = client.echo(Blob {
                data: vec![0; 100_000],
            });
            calls.spawn(call.timeout(Duration::from_millis(500)).send());
        }
        for outcome in calls.join_all().await {
            assert_eq!(outcome.unwrap_err().code(), Code::DeadlineExceeded);
        }
        assert!(began.elapsed() < LIMIT / 2, "took {:?}", began.elapsed());
        let started = strings.started();
        server.thaw().unwrap();
        works(&client).await;
        // Requests sent before the freeze arrive now, too late for their callers.
        let late = strings.started() - started;
        assert!(
            late <= 100 + 101 + 50,
            "{late} handlers, so a call ran twice"
        );
    }
}

/// Services and clients leave a server that answers no pings. The other server keeps sending it
/// half of the calls, for the queue group that was there, until it misses pings as well: with the
/// default `ping_interval` of a cluster, calls time out for minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stays_frozen_is_left() {
    let servers = cluster().await;
    let strings = Strings::default();
    let urls = [servers[0].url(), servers[1].url()];
    let impatient = || {
        options()
            .retain_servers_order(true)
            .ping_interval(Duration::from_millis(300))
            .connection_timeout(Duration::from_millis(500))
    };
    let _running = serve(impatient().connect(&urls[..]).await.unwrap(), &strings).await;
    let client = PuppetClient::new(impatient().connect(&urls[..]).await.unwrap());
    works(&client).await;
    servers[0].freeze().await.unwrap();
    eventually(LIMIT, || async {
        for _ in 0..30 {
            let call = client.echo(Blob::default());
            call.timeout(Duration::from_millis(500)).await?;
        }
        Ok::<_, Status>(())
    })
    .await;
    servers[0].thaw().unwrap();
    works(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_move_on_when_a_server_of_a_cluster_dies() {
    let mut servers = cluster().await;
    let strings = Strings::default();
    // Initially one service on each server, and the client on the server that dies.
    let doomed = serve(connect(&servers).await, &strings).await;
    let elsewhere = options().connect(servers[1].url()).await.unwrap();
    let staying = serve(elsewhere, &strings).await;
    let nats = connect(&servers).await;
    let name = nats.server_info().unwrap().server_name;
    let client = PuppetClient::new(&nats);
    works(&client).await;

    let load = Load::start(&client);
    let before = strings.started();
    eventually(LIMIT, || async { strings.started() > before + 200 }).await;
    servers[0].kill().unwrap();
    works(&client).await;
    assert_ne!(nats.server_info().unwrap().server_name, name);
    let after = strings.started();
    eventually(LIMIT, || async { strings.started() > after + 200 }).await;
    let (good, bad) = load.stop().await;
    assert!(good >= 400, "{good} calls succeeded");
    // Each caller had at most one call in flight, and may have made one more during the gap.
    assert!(bad.len() <= 16, "{bad:?}");
    for status in bad {
        let code = status.code();
        assert!(
            matches!(code, Code::Unavailable | Code::DeadlineExceeded),
            "{status}"
        );
    }

    // Both services are found on the remaining server.
    let plain = async_nats::connect(servers[1].url()).await.unwrap();
    for running in [&doomed, &staying] {
        let id = &running.services()[0].id;
        eventually(LIMIT, || {
            plain.request(format!("$SRV.PING.nmfw-puppet.{id}"), "".into())
        })
        .await;
    }
    // The cluster can be complete again.
    servers[0].restart().await.unwrap();
    works(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_move_on_when_a_server_asks_them_to() {
    let servers = cluster().await;
    let strings = Strings::default();
    let service = connect(&servers).await;
    let _moving = serve(service.clone(), &strings).await;
    // While one moves, the other is available.
    let elsewhere = options().connect(servers[1].url()).await.unwrap();
    let _staying = serve(elsewhere, &strings).await;
    let nats = connect(&servers).await;
    let client = PuppetClient::new(&nats);
    works(&client).await;
    let mut events = nats.events();
    let leaving = nats.server_info().unwrap().server_name;

    let load = Load::start(&client);
    servers[0].lame_duck().unwrap();
    let told = async { while events.recv().await.unwrap() != ConnectionEvent::LameDuck {} };
    timeout(LIMIT, told).await.expect("no client was notified");
    for nats in [&nats, &service] {
        eventually(LAME_DUCK + LIMIT, || async {
            nats.server_info().unwrap().server_name != leaving
        })
        .await;
    }
    works(&client).await;
    let (good, bad) = load.stop().await;
    assert!(good > 100, "{good} calls succeeded");
    // Messages that the server had not delivered when it closed the connection.
    assert!(
        bad.len() <= 32,
        "{} calls failed: {:?}",
        bad.len(),
        bad.first()
    );
    for status in bad {
        let code = status.code();
        assert!(
            matches!(code, Code::Unavailable | Code::DeadlineExceeded),
            "{status}"
        );
    }
}
