use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use tower::service_fn;

use super::*;
use crate::{
    Metadata, MethodSpec, ServiceSpec,
    layer::{CallLayer, retry::RetryLayer, retry_budget::RetryBudget},
};

static SPEC: ServiceSpec = ServiceSpec::new("shop", "Shop").with_methods(&[
    MethodSpec::unary("Look").no_side_effects(),
    MethodSpec::unary("Buy"),
]);

/// A service that returns the configured outcome, and counts calls.
#[derive(Clone, Default)]
struct FixedService(Arc<(Mutex<Option<Status>>, AtomicU32)>);

impl FixedService {
    fn answers(&self, answer: Option<Status>) {
        *self.0.0.lock().unwrap() = answer;
    }

    fn calls(&self) -> u32 {
        self.0.1.load(Ordering::Relaxed)
    }

    fn service(&self) -> BoxService {
        let shop = self.clone();
        BoxService::new(service_fn(move |_: Request| {
            shop.0.1.fetch_add(1, Ordering::Relaxed);
            let answer = shop.0.0.lock().unwrap().clone();
            ready(answer.map_or_else(|| Ok(Response::new(Bytes::new())), Err))
        }))
    }

    fn behind(&self, layer: &impl CallLayer) -> BoxService {
        layer.wrap(self.service())
    }
}

fn look() -> Method {
    SPEC.method(0)
}

fn buy() -> Method {
    SPEC.method(1)
}

async fn call(service: &BoxService, method: Method) -> Result<(), Status> {
    let deadline = Deadline::after(Duration::from_secs(1));
    let request = Request::with_head(method, deadline, Metadata::new(), Bytes::new());
    service.clone().oneshot(request).await.map(|_| ())
}

fn gone() -> Option<Status> {
    Some(Status::unavailable("gone"))
}

