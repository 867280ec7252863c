//! Calls that are resent, and calls that must not be resent.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{future::join_all, poll};
use nmfw::{
    Channel, Code, ConnectOptions, Context, NatsChannel as _, Server, Status, server::Running,
};
use nmfw_tests::{
    Direction, Proxy, TestBroker,
    calc::{
        AddRequest, AverageRequest, Calc, CalcClient, CalcResponse, CalcServer, ExpressionRequest,
    },
    eventually, on_both_brokers,
    puppet::{self, Blob, PuppetClient, PuppetServer, SleepRequest, Strings},
};

const LIMIT: Duration = Duration::from_secs(20);

/// Calls a missing service, and counts its own runs.
#[derive(Clone)]
struct Relay {
    next: PuppetClient,
    runs: Arc<AtomicU64>,
}

impl Calc for Relay {
    async fn average(&self, _: Context, _: AverageRequest) -> Result<CalcResponse, Status> {
        // The status comes from the handler, so the handler has run.
        self.runs.fetch_add(1, Ordering::SeqCst);
        Err(Status::resource_exhausted("no").not_started())
    }

    async fn add(&self, ctx: Context, _: AddRequest) -> Result<CalcResponse, Status> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        self.next.echo(Blob::default()).context(&ctx).await?;
        Ok(CalcResponse::default())
    }

    async fn expression(&self, _: Context, _: ExpressionRequest) -> Result<CalcResponse, Status> {
        Ok(CalcResponse::default())
    }
}

async fn two(url: &str, first: &Strings, second: &Strings) -> [Running; 2] {
    let serve = async |service| {
        let nats = nmfw::connect(url).await.unwrap();
        Server::new(nats)
            .add_service(service)
            .start()
            .await
            .unwrap()
    };
    let full = PuppetServer::new(first.clone()).concurrency(1).queue(0);
    let free = PuppetServer::new(second.clone());
    [
        serve(full.no_queue_group()).await,
        serve(free.no_queue_group()).await,
    ]
}

/// Checks that the service has answered `expected` requests for `Sleep`.
async fn requests(broker: &TestBroker, expected: u64) -> Result<(), String> {
    match puppet::sleep_stats(&broker.url()).await.unwrap() {
        (requests, _) if requests == expected => Ok(()),
        (requests, _) => Err(format!("{requests} requests instead of {expected}")),
    }
}

