use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use tower::service_fn;

use super::*;
use crate::{Code, Metadata, MethodSpec, ServiceSpec, middleware::CallLayer};

static SPEC: ServiceSpec = ServiceSpec::new("shop", "Shop")
    .methods(&[MethodSpec::unary("Look"), MethodSpec::unary("Buy")]);

const SECOND: Duration = Duration::from_secs(1);

/// Notes who comes, and when.
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
    let request = Request::new(SPEC.method(method), deadline, Metadata::new(), body);
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

/// Lets tasks come as far as they can.
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
    // Timers are a millisecond late.
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
        assert!(status.message().contains("3 wait already"), "{status}");
        // The one that has the turn, or one that waits for it.
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
    let waits = tokio::spawn(call(&service, 0, "waits", by(150)));
    settle().await;
    // Each behind the one before: the third token comes after 200 ms.
    let status = call(&service, 0, "late", by(150)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.is_not_started());
    assert!(status.message().contains("in 200 ms"), "{status}");
    assert_eq!(door.begin.elapsed(), Duration::ZERO);
    let soon_enough = call(&service, 0, "soon enough", by(250));
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
    assert!(status.message().contains("none may wait"), "{status}");
    tokio::time::advance(Duration::from_millis(100)).await;
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
    assert!(status.message().contains("that is none"), "{status}");
    let all = door.behind(&RateLimitLayer::new(1, Duration::ZERO).burst(0));
    for _ in 0..1000 {
        look(&all, "b").await.unwrap();
    }
    let seldom = door.behind(&RateLimitLayer::new(1, Duration::MAX).burst(u32::MAX));
    look(&seldom, "c").await.unwrap();
}

/// On threads, with all at once: the pace holds over the time that it took, and none is forgotten.
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
    assert_eq!(layer.0.state().waiting, 0);
}
