//! Start and stop of a server: gracefully, by force, by signal, under load.

use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::RequestErrorKind;
use nmfw::server::{Ending, Running, Service};
use nmfw::{Channel, Code, NatsChannel as _, Server, Status};
use nmfw_tests::foreign_peer::subject;
use nmfw_tests::puppet::{self, Blob, PuppetClient, PuppetServer, SleepRequest, Strings};
use nmfw_tests::{Proxy, TestBroker, eventually, on_both_brokers, round_trip};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);
const LONG: SleepRequest = SleepRequest { millis: 25_000 };

async fn start(url: &str, service: Service, grace: Duration) -> Running {
    let nats = nmfw::connect(url).await.unwrap();
    let server = Server::new(nats).add_service(service).grace(grace);
    server.start().await.unwrap()
}

async fn ended(running: Running) {
    let end = timeout(LIMIT, running.join()).await;
    end.unwrap_or_else(|_| panic!("the server did not end within {LIMIT:?}"))
        .unwrap();
}

/// Starts a call, and waits until its handler runs.
async fn sleeping(
    client: &PuppetClient,
    strings: &Strings,
    request: SleepRequest,
) -> JoinHandle<Result<Blob, Status>> {
    let started = strings.started();
    let call = tokio::spawn(client.sleep(request).send());
    eventually(LIMIT, || async { strings.started() > started }).await;
    call
}

/// Waits until no instance serves the puppet. A request at the very moment when a server leaves
/// discovery can stay unanswered.
async fn is_gone(url: &str) {
    let plain = async_nats::connect(url).await.unwrap();
    for subject in [subject("Echo"), "$SRV.PING".to_owned()] {
        eventually(LIMIT, || async {
            let reply = plain.request(subject.clone(), "".into());
            match timeout(Duration::from_millis(500), reply).await {
                Ok(Err(error)) => error.kind() == RequestErrorKind::NoResponders,
                Ok(Ok(_)) | Err(_) => false,
            }
        })
        .await;
    }
}

/// Waits until the only instance reports this many calls as `running` or `waiting`.
async fn load(url: &str, what: &str, calls: u64) {
    let plain = async_nats::connect(url).await.unwrap();
    eventually(LIMIT, || async {
        let stats = plain
            .request("$SRV.STATS.nmfw-puppet", "".into())
            .await
            .unwrap();
        let stats: serde_json::Value = serde_json::from_slice(&stats.payload).unwrap();
        let endpoints = stats["endpoints"].as_array().unwrap();
        endpoints
            .iter()
            .any(|endpoint| endpoint["data"][what] == calls)
    })
    .await;
}

