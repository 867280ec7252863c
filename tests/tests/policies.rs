//! Hedges, circuit breakers and rate limits of clients: their effect on services, and their
//! metrics. The metrics belong to the whole process, so tests of the same metrics run one after the
//! other.

#![cfg(test)]

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use nmfw::{
    Channel, Code, Context, NatsChannel as _, Server, Status,
    client::{
        CircuitBreakerLayer, CircuitOpen, HedgeLayer, RateLimitLayer, RetryBudget, RetryLayer,
    },
    middleware::{self, Next, Request},
    server::Running,
};
use nmfw_tests::{
    TestBroker, eventually, on_both_brokers,
    puppet::{Blob, FailRequest, Puppet, PuppetClient, PuppetServer, Seen, SleepRequest, Strings},
    streams::{CountRequest, StreamsClient},
};
use tokio::sync::{Mutex, MutexGuard};

const LIMIT: Duration = Duration::from_secs(20);
const STALL: u64 = 40_000;

/// Held by tests of these metrics. The test of all layers opens no circuit.
static HEDGES: Mutex<()> = Mutex::const_new(());
static CIRCUITS: Mutex<()> = Mutex::const_new(());
static LIMITS: Mutex<()> = Mutex::const_new(());

/// Installs the recorder before the first call, and waits until no other test changes these
/// metrics.
async fn alone(figures: &'static Mutex<()>) -> MutexGuard<'static, ()> {
    recorder();
    figures.lock().await
}

fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| PrometheusBuilder::new().install_recorder().unwrap())
}

const WELL: u8 = 0;
const FAILS: u8 = 1;
const STALLS: u8 = 2;

/// A service whose `Echo` behaves as last requested. Clones share all state.
#[derive(Clone, Default)]
struct Moody {
    strings: Strings,
    mood: Arc<AtomicU8>,
}

impl Moody {
    fn is(&self, mood: u8) {
        self.mood.store(mood, Ordering::SeqCst);
    }

    async fn serve(&self, url: &str) -> Running {
        let nats = nmfw::connect(url).await.unwrap();
        let server = Server::new(nats).add_service(PuppetServer::new(self.clone()));
        server.start().await.unwrap()
    }
}

impl Puppet for Moody {
    async fn echo(&self, ctx: Context, request: Blob) -> Result<Blob, Status> {
        match self.mood.load(Ordering::SeqCst) {
            FAILS => {
                let request = FailRequest {
                    code: 14,
                    ..FailRequest::default()
                };
                self.strings.fail(ctx, request).await?;
                Ok(Blob::default())
            }
            STALLS => {
                self.strings
                    .sleep(ctx, SleepRequest { millis: STALL })
                    .await
            }
            _ => self.strings.echo(ctx, request).await,
        }
    }

    async fn sleep(&self, ctx: Context, request: SleepRequest) -> Result<Blob, Status> {
        if self.mood.load(Ordering::SeqCst) == STALLS {
            return Ok(Blob::default());
        }
        self.strings.sleep(ctx, request).await
    }

    async fn fail(&self, ctx: Context, request: FailRequest) -> Result<(), Status> {
        self.strings.fail(ctx, request).await
    }

    async fn panic(&self, ctx: Context, request: ()) -> Result<(), Status> {
        self.strings.panic(ctx, request).await
    }

    async fn inspect(&self, ctx: Context, request: ()) -> Result<Seen, Status> {
        self.strings.inspect(ctx, request).await
    }
}

/// The metrics of a method since this was created.
struct Figures {
    function: &'static str,
    before: Vec<(String, f64)>,
}

impl Figures {
    fn of(function: &'static str) -> Self {
        let mut figures = Self {
            function,
            before: Vec::new(),
        };
        figures.before = figures.all();
        figures
    }

    /// Returns the end of each name, with the value.
    fn all(&self) -> Vec<(String, f64)> {
        let text = recorder().render();
        let labels = format!("{{service=\"nmfw-puppet\",function=\"{}\"}}", self.function);
        let figure = |line: &str| {
            let (name, value) = line.strip_prefix("nmfw_client_")?.split_once(&labels)?;
            Some((name.to_owned(), value.trim().parse().unwrap()))
        };
        text.lines().filter_map(figure).collect()
    }

    fn get(&self, name: &str) -> u64 {
        let value = |all: &[(String, f64)]| {
            let found = all.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| *value)
        };
        let now = value(&self.all()).unwrap_or_else(|| panic!("no {name}"));
        (now - value(&self.before).unwrap_or_default()).round() as u64
    }
}

