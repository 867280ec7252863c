use std::{
    pin::{Pin, pin},
    sync::atomic::{AtomicU32, Ordering},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::time::{advance, sleep};
use tower::service_fn;

use super::*;
use crate::{Code, Metadata, MethodSpec, ServiceSpec, layer::CallLayer};

static SPEC: ServiceSpec = ServiceSpec::new("shop", "Shop")
    .with_methods(&[MethodSpec::unary("Look"), MethodSpec::unary("Buy")]);

const SECOND: Duration = Duration::from_secs(1);

/// Records the calls that pass, and when.
#[derive(Clone)]
struct Door {
    came: Arc<Mutex<Vec<(String, Duration)>>>,
    begin: Instant,
}

impl Door {
    fn new() -> Self {
        Self {
            came: Arc::default(),
            begin: Instant::now(),
        }
    }

    fn behind(&self, layer: &impl CallLayer) -> BoxService {
        let door = self.clone();
        layer.wrap(BoxService::new(service_fn(move |request: Request| {
            let who = String::from_utf8(request.body().unwrap().to_vec()).unwrap();
            door.came.lock().unwrap().push((who, door.begin.elapsed()));
            async { Ok::<_, Status>(Response::new(Bytes::new())) }
        })))
    }

    fn came(&self) -> Vec<(String, u64)> {
        let came = self.came.lock().unwrap();
        let millis = |time: Duration| (time.as_secs_f64() * 1e3).round() as u64;
        came.iter()
            .map(|(who, at)| (who.clone(), millis(*at)))
            .collect()
    }
}

fn call(
    service: &BoxService,
    method: usize,
    who: &str,
    deadline: Deadline,
) -> impl Future<Output = Result<(), Status>> + Send + 'static {
    let body = Bytes::from(who.to_owned());
    let request = Request::with_head(SPEC.method(method), deadline, Metadata::new(), body);
    let call = service.clone().oneshot(request);
    async move { call.await.map(|_| ()) }
}

fn look(
    service: &BoxService,
    who: &str,
) -> impl Future<Output = Result<(), Status>> + Send + 'static {
    call(service, 0, who, Deadline::NONE)
}

fn expected(who: &[(&str, u64)]) -> Vec<(String, u64)> {
    who.iter()
        .map(|(who, at)| ((*who).to_owned(), *at))
        .collect()
}