on_both_brokers! {
    async fn a_handler_whose_own_call_was_not_started_has_run(broker: TestBroker) {
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let relay = Relay { next: PuppetClient::new(&nats), runs: Arc::default() };
        let _server = Server::new(nats.clone())
            .add_service(CalcServer::new(relay.clone()))
            .start()
            .await
            .unwrap();
        for calc in [CalcClient::new(&nats), CalcClient::local(relay.clone())] {
            relay.runs.store(0, Ordering::SeqCst);
            let status = calc.add(AddRequest::default()).await.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            assert!(!status.is_not_started());
            let status = calc.average(AverageRequest::default()).await.unwrap_err();
            assert!(!status.is_not_started(), "{status:?}");
            assert_eq!(relay.runs.load(Ordering::SeqCst), 2);
        }
    }

    async fn without_a_queue_group_nothing_is_sent_again(broker: TestBroker) {
        let (first, second) = (Strings::default(), Strings::default());
        let _servers = two(&broker.url(), &first, &second).await;
        let client = puppet::client(&broker.url()).await.unwrap();
        let slow = tokio::spawn(client.sleep(SleepRequest { millis: 60_000 }).send());
        eventually(LIMIT, || async { first.started() == 1 && second.started() == 1 }).await;
        // One instance is full, the other has room: whichever answers first, the call succeeds.
        let outcome = client.sleep(SleepRequest { millis: 1 }).await;
        if let Err(status) = outcome {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
            assert!(!status.is_not_started(), "another instance may have started it");
        }
        eventually(LIMIT, || async { second.finished() == 1 }).await;
        assert_eq!((first.started(), second.started()), (1, 2));
        slow.abort();
    }

    async fn an_overload_is_not_multiplied(broker: TestBroker) {
        const CALLS: u64 = 800;
        // The initial budget of a channel, and the amount that each accepted call adds.
        const BUDGET: u64 = 1_000;
        const EARNED: u64 = 4;
        let strings = Strings::default();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let _server = Server::new(nats)
            .add_service(PuppetServer::new(strings.clone()).concurrency(1).queue(0))
            .start()
            .await
            .unwrap();
        let client = puppet::client(&broker.url()).await.unwrap();
        let sleep = || client.sleep(SleepRequest { millis: 60_000 }).send();
        let slow = tokio::spawn(sleep());
        eventually(LIMIT, || async { strings.started() == 1 }).await;
        let refused = async |calls| {
            for outcome in join_all((0..calls).map(|_| sleep())).await {
                let status = outcome.unwrap_err();
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                assert!(status.is_not_started());
            }
        };
        refused(CALLS).await;
        // Without the budget, each call would be sent five times.
        let mut sent = CALLS + BUDGET;
        eventually(LIMIT, || requests(&broker, sent)).await;
        refused(CALLS).await;
        sent += CALLS;
        eventually(LIMIT, || requests(&broker, sent)).await;

        // Accepted calls pay for further attempts.
        slow.abort();
        for _ in 0..10 {
            client.echo(Blob::default()).await.unwrap();
        }
        refused(CALLS).await;
        sent += CALLS + 10 * EARNED;
        eventually(LIMIT, || requests(&broker, sent)).await;
    }

    /// The instance refuses all waiting calls at once, and the channel has saved enough budget for
    /// that.
    async fn an_instance_that_stops_with_thousands_of_calls_fails_none(broker: TestBroker) {
        const CALLS: usize = 2500;
        let serve = async |strings: &Strings| {
            let service = PuppetServer::new(strings.clone()).concurrency(1).queue(2 * CALLS);
            let server = Server::new(nmfw::connect(broker.url()).await.unwrap()).add_service(service);
            server.start().await.unwrap()
        };
        let (first, second) = (Strings::default(), Strings::default());
        let stopping = serve(&first).await;
        let client = puppet::client(&broker.url()).await.unwrap();
        let sleep = |millis| client.sleep(SleepRequest { millis }).timeout(3 * LIMIT).send();
        for _ in 0..CALLS {
            client.echo(Blob::default()).await.unwrap();
        }
        let blocking = tokio::spawn(sleep(3_000));
        eventually(LIMIT, || async { first.started() == CALLS as u64 + 1 }).await;
        let waiting = tokio::spawn(join_all((0..CALLS).map(|_| sleep(0))));
        // The calls are in flight.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let _running = serve(&second).await;
        stopping.stop();
        for outcome in tokio::time::timeout(3 * LIMIT, waiting).await.unwrap().unwrap() {
            outcome.unwrap();
        }
        assert_eq!(second.finished(), CALLS as u64);
        blocking.await.unwrap().unwrap();
    }

    /// Requests that the connection does not accept at once take another path, each once.
    async fn requests_that_have_to_wait_are_sent_once(broker: TestBroker) {
        const CALLS: usize = 200;
        let strings = Strings::default();
        let server = nmfw::connect(broker.url()).await.unwrap();
        let _server = Server::new(server)
            .add_service(PuppetServer::new(strings.clone()).concurrency(CALLS))
            .start()
            .await
            .unwrap();
        let proxy = Proxy::start(broker.port()).await.unwrap();
        let nats = ConnectOptions::new().client_capacity(1).connect(proxy.url()).await.unwrap();
        let client = PuppetClient::new(Channel::new(nats).max_attempts(1));
        client.echo(Blob::default()).await.unwrap();
        proxy.stall(Direction::ToServer);
        // 40 MB, of which sockets and buffers hold some.
        let call = || client.echo(Blob { data: vec![0; 200_000] }).timeout(LIMIT).send();
        let mut calls = pin!(join_all((0..CALLS).map(|_| call())));
        // Each future has been polled once, and none can complete.
        assert!(poll!(calls.as_mut()).is_pending());
        assert_eq!(strings.started(), 1);
        proxy.resume(Direction::ToServer);
        for outcome in calls.await {
            outcome.unwrap();
        }
        assert_eq!(strings.started(), CALLS as u64 + 1);
    }

    async fn answers_that_cannot_be_sent_hold_up_new_work(broker: TestBroker) {
        let strings = Strings::default();
        let proxy = Proxy::start(broker.port()).await.unwrap();
        let nats = ConnectOptions::new().client_capacity(4).connect(proxy.url()).await.unwrap();
        let _server = Server::new(nats)
            .add_service(PuppetServer::new(strings.clone()).concurrency(4).queue(4))
            .start()
            .await
            .unwrap();
        let client = PuppetClient::new(
            Channel::new(nmfw::connect(broker.url()).await.unwrap()).max_attempts(1),
        );
        client.echo(Blob::default()).await.unwrap();
        proxy.stall(Direction::ToServer);
        // 100 MB of answers, of which sockets and buffers hold some.
        let calls: Vec<_> = (0..1000)
            .map(|_| {
                let call = client.echo(Blob { data: vec![0; 100_000] });
                tokio::spawn(call.timeout(LIMIT).send())
            })
            .collect();
        let mut last = 0;
        eventually(LIMIT, || {
            let now = strings.started();
            let still = now == last;
            last = now;
            async move {
                tokio::time::sleep(Duration::from_millis(300)).await;
                still
            }
        })
        .await;
        assert!(strings.started() < 500, "{} answers are queued", strings.started());
        proxy.resume(Direction::ToServer);
        for call in calls {
            match call.await.unwrap() {
                Ok(_) => {}
                Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status}"),
            }
        }
    }
}
