//! The broker or the path to it fails: every call ends, none hangs, and everything works afterwards
//! without being created again. Tests with several brokers are in `failover.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nmfw::server::Running;
use nmfw::{Code, ConnectOptions, Connection, ErrorKind, NatsChannel as _, Server, Status};
use nmfw_tests::process::OwnedChild;
use nmfw_tests::puppet::{self, Blob, PuppetClient, PuppetServer, SleepRequest, Strings};
use nmfw_tests::{Direction, Proxy, TestBroker, eventually, on_both_brokers};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(25);

/// Every call must notice a lost connection sooner than this: the grace is one second.
const SOON: Duration = Duration::from_secs(10);

/// Reconnects fast, to keep the tests short.
fn options() -> ConnectOptions {
    ConnectOptions::new().reconnect_delay(|_| Duration::from_millis(20))
}

async fn connect(url: &str) -> Connection {
    options().connect(url).await.unwrap()
}

async fn serve(nats: Connection, strings: &Strings) -> Running {
    let server = Server::new(nats).add_service(PuppetServer::new(strings.clone()));
    server.start().await.unwrap()
}

async fn works(client: &PuppetClient) {
    eventually(LIMIT, || client.echo(Blob::default()).timeout(SOON).send()).await;
    // Repeated, so that success is not by chance.
    for i in 0..100_u8 {
        let echo = client
            .echo(Blob { data: vec![i] })
            .timeout(SOON)
            .await
            .unwrap();
        assert_eq!(echo.data, [i]);
    }
}