on_both_brokers! {
    /// The central case: instances start and stop, far away from the broker, without a failed call.
    async fn stopping_and_starting_under_load_loses_nothing(broker: TestBroker) {
        let strings = Strings::default();
        let mut proxies = Vec::new();
        for millis in [5, 15] {
            let proxy = Proxy::start(broker.port()).await.unwrap();
            proxy.delay(Duration::from_millis(millis));
            proxies.push(proxy);
        }
        let service = || PuppetServer::new(strings.clone()).concurrency(8).queue(16);
        let _stays = start(&proxies[0].url(), service(), LIMIT).await;
        let mut comes_and_goes = start(&proxies[1].url(), service(), LIMIT).await;

        let over = Arc::new(AtomicBool::new(false));
        let next = Arc::new(AtomicU64::new(0));
        let mut callers = JoinSet::new();
        for i in 0..24 {
            let client = puppet::client(&broker.url()).await.unwrap();
            let (over, next) = (Arc::clone(&over), Arc::clone(&next));
            callers.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if i % 3 == 0 {
                        client.sleep(SleepRequest { millis: number % 7 }).await?;
                    } else {
                        let data = number.to_be_bytes().to_vec();
                        let echo = client.echo(Blob { data: data.clone() }).await?;
                        assert_eq!(echo.data, data, "an answer to another call");
                    }
                }
                Ok::<_, Status>(())
            });
        }
        for _ in 0..12 {
            let before = strings.started();
            comes_and_goes.stop();
            ended(comes_and_goes).await;
            comes_and_goes = start(&proxies[1].url(), service(), LIMIT).await;
            eventually(LIMIT, || async { strings.started() > before + 50 }).await;
        }
        over.store(true, Ordering::Relaxed);
        let outcomes = callers.join_all().await;
        let failed: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
        assert!(failed.is_empty(), "{failed:?}");
        let calls = next.load(Ordering::Relaxed);
        assert!(calls > 600, "only {calls} calls were made");
        // All calls succeeded, so each has run; equal numbers mean that each ran once.
        assert_eq!(strings.started(), calls);
        assert_eq!((strings.finished(), strings.dropped()), (calls, 0));
    }

    async fn handlers_under_way_get_their_grace(broker: TestBroker) {
        let strings = Strings::default();
        let running = start(&broker.url(), PuppetServer::new(strings.clone()), LIMIT).await;
        let client = puppet::client(&broker.url()).await.unwrap();
        let call = sleeping(&client, &strings, SleepRequest { millis: 700 }).await;
        running.stop();
        // Other clients no longer find it while the handler still runs.
        eventually(LIMIT, || async {
            client.echo(Blob::default()).await.is_err_and(|s| s.code() == Code::Unavailable)
        })
        .await;
        is_gone(&broker.url()).await;
        assert_eq!(strings.finished(), strings.started() - 1, "the handler ended before its instance left discovery");
        call.await.unwrap().unwrap();
        ended(running).await;
    }

    async fn handlers_are_dropped_when_the_grace_is_over(broker: TestBroker) {
        let strings = Strings::default();
        let grace = Duration::from_millis(200);
        let running = start(&broker.url(), PuppetServer::new(strings.clone()), grace).await;
        let client = puppet::client(&broker.url()).await.unwrap();
        let call = sleeping(&client, &strings, LONG).await;
        running.stop();
        ended(running).await;
        assert_eq!(strings.dropped(), 1);
        let status = call.await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(!status.is_not_started(), "a started call was marked as not started");
    }

    async fn a_second_stop_is_as_good_as_one(broker: TestBroker) {
        let strings = Strings::default();
        let running = start(&broker.url(), PuppetServer::new(strings.clone()), LIMIT).await;
        let client = puppet::client(&broker.url()).await.unwrap();
        let call = sleeping(&client, &strings, SleepRequest { millis: 500 }).await;
        // The server is stopped twice, as by two parts of a program.
        running.stop();
        eventually(LIMIT, || async { client.echo(Blob::default()).await.is_err() }).await;
        running.stop();
        let ending = timeout(LIMIT, running.join()).await.unwrap().unwrap();
        assert_eq!(ending, Ending::Drained);
        call.await.unwrap().unwrap();
        assert_eq!(strings.dropped(), 0);
    }

    async fn a_forced_stop_ends_at_once(broker: TestBroker) {
        for stops_already in [false, true] {
            let strings = Strings::default();
            let service = PuppetServer::new(strings.clone());
            let running = start(&broker.url(), service, Duration::from_secs(3_600)).await;
            let client = puppet::client(&broker.url()).await.unwrap();
            let call = sleeping(&client, &strings, LONG).await;
            let began = Instant::now();
            if stops_already {
                running.stop();
            }
            running.force_stop();
            ended(running).await;
            assert!(began.elapsed() < LIMIT);
            assert_eq!(strings.dropped(), 1);
            assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unavailable);
            is_gone(&broker.url()).await;
        }
    }

    async fn who_waits_in_the_queue_is_sent_elsewhere(broker: TestBroker) {
        let (leaving, staying) = (Strings::default(), Strings::default());
        let service = PuppetServer::new(leaving.clone()).concurrency(1).queue(100);
        let running = start(&broker.url(), service, LIMIT).await;
        let client = puppet::client(&broker.url()).await.unwrap();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let once = PuppetClient::new(Channel::new(nats).max_attempts(1));

        let first = sleeping(&client, &leaving, SleepRequest { millis: 1_000 }).await;
        let queued: Vec<_> = (0..6)
            .map(|i| {
                let client = if i < 3 { &client } else { &once };
                tokio::spawn(client.sleep(SleepRequest { millis: 1 }).send())
            })
            .collect();
        load(&broker.url(), "waiting", 6).await;

        let _other = start(&broker.url(), PuppetServer::new(staying.clone()), LIMIT).await;
        running.stop();
        for (i, call) in queued.into_iter().enumerate() {
            match call.await.unwrap() {
                Ok(_) => assert!(i < 3, "a request was sent twice"),
                Err(status) => {
                    assert!(i >= 3, "{status}");
                    assert_eq!(status.code(), Code::Unavailable, "{status}");
                    assert!(status.is_not_started(), "{status}");
                }
            }
        }
        first.await.unwrap().unwrap();
        ended(running).await;
        assert_eq!((leaving.started(), staying.started()), (1, 3));
    }

    async fn dropping_it_stops_gracefully(broker: TestBroker) {
        let strings = Strings::default();
        let running = start(&broker.url(), PuppetServer::new(strings.clone()), LIMIT).await;
        let client = puppet::client(&broker.url()).await.unwrap();
        let call = sleeping(&client, &strings, SleepRequest { millis: 300 }).await;
        drop(running);
        call.await.unwrap().unwrap();
        eventually(LIMIT, || async { client.echo(Blob::default()).await.is_err() }).await;
        is_gone(&broker.url()).await;
    }

    async fn a_future_can_tell_it_to_stop(broker: TestBroker) {
        let strings = Strings::default();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let (stop, told) = tokio::sync::oneshot::channel::<()>();
        let server = Server::new(nats.clone()).add_service(PuppetServer::new(strings.clone()));
        let serving = tokio::spawn(server.serve_with_shutdown(async {
            _ = told.await;
        }));
        let client = puppet::client(&broker.url()).await.unwrap();
        client.wait_ready(LIMIT).await.unwrap();
        let call = sleeping(&client, &strings, SleepRequest { millis: 200 }).await;
        stop.send(()).unwrap();
        call.await.unwrap().unwrap();
        timeout(LIMIT, serving).await.unwrap().unwrap().unwrap();
        is_gone(&broker.url()).await;
        // The connection belongs to the user, and can serve again.
        assert!(nats.is_connected());
        let again = Server::new(nats).add_service(PuppetServer::new(strings));
        let running = again.start().await.unwrap();
        client.echo(Blob::default()).await.unwrap();
        running.stop();
        ended(running).await;
    }

    async fn started_twice_under_one_name(broker: TestBroker) {
        let each = [Strings::default(), Strings::default()];
        let mut ids = Vec::new();
        let mut running = Vec::new();
        for strings in &each {
            let server = puppet::serve(&broker.url(), strings).await.unwrap();
            ids.push(server.services()[0].id.clone());
            running.push(server);
        }
        assert_ne!(ids[0], ids[1]);
        let client = puppet::client(&broker.url()).await.unwrap();
        let calls = AtomicU64::new(0);
        eventually(LIMIT, || async {
            calls.fetch_add(1, Ordering::Relaxed);
            client.echo(Blob::default()).await.unwrap();
            each.iter().all(|strings| strings.started() > 0)
        })
        .await;
        let started: u64 = each.iter().map(Strings::started).sum();
        assert_eq!(started, calls.into_inner(), "both instances ran a call");
        for id in ids {
            let plain = async_nats::connect(broker.url()).await.unwrap();
            let ping = plain.request(format!("$SRV.PING.nmfw-puppet.{id}"), "".into());
            let ping: serde_json::Value =
                serde_json::from_slice(&ping.await.unwrap().payload).unwrap();
            assert_eq!(ping["id"], id);
        }
    }

    /// The lossless stop relies on this: a count of more than nine digits counts as reached.
    async fn unsubscribing_after_ten_digits_is_at_once(broker: TestBroker) {
        let plain = async_nats::connect(broker.url()).await.unwrap();
        for (number, listens) in [(9_999_999_999, false), (999_999_999, true)] {
            let mut subscriber = plain.subscribe("pin").await.unwrap();
            subscriber.unsubscribe_after(number).await.unwrap();
            round_trip(&plain, LIMIT).await.unwrap();
            let asker = async_nats::connect(broker.url()).await.unwrap();
            let reply = timeout(Duration::from_millis(300), asker.request("pin", "".into())).await;
            match reply {
                Ok(reply) => {
                    assert_eq!(reply.unwrap_err().kind(), RequestErrorKind::NoResponders);
                    assert!(!listens, "UNSUB with {number} ended the subscription");
                }
                Err(_) => assert!(listens, "UNSUB with {number} did not end the subscription"),
            }
        }
    }
}