async fn channel(url: &str) -> Channel {
    Channel::new(nmfw::connect(url).await.unwrap())
}

/// Creates a layer that hedges every slow call.
fn hedge() -> HedgeLayer {
    HedgeLayer::new()
        .after(Duration::from_millis(30))
        .budget(RetryBudget::new().min_per_second(1000).max_ratio(1.0))
}

fn blob(text: &str) -> Blob {
    Blob {
        data: text.as_bytes().to_vec(),
    }
}

on_both_brokers! {
    async fn a_hedge_beats_an_instance_that_stalls(broker: TestBroker) {
        let _alone = alone(&HEDGES).await;
        let (slow, fast) = (Moody::default(), Moody::default());
        let _slow = slow.serve(&broker.url()).await;
        let client = PuppetClient::new(channel(&broker.url()).await.multiplexed().layer(hedge()));
        eventually(LIMIT, || async {
            client.inspect(()).await.unwrap().reply.contains(".s.")
        })
        .await;
        // The instance of a further session is chosen at random, so open many.
        let mut others = Vec::new();
        for _ in 0..5 {
            others.push(fast.serve(&broker.url()).await);
        }
        // There are sessions with both kinds.
        eventually(LIMIT, || async {
            let begun = [&slow, &fast].map(|instance| instance.strings.started());
            let mut are_in_sessions = true;
            for _ in 0..20 {
                let seen = client.inspect(()).await.unwrap();
                are_in_sessions &= seen.reply.contains(".s.");
            }
            let now = [&slow, &fast].map(|instance| instance.strings.started());
            are_in_sessions && now[0] > begun[0] && now[1] > begun[1]
        })
        .await;
        let figures = Figures::of("Echo");
        slow.is(STALLS);
        let begun = fast.strings.started();
        // The other instance is busy, so that load alone would direct all attempts to the slow one.
        let calls = (0..40).map(|_| client.sleep(SleepRequest { millis: STALL }));
        let busy: Vec<_> = calls.map(|call| tokio::spawn(call.send())).collect();
        let over = || busy.iter().filter(|call| call.is_finished()).count();
        eventually(LIMIT, || async { over() + (fast.strings.started() - begun) as usize == 40 }).await;
        assert!(over() < 40, "all calls went to one instance");

        let begun = slow.strings.started();
        let stalled = || slow.strings.started() - begun;
        let mut calls = 0;
        // Most calls meet the slow instance, but not those in a session that was just opened.
        while stalled() <= 20 {
            assert!(calls < 100, "{} of {calls} calls met the slow instance", stalled());
            let text = format!("call {calls}");
            // Long before the slow instance answers, so no call is sent to it twice.
            let answer = client.echo(blob(&text)).timeout(LIMIT).await.unwrap();
            assert_eq!(answer, blob(&text));
            calls += 1;
        }
        let stalled = stalled();
        let (hedges, wins) = (figures.get("hedges_total"), figures.get("hedge_wins_total"));
        assert!(hedges >= stalled && wins >= stalled, "{stalled}: {hedges} hedges, {wins} won");
        eventually(LIMIT, || async {
            match slow.strings.dropped() {
                dropped if dropped == stalled => Ok(()),
                dropped => Err(format!("{dropped} of {stalled} handlers were dropped")),
            }
        })
        .await;
        busy.iter().for_each(tokio::task::JoinHandle::abort);
    }

    async fn without_sessions_a_hedge_goes_to_whom_nats_chooses(broker: TestBroker) {
        let _alone = alone(&HEDGES).await;
        let (slow, fast) = (Moody::default(), Moody::default());
        let _servers = [slow.serve(&broker.url()).await, fast.serve(&broker.url()).await];
        slow.is(STALLS);
        // It is practically impossible that all attempts of a call go to one of two instances by
        // chance.
        let layer = hedge().max_hedges(40);
        let client = PuppetClient::new(channel(&broker.url()).await.layer(layer));
        while slow.strings.started() < 3 {
            client.echo(blob("a")).timeout(LIMIT).await.unwrap();
        }
        assert!(fast.strings.finished() > 0);
    }

    async fn what_may_not_be_carried_out_twice_is_not_hedged(broker: TestBroker) {
        let _alone = alone(&HEDGES).await;
        let puppet = Moody::default();
        let _server = puppet.serve(&broker.url()).await;
        let figures = Figures::of("Sleep");
        let layer = hedge().after(Duration::from_millis(1));
        let base = channel(&broker.url()).await.layer(layer);
        let calls = [base.clone(), base.multiplexed()].map(|channel| {
            let client = PuppetClient::new(channel);
            join_all((0..20).map(|_| client.sleep(SleepRequest { millis: 60 }).send()))
        });
        for outcome in join_all(calls).await.into_iter().flatten() {
            outcome.unwrap();
        }
        assert_eq!(puppet.strings.started(), 40);
        let hedges = |(name, value): &(String, f64)| name == "hedges_total" && *value > 0.0;
        assert!(!figures.all().iter().any(hedges));
    }

    async fn an_open_circuit_keeps_calls_from_the_service_until_it_is_well(broker: TestBroker) {
        let _alone = alone(&CIRCUITS).await;
        let puppet = Moody::default();
        let _server = puppet.serve(&broker.url()).await;
        let breaker = CircuitBreakerLayer::new()
            .window(LIMIT).min_calls(10)
            .backoff(Duration::from_secs(2), Duration::from_secs(2))
            .half_open_calls(2);
        let channel = channel(&broker.url()).await.layer(breaker);
        let (client, other) = (PuppetClient::new(&channel), PuppetClient::new(channel.clone()));
        let figures = Figures::of("Echo");
        client.echo(blob("well")).await.unwrap();
        puppet.is(FAILS);
        let mut failed = 0;
        let opened = loop {
            let status = client.echo(Blob::default()).await.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            if CircuitOpen::of(&status).is_some() {
                break status;
            }
            failed += 1;
        };
        assert_eq!(failed, 9, "of 10 calls");
        assert!(opened.is_not_started());
        assert_eq!(figures.get("circuit_openings_total"), 1);
        assert_eq!(figures.get("circuits_open"), 1);
        // A clone of the channel has the same circuit; another method has its own.
        let mut refused = 1;
        let seen = puppet.strings.started();
        for _ in 0..5 {
            let status = other.echo(Blob::default()).await.unwrap_err();
            // On a very busy machine, the pause may be over.
            if CircuitOpen::of(&status).is_none_or(|open| open.retry_after() < Duration::from_millis(50)) {
                break;
            }
            refused += 1;
            assert_eq!(puppet.strings.started(), seen, "the service was called");
        }
        assert!(figures.get("circuit_refusals_total") >= refused);
        other.inspect(()).await.unwrap();

        puppet.is(WELL);
        eventually(LIMIT, || async { other.echo(blob("well")).await }).await;
        eventually(LIMIT, || async { client.echo(blob("well")).await.is_ok() && figures.get("circuits_open") == 0 }).await;
        for _ in 0..20 {
            client.echo(blob("well")).await.unwrap();
        }
    }

    async fn a_service_that_is_gone_is_not_asked_for(broker: TestBroker) {
        let _alone = alone(&CIRCUITS).await;
        let breaker = CircuitBreakerLayer::new()
            .window(LIMIT).min_calls(3)
            .backoff(Duration::from_millis(100), Duration::from_millis(100));
        let channel = channel(&broker.url()).await.layer(breaker);
        let (puppet, streams) = (PuppetClient::new(&channel), StreamsClient::new(&channel));
        let figures = Figures::of("Echo");
        eventually(LIMIT, || async {
            CircuitOpen::of(&puppet.echo(Blob::default()).await.unwrap_err()).is_some()
        })
        .await;
        // For a stream, the circuit breaker counts the failure to open it.
        eventually(LIMIT, || async {
            let status = streams.count(CountRequest::default()).await.map(drop).unwrap_err();
            CircuitOpen::of(&status).is_some_and(|open| open.method().name() == "Count")
        })
        .await;
        let service = Moody::default();
        let _server = service.serve(&broker.url()).await;
        eventually(LIMIT, || async { puppet.echo(Blob::default()).await }).await;
        eventually(LIMIT, || async {
            puppet.echo(Blob::default()).await.is_ok() && figures.get("circuits_open") == 0
        })
        .await;
        // A layer removes its contribution to the gauge when dropped.
        service.is(FAILS);
        eventually(LIMIT, || async {
            _ = puppet.echo(Blob::default()).await;
            figures.get("circuits_open") == 1
        })
        .await;
        drop((puppet, streams, channel));
        assert_eq!(figures.get("circuits_open"), 0);
    }

    async fn retries_do_not_hammer_an_open_circuit(broker: TestBroker) {
        let _alone = alone(&CIRCUITS).await;
        let puppet = Moody::default();
        let _server = puppet.serve(&broker.url()).await;
        puppet.is(FAILS);
        let breaker = CircuitBreakerLayer::new().window(LIMIT).min_calls(10).backoff(LIMIT, LIMIT);
        let retry = RetryLayer::new().max_attempts(8).budget(RetryBudget::new().min_per_second(1000).max_ratio(1.0));
        let channel = channel(&broker.url()).await.layer(breaker).layer(retry);
        let client = PuppetClient::new(channel);
        let figures = Figures::of("Echo");
        let status = client.echo(Blob::default()).await.unwrap_err();
        assert!(CircuitOpen::of(&status).is_none(), "8 attempts, {status}");
        let status = client.echo(Blob::default()).await.unwrap_err();
        assert!(CircuitOpen::of(&status).is_some(), "2 more, {status}");
        assert!(!status.is_not_started(), "the first attempt may have been started");
        assert_eq!(puppet.strings.started(), 10);
        for _ in 0..50 {
            let status = client.echo(Blob::default()).await.unwrap_err();
            assert!(CircuitOpen::of(&status).is_some() && status.is_not_started(), "{status}");
        }
        assert_eq!(puppet.strings.started(), 10);
        assert_eq!(figures.get("retries_total"), 7 + 2);
        assert_eq!(figures.get("circuit_refusals_total"), 51);
    }

    async fn a_rate_limit_holds_in_order_and_to_the_deadline(broker: TestBroker) {
        let _alone = alone(&LIMITS).await;
        let puppet = Moody::default();
        let _server = puppet.serve(&broker.url()).await;
        let passed = Arc::new(std::sync::Mutex::new(Vec::new()));
        let noted = Arc::clone(&passed);
        let note = move |request: Request, next: Next| {
            noted.lock().unwrap().push(request.body().cloned());
            next.run(request)
        };
        let limit = RateLimitLayer::new(20, Duration::from_secs(1)).burst(5).methods(["Echo"]);
        let channel = channel(&broker.url()).await.layer(middleware::from_fn(note)).layer(limit);
        let figures = Figures::of("Echo");
        let begin = Instant::now();
        // All calls begin at once, in this order; clones of a channel share one limit.
        let call = |nth: u8, timeout| {
            let client = PuppetClient::new(channel.clone());
            client.echo(Blob { data: vec![nth] }).timeout(timeout).send()
        };
        let (moment, second) = (Duration::from_millis(100), Duration::from_secs(1));
        let first = join_all((0..15).map(|nth| call(nth, LIMIT)));
        let given_up = tokio::time::timeout(moment, call(15, LIMIT));
        let rest = join_all((16..31).map(|nth| call(nth, LIMIT)));
        // A token would be due after 1.35 s, with less than half of the call's time left.
        let late = async { (call(31, 2 * second).await.unwrap_err(), begin.elapsed()) };
        let (first, given_up, rest, (late, at)) = tokio::join!(first, given_up, rest, late);
        for answer in first.into_iter().chain(rest) {
            answer.unwrap();
        }
        given_up.unwrap_err();
        let time = begin.elapsed();
        assert!(time >= Duration::from_millis(50 * (30 - 5)), "{time:?}");
        assert_eq!(late.code(), Code::ResourceExhausted, "{late}");
        assert!(late.is_not_started());
        assert!(at < second, "after {at:?}: {late}");

        let passed: Vec<_> = passed.lock().unwrap().iter().flatten().cloned().collect();
        assert!(passed.is_sorted(), "{passed:?}");
        assert_eq!(passed.len(), 30);
        assert_eq!(puppet.strings.started(), 30);
        assert_eq!(figures.get("rate_limit_refusals_total"), 1);
        assert_eq!(figures.get("rate_limit_waits_total"), 31 - 5);
    }

    async fn all_of_them_together(broker: TestBroker) {
        recorder();
        let puppet = Moody::default();
        let _server = puppet.serve(&broker.url()).await;
        let limit = RateLimitLayer::new(1_000_000, Duration::from_secs(1));
        let channel = channel(&broker.url()).await
            .multiplexed()
            .layer(HedgeLayer::new())
            .layer(limit)
            .layer(CircuitBreakerLayer::new())
            .layer(RetryLayer::new());
        let client = PuppetClient::new(channel);
        let calls = (0..500).map(|nth| client.echo(blob(&nth.to_string())).timeout(LIMIT).send());
        for (nth, answer) in join_all(calls).await.into_iter().enumerate() {
            assert_eq!(answer.unwrap(), blob(&nth.to_string()));
        }
        client.sleep(SleepRequest { millis: 1 }).await.unwrap();
    }
}
