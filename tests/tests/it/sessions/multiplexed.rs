//! Calls that share sessions.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use nmfw::{Channel, Code, NatsChannel as _, Server, Status, server::Running};
use nmfw_tests::{
    TestBroker,
    broker::Options,
    eventually, on_both_brokers,
    puppet::{self, Blob, FailRequest, PuppetClient, PuppetServer, SleepRequest, Strings},
};
use tokio::{task::JoinSet, time::timeout};

const SHORT: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_secs(30);
const FOREVER: SleepRequest = SleepRequest { millis: 600_000 };

/// Creates a client on its own connection.
async fn client(url: &str) -> PuppetClient {
    let nats = nmfw::connect(url).await.unwrap();
    PuppetClient::new(Channel::new(nats).multiplexed())
}

/// Creates a client whose session is open.
async fn open_client(url: &str) -> PuppetClient {
    let client = client(url).await;
    on_session(&client).await;
    client
}

/// Waits until the client's calls use a session, which shows in their reply subject.
async fn on_session(client: &PuppetClient) {
    eventually(LIMIT, || async {
        let seen = client
            .inspect(())
            .await
            .map_err(|status| status.to_string())?;
        if seen.reply.contains(".s.") {
            Ok(())
        } else {
            Err(seen.reply)
        }
    })
    .await;
}

async fn start(url: &str, strings: &Strings, grace: Duration) -> Running {
    let nats = nmfw::connect(url).await.unwrap();
    let service = PuppetServer::new(strings.clone());
    let server = Server::new(nats).add_service(service).grace(grace);
    server.start().await.unwrap()
}

async fn ended(running: Running) {
    timeout(LIMIT, running.join()).await.unwrap().unwrap();
}

/// Callers that call until they are stopped, with numbered calls.
struct Load {
    over: Arc<AtomicBool>,
    next: Arc<AtomicU64>,
    callers: JoinSet<Vec<Status>>,
}

impl Load {
    fn start(client: &PuppetClient, callers: usize, time: Duration) -> Self {
        let mut load = Self {
            over: Arc::default(),
            next: Arc::default(),
            callers: JoinSet::new(),
        };
        for _ in 0..callers {
            let client = client.clone();
            let (over, next) = (Arc::clone(&load.over), Arc::clone(&load.next));
            load.callers.spawn(async move {
                let mut failed = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let data = number.to_be_bytes().to_vec();
                    match client.echo(Blob { data: data.clone() }).timeout(time).await {
                        Ok(echo) => assert_eq!(echo.data, data, "an answer to another call"),
                        Err(status) => failed.push(status),
                    }
                }
                failed
            });
        }
        load
    }

    /// Returns the number of calls, and the errors.
    async fn stop(self) -> (u64, Vec<Status>) {
        self.over.store(true, Ordering::Relaxed);
        let failed = self.callers.join_all().await.concat();
        (self.next.load(Ordering::Relaxed), failed)
    }
}