on_both_brokers! {
    async fn it_is_known_how_a_server_ended(broker: TestBroker) {
        for (grace, is_called, forced, expected) in [
            (LIMIT, false, false, Ending::Drained),
            (LIMIT, false, true, Ending::Drained),
            (Duration::from_millis(50), true, false, Ending::GraceEnded),
            (LIMIT, true, true, Ending::Forced),
        ] {
            let strings = Strings::default();
            let running = start(&broker.url(), PuppetServer::new(strings.clone()), grace).await;
            let client = puppet::client(&broker.url()).await.unwrap();
            let call = match is_called {
                true => Some(sleeping(&client, &strings, LONG).await),
                false => None,
            };
            running.stop();
            if forced {
                running.force_stop();
            }
            let ending = timeout(LIMIT, running.join()).await.unwrap().unwrap();
            assert_eq!(ending, expected);
            if let Some(call) = call {
                assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unavailable);
            }
        }
    }
}

/// The puppet in its own process; killed when dropped.
struct Process(Child);

impl Process {
    fn start(url: &str, grace_millis: u64) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_puppet"));
        Self(
            command
                .arg(url)
                .arg(grace_millis.to_string())
                .spawn()
                .unwrap(),
        )
    }

    fn terminate(&self) {
        let pid = i32::try_from(self.0.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    }

    async fn exit(&mut self) -> ExitStatus {
        let child = std::sync::Mutex::new(&mut self.0);
        eventually(LIMIT, || async {
            child.lock().unwrap().try_wait().unwrap()
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

on_both_brokers! {
    async fn sigterm_stops_a_process_gracefully(broker: TestBroker) {
        let mut process = Process::start(&broker.url(), 20_000);
        let client = puppet::client(&broker.url()).await.unwrap();
        client.wait_ready(LIMIT).await.unwrap();
        let call = tokio::spawn(client.sleep(SleepRequest { millis: 700 }).send());
        load(&broker.url(), "running", 1).await;
        process.terminate();
        call.await.unwrap().unwrap();
        let exit = process.exit().await;
        assert!(exit.success(), "{exit}");
        is_gone(&broker.url()).await;
    }

    async fn a_second_sigterm_forces_it(broker: TestBroker) {
        let mut process = Process::start(&broker.url(), 3_600_000);
        let client = puppet::client(&broker.url()).await.unwrap();
        client.wait_ready(LIMIT).await.unwrap();
        let call = tokio::spawn(client.sleep(LONG).send());
        load(&broker.url(), "running", 1).await;
        process.terminate();
        // The process has handled the first signal when it refuses new calls.
        eventually(LIMIT, || async { client.echo(Blob::default()).await.is_err() }).await;
        assert!(!call.is_finished());
        process.terminate();
        let exit = process.exit().await;
        assert!(exit.success(), "{exit}");
        assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unavailable);
    }
}