on_both_brokers! {
    async fn a_broker_that_is_not_there_is_a_clear_error(mut broker: TestBroker) {
        broker.stop().await.unwrap();
        let began = Instant::now();
        let connecting = ConnectOptions::new().connect_attempts(2).connect(broker.url()).await;
        let error = connecting.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connect);
        for part in [broker.url().as_str(), "2 attempts", "check that a NATS server runs there"] {
            assert!(error.to_string().contains(part), "{error} does not contain {part:?}");
        }
        let waiting = ConnectOptions::new().wait_for_server(Duration::from_millis(300));
        let error = waiting.connect(broker.url()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connect, "{error:?}");
        assert!(began.elapsed() < LIMIT);
    }

    async fn who_waits_for_the_broker_comes_up_with_it(mut broker: TestBroker) {
        broker.stop().await.unwrap();
        let url = broker.url();
        let serving = tokio::spawn({
            let url = url.clone();
            async move {
                let nats = options().wait_for_server(Duration::MAX).connect(url).await.unwrap();
                serve(nats, &Strings::default()).await
            }
        });
        let calling = tokio::spawn(async move {
            let nats = options().wait_for_server(LIMIT).connect(url).await.unwrap();
            let client = PuppetClient::new(nats);
            client.wait_ready(LIMIT).await.unwrap();
            client.echo(Blob::default()).await
        });
        // Meanwhile, both have probably failed to reconnect, and must keep trying.
        sleep(Duration::from_millis(500)).await;
        assert!(!serving.is_finished() && !calling.is_finished());
        broker.restart().await.unwrap();
        calling.await.unwrap().unwrap();
        drop(serving.await.unwrap());
    }

    async fn a_killed_broker_ends_calls_and_all_works_when_it_is_back(mut broker: TestBroker) {
        let strings = Strings::default();
        let running = serve(connect(&broker.url()).await, &strings).await;
        let client = PuppetClient::new(connect(&broker.url()).await);
        for round in 1..=2 {
            let mut calls = JoinSet::new();
            let before = strings.started();
            for _ in 0..50 {
                let call = client.sleep(SleepRequest { millis: 20_000 }).timeout(LIMIT);
                calls.spawn(call.send());
            }
            eventually(LIMIT, || async { strings.started() == before + 50 }).await;
            let began = Instant::now();
            broker.stop().await.unwrap();
            for outcome in calls.join_all().await {
                let status = outcome.unwrap_err();
                assert_eq!(status.code(), Code::Unavailable, "{status}");
                assert!(!status.is_not_started(), "the call may have been started: {status}");
            }
            // Calls that begin now fail too.
            for _ in 0..2 {
                let status = client.echo(Blob::default()).timeout(LIMIT).await.unwrap_err();
                assert_eq!(status.code(), Code::Unavailable, "{status}");
                assert!(status.is_not_started(), "{status}");
            }
            assert!(began.elapsed() < SOON, "round {round} took {:?}", began.elapsed());

            broker.restart().await.unwrap();
            works(&client).await;
            client.wait_ready(LIMIT).await.unwrap();
            let plain = async_nats::connect(broker.url()).await.unwrap();
            for verb in ["PING", "INFO", "STATS"] {
                let reply = plain.request(format!("$SRV.{verb}.nmfw-puppet"), "".into()).await;
                let reply: serde_json::Value = serde_json::from_slice(&reply.unwrap().payload).unwrap();
                assert_eq!(reply["id"], running.services()[0].id);
            }
        }
        assert_eq!(strings.dropped(), 0, "handlers were dropped");
    }

    /// The grace limits the time without a connection: once the connection is back, a handler that
    /// is still running answers within its call's deadline, however long that is.
    async fn a_call_outlives_the_grace_once_the_connection_is_back(broker: TestBroker) {
        let grace = Duration::from_millis(400);
        let proxy = Proxy::start(broker.port()).await.unwrap();
        let strings = Strings::default();
        let _running = serve(connect(&broker.url()).await, &strings).await;
        let nats = connect(&proxy.url()).await;
        let client = PuppetClient::new(nmfw::Channel::new(nats.clone()).reconnect_grace(grace));
        works(&client).await;
        let before = strings.started();
        let call = client.sleep(SleepRequest { millis: 3000 }).timeout(LIMIT);
        let call = tokio::spawn(call.send());
        eventually(LIMIT, || async { strings.started() > before }).await;
        let epoch = nats.state().epoch;
        proxy.cut();
        let back = nats.wait_for_state(|state| state.is_connected() && state.epoch > epoch);
        timeout(LIMIT, back).await.unwrap();
        call.await.unwrap().unwrap();

        // Without a connection, the grace ends the call.
        let call = client.sleep(SleepRequest { millis: 20_000 }).timeout(LIMIT);
        let call = tokio::spawn(call.send());
        eventually(LIMIT, || async { strings.started() > before + 1 }).await;
        let began = Instant::now();
        proxy.down();
        let status = call.await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(began.elapsed() < SOON, "took {:?}", began.elapsed());
    }

    /// An outage shorter than the grace: the handler's answer arrives after it.
    async fn a_short_outage_costs_no_call(broker: TestBroker) {
        let proxies = [
            Proxy::start(broker.port()).await.unwrap(),
            Proxy::start(broker.port()).await.unwrap(),
        ];
        let strings = Strings::default();
        let _running = serve(connect(&proxies[0].url()).await, &strings).await;
        let nats = connect(&proxies[1].url()).await;
        let channel = nmfw::Channel::new(nats).reconnect_grace(LIMIT);
        let client = PuppetClient::new(channel);
        for proxy in &proxies {
            let started = strings.started();
            let call = client.sleep(SleepRequest { millis: 500 }).timeout(LIMIT);
            let call = tokio::spawn(call.send());
            eventually(LIMIT, || async { strings.started() == started + 1 }).await;
            let accepted = proxy.accepted();
            proxy.cut();
            eventually(LIMIT, || async { proxy.accepted() > accepted }).await;
            call.await.unwrap().unwrap();
        }
    }

    async fn connections_cut_under_load(broker: TestBroker) {
        let to_service = Proxy::start(broker.port()).await.unwrap();
        let to_client = Proxy::start(broker.port()).await.unwrap();
        let strings = Strings::default();
        let _running = serve(connect(&to_service.url()).await, &strings).await;
        let client = PuppetClient::new(connect(&to_client.url()).await);

        let over = Arc::new(AtomicBool::new(false));
        let mut callers = JoinSet::new();
        for i in 0..32_u64 {
            let (client, over) = (client.clone(), Arc::clone(&over));
            callers.spawn(async move {
                let (mut good, mut bad, mut longest) = (0_u32, 0_u32, Duration::ZERO);
                while !over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let call = client.sleep(SleepRequest { millis: i % 5 });
                    match call.timeout(Duration::from_millis(500)).await {
                        Ok(_) => good += 1,
                        // A request that was lost on its way to the service can only time out,
                        // because its caller is still connected.
                        Err(s) if matches!(s.code(), Code::Unavailable | Code::DeadlineExceeded) => bad += 1,
                        Err(status) => panic!("{status}"),
                    }
                    longest = longest.max(began.elapsed());
                }
                (good, bad, longest)
            });
        }
        for i in 0..20 {
            let proxy = if i % 2 == 0 { &to_client } else { &to_service };
            let accepted = proxy.accepted();
            proxy.cut();
            eventually(LIMIT, || async { proxy.accepted() > accepted && proxy.open() > 0 }).await;
            sleep(Duration::from_millis(100)).await;
        }
        over.store(true, Ordering::Relaxed);
        let callers = timeout(LIMIT, callers.join_all()).await.expect("a call hangs");
        let good: u32 = callers.iter().map(|caller| caller.0).sum();
        let bad: u32 = callers.iter().map(|caller| caller.1).sum();
        assert!(good > 200, "only {good} calls succeeded, {bad} did not");
        assert!(bad > 0, "the cuts had no effect: {good} calls succeeded");
        let longest = callers.iter().map(|caller| caller.2).max().unwrap();
        assert!(longest < SOON, "a call took {longest:?}");
        works(&client).await;
    }

    async fn a_stalled_connection_costs_calls_their_deadline(broker: TestBroker) {
        let to_service = Proxy::start(broker.port()).await.unwrap();
        let to_client = Proxy::start(broker.port()).await.unwrap();
        let strings = Strings::default();
        let _running = serve(connect(&to_service.url()).await, &strings).await;
        let client = PuppetClient::new(connect(&to_client.url()).await);
        works(&client).await;
        for proxy in [&to_service, &to_client] {
            for direction in [Direction::ToServer, Direction::ToClient] {
                proxy.stall(direction);
                let began = Instant::now();
                let mut calls = JoinSet::new();
                // More than the sockets hold.
                for _ in 0..100 {
                    let call = client.echo(Blob { data: vec![0; 100_000] });
                    calls.spawn(call.timeout(Duration::from_millis(300)).send());
                }
                for outcome in calls.join_all().await {
                    let code = outcome.unwrap_err().code();
                    assert_eq!(code, Code::DeadlineExceeded, "{direction:?}");
                }
                assert!(began.elapsed() < SOON, "{direction:?} took {:?}", began.elapsed());
                proxy.resume(direction);
                works(&client).await;
            }
        }
    }

    async fn giving_up_to_reconnect_ends_server_and_calls(mut broker: TestBroker) {
        let limited = || options().max_reconnects(3).connect(broker.url());
        let strings = Strings::default();
        let service = PuppetServer::new(strings.clone());
        let server = Server::new(limited().await.unwrap()).add_service(service);
        let running = server.grace(Duration::from_millis(500)).start().await.unwrap();
        let nats = limited().await.unwrap();
        let client = PuppetClient::new(&nats);
        let call = client.sleep(SleepRequest { millis: 20_000 }).timeout(LIMIT);
        let call = tokio::spawn(call.send());
        eventually(LIMIT, || async { strings.started() == 1 }).await;
        let began = Instant::now();
        broker.stop().await.unwrap();

        assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unavailable);
        eventually(LIMIT, || async { nats.state().is_closed() }).await;
        for _ in 0..3 {
            let status: Status = client.echo(Blob::default()).timeout(LIMIT).await.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable);
        }
        assert!(began.elapsed() < SOON, "took {:?}", began.elapsed());
        // The handler gets its grace period, although its answer has no receiver.
        let end = timeout(LIMIT, running.join()).await.expect("the server continues");
        assert_eq!(end.unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(strings.dropped(), 1);
    }

    async fn a_server_without_its_broker_can_be_stopped(mut broker: TestBroker) {
        let strings = Strings::default();
        let patient = serve(connect(&broker.url()).await, &strings).await;
        let forced = serve(connect(&broker.url()).await, &strings).await;
        let client = PuppetClient::new(connect(&broker.url()).await);
        let calls: Vec<_> = (0..20)
            .map(|_| tokio::spawn(client.sleep(SleepRequest { millis: 2_000 }).send()))
            .collect();
        eventually(LIMIT, || async { strings.started() == 20 }).await;
        broker.stop().await.unwrap();
        let began = Instant::now();
        patient.stop();
        forced.stop();
        forced.force_stop();
        timeout(LIMIT, forced.join()).await.expect("the call hangs").unwrap();
        assert!(began.elapsed() < Duration::from_secs(5), "took {:?}", began.elapsed());
        timeout(LIMIT, patient.join()).await.expect("the call hangs").unwrap();
        assert_eq!(strings.dropped() + strings.finished(), 20);
        assert!(strings.dropped() > 0 && strings.finished() > 0, "one server received no call");
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unavailable);
        }
    }

    /// In base mode, a caller cannot distinguish a dead instance from a slow one.
    async fn a_killed_service_costs_its_calls_the_deadline_and_no_more(broker: TestBroker) {
        let mut process = Command::new(env!("CARGO_BIN_EXE_puppet"));
        let mut process = OwnedChild::spawn(process.arg(broker.url())).unwrap();
        let client = puppet::client(&broker.url()).await.unwrap();
        let ready = client.wait_ready(LIMIT).await;
        let call = client.sleep(SleepRequest { millis: 20_000 }).timeout(Duration::from_secs(2));
        let call = tokio::spawn(call.send());
        let echo = client.echo(Blob::default()).await;
        process.kill().await.unwrap();
        ready.unwrap();
        echo.unwrap();
        let code = call.await.unwrap().unwrap_err().code();
        // Unavailable if the request was so late that no instance was left.
        assert!(matches!(code, Code::DeadlineExceeded | Code::Unavailable), "{code:?}");
        // Once the broker has noticed, further calls fail at once.
        eventually(LIMIT, || async {
            let status = client.echo(Blob::default()).timeout(SOON).await.unwrap_err();
            status.is_not_started() && status.code() == Code::Unavailable
        })
        .await;
    }
}
