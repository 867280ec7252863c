use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use tower::service_fn;

use super::*;
use crate::{Metadata, MethodSpec, ServiceSpec, layer::CallLayer};

static SPEC: ServiceSpec = ServiceSpec::new("shop", "Shop").with_methods(&[
    MethodSpec::unary("Look").no_side_effects(),
    MethodSpec::unary("Buy"),
    MethodSpec::server_streaming("Watch").no_side_effects(),
    MethodSpec::unary("Set").idempotent(),
]);

const LOOK: usize = 0;
const BUY: usize = 1;
const WATCH: usize = 2;
const SET: usize = 3;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The latency and outcome of an attempt.
type Plan = (Duration, Result<&'static str, Status>);

/// A service that handles attempts by a list of plans, repeating the last.
#[derive(Clone)]
struct PlannedService {
    plans: Arc<Vec<Plan>>,
    begun: Arc<AtomicU32>,
    /// Number of attempts that were dropped early.
    given_up: Arc<AtomicU32>,
}

struct Attempt(Arc<AtomicU32>, bool);

impl Attempt {
    fn ends(mut self) {
        self.1 = true;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.1 {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl PlannedService {
    fn new(plans: impl IntoIterator<Item = Plan>) -> Self {
        Self {
            plans: Arc::new(plans.into_iter().collect()),
            begun: Arc::default(),
            given_up: Arc::default(),
        }
    }

    fn behind(&self, layer: &HedgeLayer) -> BoxService {
        let shop = self.clone();
        layer.wrap(BoxService::new(service_fn(move |request: Request| {
            assert_eq!(request.body().unwrap(), "body");
            let nth = shop.begun.fetch_add(1, Ordering::Relaxed) as usize;
            let (time, outcome) = shop.plans[nth.min(shop.plans.len() - 1)].clone();
            let attempt = Attempt(Arc::clone(&shop.given_up), false);
            async move {
                sleep(time).await;
                attempt.ends();
                outcome.map(|text| Response::new(Bytes::from(text)))
            }
        })))
    }

    fn begun(&self) -> u32 {
        self.begun.load(Ordering::Relaxed)
    }

    fn given_up(&self) -> u32 {
        self.given_up.load(Ordering::Relaxed)
    }
}

async fn call(service: &BoxService, method: usize) -> Result<String, Status> {
    let body = Bytes::from("body");
    let request = Request::with_head(SPEC.method(method), Deadline::NONE, Metadata::new(), body);
    let response = service.clone().oneshot(request).await?;
    Ok(String::from_utf8(response.body().unwrap().to_vec()).unwrap())
}

/// Hedges after 10 ms, without a limit.
fn layer() -> HedgeLayer {
    HedgeLayer::new()
        .after(ms(10))
        .budget(RetryBudget::new().min_per_second(1000).max_ratio(1.0))
}

fn gone() -> Status {
    Status::unavailable("gone")
}

#[tokio::test(start_paused = true)]
async fn the_faster_answer_wins_and_the_slower_attempt_is_dropped() {
    for (first, second, winner) in [(1000, 5, "second"), (20, 500, "first"), (5, 0, "first")] {
        let shop = PlannedService::new([(ms(first), Ok("first")), (ms(second), Ok("second"))]);
        let service = shop.behind(&layer());
        let begin = Instant::now();
        assert_eq!(call(&service, LOOK).await.unwrap(), winner);
        assert!(begin.elapsed() <= ms(21), "{:?}", begin.elapsed());
        let attempts = if first < 10 { 1 } else { 2 };
        assert_eq!((shop.begun(), shop.given_up()), (attempts, attempts - 1));
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_may_be_carried_out_twice_is_sent_twice() {
    for (method, attempts) in [(LOOK, 2), (SET, 2), (BUY, 1), (WATCH, 1)] {
        let shop = PlannedService::new([(ms(100), Ok("slow"))]);
        call(&shop.behind(&layer()), method).await.unwrap();
        assert_eq!(shop.begun(), attempts, "{method}");
    }
    let shop = PlannedService::new([(ms(100), Ok("slow"))]);
    call(&shop.behind(&layer().methods(["Set"])), LOOK)
        .await
        .unwrap();
    call(&shop.behind(&layer().max_hedges(0)), LOOK)
        .await
        .unwrap();
    assert_eq!(shop.begun(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_ends_the_call_if_it_is_an_answer_or_the_only_attempt() {
    let late = (ms(100), Ok("late"));
    // A quick failure, with no other attempt in flight.
    let shop = PlannedService::new([(ms(1), Err(gone())), late.clone()]);
    let status = call(&shop.behind(&layer()), LOOK).await.unwrap_err();
    assert_eq!((status.code(), shop.begun()), (Code::Unavailable, 1));
    // An attempt that found no instance does not end the call,
    let full = Status::resource_exhausted("full").not_started();
    for status in [gone(), full, Status::internal("odd").not_started()] {
        let shop = PlannedService::new([late.clone(), (ms(1), Err(status.clone()))]);
        assert_eq!(call(&shop.behind(&layer()), LOOK).await.unwrap(), "late");
        let shop = PlannedService::new([(ms(20), Err(status)), late.clone()]);
        assert_eq!(call(&shop.behind(&layer()), LOOK).await.unwrap(), "late");
    }
    // but a conclusive response does.
    let shop = PlannedService::new([late, (ms(1), Err(Status::not_found("no")))]);
    let status = call(&shop.behind(&layer()), LOOK).await.unwrap_err();
    assert_eq!((status.code(), shop.given_up()), (Code::NotFound, 1));
}

#[tokio::test(start_paused = true)]
async fn what_an_attempt_may_have_started_stays_so() {
    let refused = || gone().not_started();
    for (first, second, is_started) in [
        (gone(), refused(), true),
        (refused(), gone(), true),
        (refused(), refused(), false),
    ] {
        let shop = PlannedService::new([(ms(20), Err(first)), (ms(20), Err(second))]);
        let status = call(&shop.behind(&layer()), LOOK).await.unwrap_err();
        assert_eq!(status.is_not_started(), !is_started);
    }
}

#[tokio::test(start_paused = true)]
async fn there_are_as_many_as_may_be() {
    let shop = PlannedService::new([(ms(1000), Ok("slow"))]);
    let begin = Instant::now();
    call(&shop.behind(&layer().max_hedges(3)), LOOK)
        .await
        .unwrap();
    assert_eq!((shop.begun(), shop.given_up()), (4, 3));
    assert!(begin.elapsed() < ms(1010));
}

#[tokio::test(start_paused = true)]
async fn a_budget_bounds_all_calls_together() {
    let shop = PlannedService::new([(ms(100), Ok("slow"))]);
    let service = shop.behind(&HedgeLayer::new().after(ms(10)));
    let calls = (0..200).map(|_| call(&service, LOOK));
    for outcome in futures_util::future::join_all(calls).await {
        outcome.unwrap();
    }
    assert_eq!(shop.begun(), 220, "one in ten");
}

#[tokio::test(start_paused = true)]
async fn the_percentile_is_that_of_the_first_attempts() {
    // One call in twenty is slow.
    let plan = |nth: u32| match nth % 20 {
        19 => (ms(500), Ok("slow")),
        _ => (ms(20), Ok("fast")),
    };
    let shop = PlannedService::new((0..10_000).map(plan));
    let layer = HedgeLayer::new().after_percentile(90.0, ms(1));
    let service = shop.behind(&layer);
    for _ in 0..latencies::MIN_SAMPLES {
        call(&service, LOOK).await.unwrap();
    }
    assert_eq!(shop.begun(), latencies::MIN_SAMPLES, "too few samples");
    let begin = Instant::now();
    for _ in 0..500 {
        call(&service, LOOK).await.unwrap();
    }
    let hedges = shop.begun() - latencies::MIN_SAMPLES - 500;
    assert!((20..=27).contains(&hedges), "{hedges}");
    // About twice 20 ms instead of 500.
    assert!(begin.elapsed() < 500 * ms(23), "{:?}", begin.elapsed());
    // Dropped attempts count as slow, so the delay stays above the fast ones.
    let hedged = layer.0.methods.get(SPEC.method(LOOK), || unreachable!());
    let delay = layer.0.delay(&hedged).unwrap();
    assert!((ms(20)..=ms(25)).contains(&delay), "{delay:?}");
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_gives_all_attempts_up() {
    let shop = PlannedService::new([(ms(1000), Ok("slow"))]);
    let service = shop.behind(&layer());
    let call = tokio::time::timeout(ms(50), call(&service, LOOK));
    call.await.unwrap_err();
    assert_eq!((shop.begun(), shop.given_up()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn attempts_know_of_each_other_and_calls_do_not() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let service = layer().wrap(BoxService::new(service_fn(move |request: Request| {
        let parallel = request.extensions().get_shared::<Parallel>();
        noted.lock().unwrap().push(parallel.unwrap());
        async {
            sleep(ms(100)).await;
            Ok::<_, Status>(Response::new(Bytes::new()))
        }
    })));
    for _ in 0..2 {
        call(&service, LOOK).await.unwrap();
    }
    let seen = seen.lock().unwrap();
    assert!(Arc::ptr_eq(&seen[0], &seen[1]) && Arc::ptr_eq(&seen[2], &seen[3]));
    assert!(!Arc::ptr_eq(&seen[0], &seen[2]));
}

#[tokio::test(start_paused = true)]
async fn of_several_layers_the_last_one_hedges() {
    let shop = PlannedService::new([(ms(100), Ok("slow"))]);
    let inner = shop.behind(&layer());
    for (outer, attempts) in [
        (layer().max_hedges(2), 3),
        (layer().max_hedges(2).methods(["Set"]), 2),
    ] {
        let before = shop.begun();
        call(&outer.wrap(inner.clone()), LOOK).await.unwrap();
        assert_eq!(shop.begun() - before, attempts);
    }
}

#[test]
fn odd_settings_are_no_panic() {
    for percent in [f64::NAN, -1.0, 0.0, 1e9] {
        let layer = HedgeLayer::new().after_percentile(percent, Duration::MAX);
        _ = format!("{layer:?}");
    }
}