async fn fail(service: &BoxService, times: usize) {
    for _ in 0..times {
        let status = call(service, look()).await.unwrap_err();
        assert!(CircuitOpen::of(&status).is_none(), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_end_at_once_while_it_is_open_and_go_on_after() {
    let shop = FixedService::default();
    let service = shop.behind(&CircuitBreakerLayer::new());
    shop.answers(gone());
    fail(&service, 20).await;
    let status = call(&service, look()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.is_not_started());
    let open = CircuitOpen::of(&status).unwrap();
    assert_eq!(open.method().name(), "Look");
    let left = open.retry_after();
    assert!((Duration::from_millis(500)..Duration::from_secs(1)).contains(&left));
    let text = status.message();
    for part in ["shop.Shop.Look", "20 of 20 calls within 10s", "UNAVAILABLE"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(shop.calls(), 20);
    call(&service, buy()).await.map(drop).unwrap_err();
    assert_eq!(shop.calls(), 21, "another method");

    shop.answers(None);
    tokio::time::advance(left).await;
    for _ in 0..100 {
        call(&service, look()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn only_its_codes_and_its_methods_count() {
    let shop = FixedService::default();
    let service = shop.behind(&CircuitBreakerLayer::new());
    for status in [
        Status::not_found("no"),
        Status::resource_exhausted("full").not_started(),
        Status::internal("panic"),
    ] {
        shop.answers(Some(status));
        fail(&service, 50).await;
    }
    let service = shop.behind(&CircuitBreakerLayer::new().codes([Code::Internal]));
    fail(&service, 20).await;
    let status = call(&service, look()).await.unwrap_err();
    assert!(CircuitOpen::of(&status).is_some(), "{status}");

    shop.answers(gone());
    let service = shop.behind(&CircuitBreakerLayer::new().methods(["Buy"]));
    fail(&service, 50).await;
}

#[tokio::test(start_paused = true)]
async fn what_its_caller_gives_up_counts_only_at_the_deadline() {
    let hangs = BoxService::new(service_fn(|_| {
        std::future::pending::<Result<Response, Status>>()
    }));
    let service = CircuitBreakerLayer::new().wrap(hangs);
    for _ in 0..50 {
        let call = call(&service, look());
        let short = Duration::from_millis(1);
        tokio::time::timeout(short, call).await.unwrap_err();
    }
    let second = Duration::from_secs(1);
    let calls = (0..20).map(|_| tokio::time::timeout(second, call(&service, look())));
    for outcome in futures_util::future::join_all(calls).await {
        outcome.unwrap_err();
    }
    let status = call(&service, look()).await.unwrap_err();
    assert!(status.message().contains("DEADLINE_EXCEEDED"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_given_up_leaves_its_place() {
    let shop = FixedService::default();
    let layer = CircuitBreakerLayer::new().half_open_calls(1);
    let service = shop.behind(&layer);
    shop.answers(gone());
    fail(&service, 20).await;
    tokio::time::advance(Duration::from_secs(1)).await;
    let request = || Request::with_head(look(), Deadline::NONE, Metadata::new(), Bytes::new());
    let probe = layer.layer(shop.service()).call(request());
    let status = call(&service, look()).await.unwrap_err();
    assert!(status.message().contains("half-open"), "{status}");
    drop(probe);
    shop.answers(None);
    call(&service, look()).await.unwrap();
    call(&service, look()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_has_not_got_to_the_service_is_no_success() {
    let shop = FixedService::default();
    let service = shop.behind(&CircuitBreakerLayer::new());
    shop.answers(Some(Status::resource_exhausted("limited").not_started()));
    fail(&service, 100).await;
    shop.answers(gone());
    fail(&service, 20).await;
    tokio::time::advance(Duration::from_secs(1)).await;
    shop.answers(Some(Status::resource_exhausted("limited").not_started()));
    fail(&service, 10).await;
    shop.answers(gone());
    fail(&service, 1).await;
    let status = call(&service, look()).await.unwrap_err();
    assert!(CircuitOpen::of(&status).is_some(), "a half-open call");
}

#[tokio::test(start_paused = true)]
async fn clones_share_circuits_and_what_is_set_otherwise_does_not() {
    let shop = FixedService::default();
    let layer = CircuitBreakerLayer::new();
    let (one, clone) = (shop.behind(&layer), shop.behind(&layer.clone()));
    let other = shop.behind(&layer.clone().failure_ratio(0.9));
    shop.answers(gone());
    fail(&one, 20).await;
    assert!(CircuitOpen::of(&call(&clone, look()).await.unwrap_err()).is_some());
    assert!(CircuitOpen::of(&call(&other, look()).await.unwrap_err()).is_none());
}

#[tokio::test(start_paused = true)]
async fn retries_do_not_knock_at_an_open_circuit() {
    let shop = FixedService::default();
    let retry = RetryLayer::new()
        .max_attempts(10)
        .budget(RetryBudget::new().min_per_second(1000).max_ratio(1.0));
    let service = retry.wrap(shop.behind(&CircuitBreakerLayer::new()));
    shop.answers(gone());
    let begin = Instant::now();
    while CircuitOpen::of(&call(&service, look()).await.unwrap_err()).is_none() {}
    assert_eq!(shop.calls(), 20, "each attempt counts");
    assert!(begin.elapsed() > Duration::from_millis(10));
    let begin = Instant::now();
    let status = call(&service, look()).await.unwrap_err();
    assert!(CircuitOpen::of(&status).is_some());
    assert_eq!(
        begin.elapsed(),
        Duration::ZERO,
        "an attempt or a backoff was made"
    );
}

#[tokio::test(start_paused = true)]
async fn odd_settings_are_no_panic() {
    let shop = FixedService::default();
    shop.answers(gone());
    for part in [0.0, -1.0, 2.0, f64::NAN, f64::INFINITY] {
        let layer = CircuitBreakerLayer::new()
            .failure_ratio(part)
            .window(Duration::ZERO)
            .min_calls(0)
            .backoff(Duration::MAX, Duration::ZERO)
            .half_open_calls(0);
        let service = shop.behind(&layer);
        for _ in 0..3 {
            call(&service, look()).await.unwrap_err();
            tokio::time::advance(Duration::from_secs(100_000)).await;
        }
    }
}