on_both_brokers! {
    async fn many_callers_get_their_own_answers(broker: TestBroker) {
        let strings = Strings::default();
        let _server = puppet::serve(&broker.url(), &strings).await.unwrap();
        let client = open_client(&broker.url()).await;
        let before = strings.started();
        let load = Load::start(&client, 128, LIMIT);
        eventually(LIMIT, || async { strings.started() > before + 20_000 }).await;
        let (calls, failed) = load.stop().await;
        assert!(failed.is_empty(), "{failed:?}");
        assert_eq!(strings.started(), before + calls);
        on_session(&client).await;
    }

    async fn metadata_and_what_a_handler_sees(broker: TestBroker) {
        let _server = puppet::serve(&broker.url(), &Strings::default()).await.unwrap();
        let client = open_client(&broker.url()).await;
        let call = client.inspect(()).metadata("Tenant", "acme").metadata("tag", "ä");
        let (seen, metadata) = call.timeout(LIMIT).send_with_metadata().await.unwrap();
        assert_eq!(metadata.get("Inspected-By"), Some("puppet"));
        assert_eq!(seen.metadata["Tenant"], "acme");
        assert_eq!(seen.metadata["tag"], "ä");
        assert_eq!(seen.client_version, "1.2.3-test");
        assert_eq!(seen.subject, "nmfw.nmfw.puppet.Inspect");
        assert_eq!(seen.method, "nmfw.puppet.Puppet.Inspect");
        assert!(seen.reply.starts_with("_INBOX.") && seen.reply.contains(".s."), "{}", seen.reply);
        let left = Duration::from_millis(seen.time_left_millis.unwrap());
        assert!(left <= LIMIT + SHORT && left > LIMIT - Duration::from_secs(10), "{left:?}");
        // A message of defaults is empty.
        assert_eq!(client.echo(Blob::default()).await.unwrap(), Blob::default());
    }

    async fn errors_and_panics(broker: TestBroker) {
        let strings = Strings::default();
        let _server = puppet::serve(&broker.url(), &strings).await.unwrap();
        let client = open_client(&broker.url()).await;
        for code in Code::ALL.into_iter().skip(1) {
            let request = FailRequest {
                code: code.number(),
                message: "100 % broken:\nä".to_owned(),
                detail: "detail".to_owned(),
                not_started: false,
            };
            let status = client.fail(request).await.unwrap_err();
            assert_eq!(status.code(), code);
            assert_eq!(status.message(), "100 % broken:\nä");
            assert_eq!(status.detail::<String>().as_deref(), Some("detail"));
            assert_eq!(status.metadata().get("failed-by"), Some("puppet"));
            assert!(!status.is_not_started());
        }
        let status = client.panic(()).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{status}");
        // A handler that returns "not started" has started: it is not run again.
        let before = strings.started();
        let request = FailRequest { code: 8, not_started: true, ..FailRequest::default() };
        let status = client.fail(request).await.unwrap_err();
        assert!(!status.is_not_started(), "{status}");
        assert_eq!(strings.started(), before + 1);
        on_session(&client).await;
    }

    async fn deadlines_and_dropped_calls_drop_the_handler(broker: TestBroker) {
        let strings = Strings::default();
        let _server = puppet::serve(&broker.url(), &strings).await.unwrap();
        let client = open_client(&broker.url()).await;
        let status = client.sleep(FOREVER).timeout(SHORT).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        eventually(LIMIT, || async { strings.dropped() == 1 }).await;

        let started = strings.started();
        let calls: Vec<_> = (0..50)
            .map(|_| tokio::spawn(client.sleep(FOREVER).timeout(LIMIT * 100).send()))
            .collect();
        eventually(LIMIT, || async { strings.started() == started + 50 }).await;
        for call in &calls {
            call.abort();
        }
        // Without a cancellation, the handlers would sleep longer than this.
        eventually(LIMIT, || async { strings.dropped() == 51 }).await;
        on_session(&client).await;
    }

    async fn large_messages(broker: TestBroker) {
        let options = Options { max_payload: Some(64 * 1024), ..Options::default() };
        let broker = broker.another(options).await.unwrap();
        let _server = puppet::serve(&broker.url(), &Strings::default()).await.unwrap();
        // The first call is too large for base mode, so it waits for the session.
        let client = client(&broker.url()).await;
        let data: Vec<u8> = (0..12 << 20).map(|i: u32| (i ^ (i >> 11)) as u8).collect();
        let echo = client.echo(Blob { data: data.clone() }).timeout(LIMIT).await.unwrap();
        assert!(echo.data == data, "the message was changed in transit");
        // A call over the limit fails, without further effects.
        let too_large = Blob { data: vec![0; 17 << 20] };
        let status = client.echo(too_large).timeout(LIMIT).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        client.echo(Blob { data: vec![1; 200_000] }).await.unwrap();
    }

    async fn a_stop_loses_nothing(broker: TestBroker) {
        let strings = Strings::default();
        let first = start(&broker.url(), &strings, LIMIT).await;
        let client = open_client(&broker.url()).await;
        let before = strings.started();
        let load = Load::start(&client, 64, LIMIT);
        let mut running = first;
        for _ in 0..5 {
            let started = strings.started();
            eventually(LIMIT, || async { strings.started() > started + 500 }).await;
            let other = start(&broker.url(), &strings, LIMIT).await;
            running.stop();
            ended(running).await;
            running = other;
        }
        let started = strings.started();
        eventually(LIMIT, || async { strings.started() > started + 500 }).await;
        let (calls, failed) = load.stop().await;
        assert!(failed.is_empty(), "{failed:?}");
        assert_eq!(strings.started(), before + calls, "each call must run once");
        on_session(&client).await;
    }

    async fn handlers_get_their_grace_and_a_forced_stop_is_unavailable(broker: TestBroker) {
        let strings = Strings::default();
        let running = start(&broker.url(), &strings, LIMIT).await;
        let client = open_client(&broker.url()).await;
        let started = strings.started();
        let call = tokio::spawn(client.sleep(SleepRequest { millis: 700 }).send());
        eventually(LIMIT, || async { strings.started() > started }).await;
        running.stop();
        call.await.unwrap().unwrap();
        let begin = Instant::now();
        ended(running).await;
        assert!(begin.elapsed() < LIMIT / 2, "the session delayed the stop until the end of the \
                                              grace period");

        let running = start(&broker.url(), &strings, LIMIT).await;
        on_session(&client).await;
        let started = strings.started();
        let call = tokio::spawn(client.sleep(FOREVER).timeout(LIMIT * 100).send());
        eventually(LIMIT, || async { strings.started() > started }).await;
        running.force_stop();
        ended(running).await;
        let status = call.await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(!status.is_not_started(), "{status}");
        assert_eq!(strings.dropped(), 1);
    }

    async fn a_restarted_broker_loses_nothing_and_runs_nothing_twice(broker: TestBroker) {
        let mut broker = broker;
        let strings = Strings::default();
        let _server = puppet::serve(&broker.url(), &strings).await.unwrap();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let channel = Channel::new(nats).multiplexed().reconnect_grace(LIMIT);
        let client = PuppetClient::new(channel);
        on_session(&client).await;
        let before = strings.started();
        let load = Load::start(&client, 32, LIMIT * 2);
        for _ in 0..3 {
            let started = strings.started();
            eventually(LIMIT, || async { strings.started() > started + 500 }).await;
            broker.restart().await.unwrap();
        }
        let started = strings.started();
        eventually(LIMIT, || async { strings.started() > started + 500 }).await;
        let (calls, failed) = load.stop().await;
        assert!(failed.is_empty(), "{} of {calls}: {failed:?}", failed.len());
        assert_eq!(strings.started(), before + calls, "each call must run once");
    }

    async fn a_service_without_sessions_is_called_as_ever(broker: TestBroker) {
        let plain = async_nats::connect(broker.url()).await.unwrap();
        let mut requests = plain.subscribe("nmfw.nmfw.puppet.Echo").await.unwrap();
        nmfw_tests::round_trip(&plain, LIMIT).await.unwrap();
        let responder = tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                let reply = request.reply.unwrap();
                plain.publish(reply, request.payload).await.unwrap();
            }
        });
        let client = client(&broker.url()).await;
        let load = Load::start(&client, 8, LIMIT);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (calls, failed) = load.stop().await;
        assert!(failed.is_empty(), "{failed:?}");
        assert!(calls > 8);
        responder.abort();
        // Once a service starts, its sessions are found.
        let _server = puppet::serve(&broker.url(), &Strings::default()).await.unwrap();
        on_session(&client).await;
    }

    async fn calls_go_elsewhere_when_an_instance_is_gone(broker: TestBroker) {
        let (gone, stays) = (Strings::default(), Strings::default());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (url, strings) = (broker.url(), gone.clone());
        let serving = runtime.spawn(async move { puppet::serve(&url, &strings).await.unwrap() });
        let _never_stopped = std::mem::ManuallyDrop::new(serving.await.unwrap());
        let client = open_client(&broker.url()).await;
        let _stays = start(&broker.url(), &stays, LIMIT).await;
        let under_way = tokio::spawn(client.sleep(FOREVER).timeout(LIMIT * 100).send());
        eventually(LIMIT, || async { gone.started() > gone.finished() }).await;
        runtime.shutdown_background();

        let begin = Instant::now();
        eventually(LIMIT, || async { client.echo(Blob::default()).timeout(SHORT).await }).await;
        assert!(begin.elapsed() < Duration::from_secs(7), "{:?}", begin.elapsed());
        on_session(&client).await;
        assert!(stays.started() > 0);
        let status = timeout(LIMIT, under_way).await.unwrap().unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(!status.is_not_started(), "{status}");
    }

    async fn a_client_that_goes_away_frees_its_session(broker: TestBroker) {
        let strings = Strings::default();
        let _server = puppet::serve(&broker.url(), &strings).await.unwrap();
        // The runtime of the client is gone at once, as in a killed process.
        let (url, sleeping) = (broker.url(), strings.clone());
        let killed = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let client = open_client(&url).await;
                tokio::spawn(client.sleep(FOREVER).timeout(LIMIT * 100).send());
                eventually(LIMIT, || async { sleeping.started() > sleeping.finished() }).await;
            });
            runtime.shutdown_background();
        });
        killed.await.unwrap();
        eventually(LIMIT, || async { strings.dropped() == 1 }).await;
        // A dropped client closes its session.
        let client = open_client(&broker.url()).await;
        let started = strings.started();
        let call = tokio::spawn(client.sleep(FOREVER).timeout(LIMIT * 100).send());
        eventually(LIMIT, || async { strings.started() > started }).await;
        drop(client);
        let begin = Instant::now();
        call.abort();
        eventually(LIMIT, || async { strings.dropped() == 2 }).await;
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
}