/// Lets tasks run until all are idle.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_goes_at_once_and_the_others_in_order() {
    let door = Door::new();
    let service = door.behind(&RateLimitLayer::new(10, SECOND).burst(2));
    let mut tasks = Vec::new();
    for who in ["a", "b", "c", "d", "e"] {
        tasks.push(tokio::spawn(look(&service, who)));
        settle().await;
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let order = [("a", 0), ("b", 0), ("c", 100), ("d", 200), ("e", 300)];
    // Timers fire up to a millisecond late.
    for ((who, at), (is, came)) in expected(&order).into_iter().zip(door.came()) {
        assert_eq!(who, is);
        assert!((at..at + 5).contains(&came), "{who} at {came}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_leaves_its_place_to_those_behind() {
    for first in [true, false] {
        let door = Door::new();
        let service = door.behind(&RateLimitLayer::new(10, SECOND).burst(1).max_waiting(3));
        look(&service, "first").await.unwrap();
        let mut tasks = Vec::new();
        for who in ["a", "b", "c"] {
            tasks.push(tokio::spawn(look(&service, who)));
            settle().await;
        }
        let status = look(&service, "d").await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(
            status.message().contains("3 calls are already waiting"),
            "{status}"
        );
        // The first waiter, or one behind it.
        let gone = tasks.remove(usize::from(!first));
        gone.abort();
        gone.await.unwrap_err();
        tasks.push(tokio::spawn(look(&service, "e")));
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let names: Vec<_> = door.came().into_iter().map(|(who, _)| who).collect();
        let left = if first { "b" } else { "a" };
        assert_eq!(names, ["first", left, "c", "e"]);
        assert!(
            door.begin.elapsed() < Duration::from_millis(310),
            "{:?}",
            door.came()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_would_be_late_is_told_at_once() {
    let door = Door::new();
    let service = door.behind(&RateLimitLayer::new(10, SECOND).burst(1));
    look(&service, "first").await.unwrap();
    let by = |millis| Deadline::after(Duration::from_millis(millis));
    let waits = tokio::spawn(call(&service, 0, "waits", by(250)));
    settle().await;
    // Calls pass in order: the third token comes after 200 ms.
    let status = call(&service, 0, "late", by(350)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.is_not_started());
    assert!(status.message().contains("in 200 ms"), "{status}");
    assert_eq!(door.begin.elapsed(), Duration::ZERO);
    let soon_enough = call(&service, 0, "soon enough", by(450));
    soon_enough.await.unwrap();
    waits.await.unwrap().unwrap();
    assert_eq!(door.came().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn with_nobody_waiting_all_that_are_too_many_fail() {
    let door = Door::new();
    let service = door.behind(&RateLimitLayer::new(10, SECOND).burst(3).max_waiting(0));
    for _ in 0..3 {
        look(&service, "a").await.unwrap();
    }
    let status = look(&service, "b").await.unwrap_err();
    assert!(status.message().contains("waiting is disabled"), "{status}");
    advance(Duration::from_millis(100)).await;
    look(&service, "c").await.unwrap();
    look(&service, "d").await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn other_methods_are_free_and_clones_share() {
    let door = Door::new();
    let layer = RateLimitLayer::new(10, SECOND)
        .methods(["Look"])
        .max_waiting(0);
    let (one, other) = (door.behind(&layer), door.behind(&layer.clone()));
    look(&one, "a").await.unwrap();
    look(&other, "b").await.unwrap_err();
    for _ in 0..50 {
        call(&one, 1, "buys", Deadline::NONE).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn odd_settings_are_no_panic() {
    let door = Door::new();
    let none = door.behind(&RateLimitLayer::new(0, SECOND));
    let status = look(&none, "a").await.unwrap_err();
    assert!(
        status.message().contains("all calls are refused"),
        "{status}"
    );
    let all = door.behind(&RateLimitLayer::new(1, Duration::ZERO).burst(0));
    for _ in 0..1000 {
        look(&all, "b").await.unwrap();
    }
    let seldom = door.behind(&RateLimitLayer::new(1, Duration::MAX).burst(u32::MAX));
    look(&seldom, "c").await.unwrap();
}

/// On several threads at once, the rate holds over the whole period, and every call completes.
#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_keep_the_pace() {
    const CALLS: u32 = 200;
    let layer = RateLimitLayer::new(1000, SECOND).burst(20);
    let passed = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&passed);
    let service = layer.wrap(BoxService::new(service_fn(move |_: Request| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Ok::<_, Status>(Response::new(Bytes::new())) }
    })));
    let begin = Instant::now();
    let tasks: Vec<_> = (0..CALLS)
        .map(|nth| (nth, tokio::spawn(look(&service, "a"))))
        .collect();
    let mut given_up = 0;
    for (nth, task) in tasks {
        if nth % 10 == 9 {
            task.abort();
        }
        match task.await {
            Ok(outcome) => outcome.unwrap(),
            Err(_) => given_up += 1,
        }
    }
    let least = f64::from(passed.load(Ordering::Relaxed) - 20) / 1000.0;
    assert!(begin.elapsed() >= Duration::from_secs_f64(least));
    assert!(passed.load(Ordering::Relaxed) >= CALLS - given_up);
    assert_eq!(layer.0.queue(|queue| queue.waiting()), 0);
}

/// Makes a call and ends it at its deadline, like a channel.
async fn call_of_channel(service: BoxService, who: &'static str, timeout: Duration) -> Code {
    let deadline = Deadline::after(timeout);
    let call = call(&service, 0, who, deadline);
    match deadline.limit(pin!(call)).await {
        Some(Ok(())) => Code::Ok,
        Some(Err(status)) => {
            assert!(status.is_not_started());
            status.code()
        }
        None => Code::DeadlineExceeded,
    }
}

#[tokio::test(start_paused = true)]
async fn a_steady_overload_leaves_time_to_those_that_pass() {
    const TIMEOUT: Duration = Duration::from_secs(5);
    let layer = RateLimitLayer::new(100, SECOND);
    let service = layer.wrap(BoxService::new(service_fn(|_: Request| async {
        sleep(Duration::from_millis(20)).await;
        Ok::<_, Status>(Response::new(Bytes::new()))
    })));
    let mut calls = Vec::new();
    // 150 calls per second for a minute.
    for _ in 0..9000 {
        calls.push(tokio::spawn(call_of_channel(service.clone(), "a", TIMEOUT)));
        advance(SECOND / 150).await;
    }
    let (mut well, mut refused) = (0, 0);
    for call in calls {
        match call.await.unwrap() {
            Code::Ok => well += 1,
            Code::ResourceExhausted => refused += 1,
            code => panic!("{code:?} after {well} successful calls"),
        }
    }
    // The limit permits two thirds of the calls.
    assert!(well > 5900, "{well} succeeded, {refused} were refused");
}

/// Polls a call once, so that it starts to wait.
fn begin(call: Pin<&mut (impl Future<Output = Result<(), Status>> + ?Sized)>) {
    assert!(call.now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn one_that_nobody_polls_holds_up_nobody() {
    let door = Door::new();
    let service = door.behind(&RateLimitLayer::new(10, SECOND).burst(1));
    look(&service, "first").await.unwrap();
    let mut forgotten = Box::pin(look(&service, "forgotten"));
    begin(forgotten.as_mut());
    let mut tasks = Vec::new();
    for who in ["a", "b", "c"] {
        let timeout = Duration::from_secs(2);
        tasks.push(tokio::spawn(call_of_channel(service.clone(), who, timeout)));
        settle().await;
    }
    for task in tasks {
        assert_eq!(task.await.unwrap(), Code::Ok);
    }
    // The waiter keeps its ticket, but later calls do not wait for it.
    assert_eq!(
        call_of_channel(service.clone(), "d", SECOND).await,
        Code::Ok
    );
    let e = tokio::spawn(look(&service, "e"));
    settle().await;
    forgotten.await.unwrap();
    e.await.unwrap().unwrap();
    // One turn and a grace period later than without it; then it is first again.
    let order = [
        ("first", 0),
        ("a", 210),
        ("b", 310),
        ("c", 410),
        ("d", 510),
        ("forgotten", 610),
        ("e", 710),
    ];
    for ((who, at), (is, came)) in expected(&order).into_iter().zip(door.came()) {
        assert_eq!(who, is, "{:?}", door.came());
        assert!((at..at + 15).contains(&came), "{who} at {came}");
    }
    assert_eq!(door.came().len(), order.len());
}

#[tokio::test(start_paused = true)]
async fn calls_made_between_those_that_wait_do_not_deadlock() {
    let door = Door::new();
    let service = door.behind(&RateLimitLayer::new(100, SECOND).burst(1));
    let timeout = Duration::from_secs(10);
    let calls = (0..40).map(|_| call_of_channel(service.clone(), "outer", timeout));
    // While this awaits the inner call, the other seven outer ones are not polled.
    let mut outer = stream::iter(calls).buffer_unordered(8);
    while let Some(code) = outer.next().await {
        assert_eq!(code, Code::Ok);
        assert_eq!(
            call_of_channel(service.clone(), "inner", timeout).await,
            Code::Ok
        );
    }
    assert_eq!(door.came().len(), 80);
    // 80 tokens take 800 ms; each pair of calls takes at most two, plus grace periods.
    let time = door.begin.elapsed();
    assert!(time < Duration::from_secs(4), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn after_its_deadline_none_takes_a_token() {
    let door = Door::new();
    let service = door.behind(&RateLimitLayer::new(10, SECOND).burst(1));
    let moment = Duration::from_millis(250);
    // Before its turn,
    let passed = Deadline::after(moment);
    advance(moment).await;
    let status = call(&service, 0, "late", passed).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.is_not_started(), "{status}");
    look(&service, "first").await.unwrap();
    // and while the call is not polled.
    let mut waits = Box::pin(call(&service, 0, "waits", Deadline::after(moment)));
    begin(waits.as_mut());
    advance(moment).await;
    let status = waits.await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.is_not_started(), "{status}");
    assert!(
        status.message().contains("while the call waited"),
        "{status}"
    );
    // The token is still available.
    let now = look(&service, "second").now_or_never();
    now.unwrap().unwrap();
    let names: Vec<_> = door.came().into_iter().map(|(who, _)| who).collect();
    assert_eq!(names, ["first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn a_longer_wait_than_expected_ends_before_the_call_is_sent() {
    let door = Door::new();
    let service = door.behind(&RateLimitLayer::new(10, SECOND).burst(1));
    look(&service, "first").await.unwrap();
    let mut before = ["a", "b", "c"].map(|who| Box::pin(look(&service, who)));
    for call in &mut before {
        begin(call.as_mut());
    }
    // A token is due after 400 ms.
    let timeout = Duration::from_millis(800);
    let late = tokio::spawn(call_of_channel(service.clone(), "late", timeout));
    settle().await;
    let [a, mut b, mut c] = before;
    // Other waiters lose their turns, but are polled again before the turn of this one, repeatedly.
    advance(Duration::from_millis(405)).await;
    a.await.unwrap();
    begin(b.as_mut());
    begin(c.as_mut());
    advance(Duration::from_millis(295)).await;
    b.await.unwrap();
    assert_eq!(late.await.unwrap(), Code::ResourceExhausted);
    assert_eq!(door.begin.elapsed().as_millis() / 10, 80);
    c.await.unwrap();
    let names: Vec<_> = door.came().into_iter().map(|(who, _)| who).collect();
    assert_eq!(names, ["first", "a", "b", "c"]);
}

/// With a burst of 1, all but one call per millisecond find no token, at any rate.
#[tokio::test(start_paused = true)]
async fn a_token_does_not_wake_all_that_wait() {
    const CALLS: u32 = 500;
    let door = Door::new();
    let service = door.behind(&RateLimitLayer::new(20_000, SECOND).burst(1));
    let polls = Arc::new(AtomicU32::new(0));
    let tasks: Vec<_> = (0..CALLS)
        .map(|nth| {
            let mut call = Box::pin(look(&service, &nth.to_string()));
            let polls = Arc::clone(&polls);
            tokio::spawn(poll_fn(move |cx| {
                polls.fetch_add(1, Ordering::Relaxed);
                call.poll_unpin(cx)
            }))
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    // Once at the start, once when it moves up, once for its timer, and occasionally once more.
    let polls = polls.load(Ordering::Relaxed);
    assert!(polls < 4 * CALLS, "{polls} polls");
    let came = door
        .came()
        .into_iter()
        .map(|(who, _)| who.parse::<u32>().unwrap());
    assert!(came.eq(0..CALLS), "{:?}", door.came());
}
