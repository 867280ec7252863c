//! [`RateLimitLayer`]: limits the rate of calls.

mod queue;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, ready},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tower::{Layer, Service, ServiceExt};

use self::queue::Queue;
use super::{BoxService, method_filter::Methods};
use crate::{
    Deadline, Method, MethodName, Status,
    call::{per_method::EachMethod, request::Request, response::Response},
    observe::metrics::RateLimitMetrics,
    token_bucket::Pace,
};

/// Keeps `Instant` arithmetic from overflowing.
const MAX_PER: Duration = Duration::from_secs(24 * 60 * 60);

/// A layer for [`Channel::layer`](crate::Channel::layer) that limits the rate of calls.
///
/// ```
/// use std::time::Duration;
/// use nmfw::{Channel, client::RateLimitLayer};
///
/// # fn example(nats: nmfw::Connection) {
/// let second = Duration::from_secs(1);
/// let channel = Channel::new(nats)
///     // 500 calls per second over all methods,
///     .layer(RateLimitLayer::new(500, second))
///     // including at most 5 reports; excess reports fail at once.
///     .layer(RateLimitLayer::new(5, second).methods(["Report"]).max_waiting(0));
/// # }
/// ```
///
/// The limit is a token bucket: each call takes a token, tokens are added at a steady rate, and up
/// to a [burst](Self::burst) accumulate while there are no calls. The limit belongs to the layer
/// and covers all of its methods together: clones of a channel share it, and so do channels with
/// clones of the same layer. Other processes have separate limits; to limit the load on a service,
/// use its [server](crate::server).
///
/// - A call without a token waits, in order of arrival, for at most half of its remaining time, to
///   leave the other half for the service. A call that would have to wait longer fails at once with
///   `RESOURCE_EXHAUSTED`, marked as [not started](Status::is_not_started), and so does a call when
///   [too many](Self::max_waiting) are waiting. Under sustained overload, some calls are therefore
///   refused and the others succeed, instead of all waiting until none has time left.
/// - A call whose deadline has passed gets no token, and fails in the same way. An outer layer may
///   have made the deadline [earlier](Request::limit_deadline).
/// - A call that is dropped while it waits takes no token, and the calls behind it move up. If its
///   future is not polled when its turn comes, for example because its task awaits something else,
///   it loses the turn after 10 ms, and is first again once it is polled. This costs other calls at
///   most one token.
/// - A call that streams takes one token, whatever the number of messages.
///
/// The [`metrics`](crate::metrics) `nmfw_client_rate_limit_waits_total` and
/// `nmfw_client_rate_limit_refusals_total` show the effect.
#[derive(Clone)]
#[must_use]
pub struct RateLimitLayer(Arc<RateLimitShared>);

#[derive(Clone)]
struct RateLimitSettings {
    calls: u32,
    per: Duration,
    burst: Option<u32>,
    max_waiting: usize,
    methods: Methods,
}

impl RateLimitSettings {
    fn pace(&self) -> Pace {
        Pace {
            interval: self.per.checked_div(self.calls),
            burst: self.burst.unwrap_or(self.calls / 10).max(1),
        }
    }
}

struct RateLimitShared {
    settings: RateLimitSettings,
    /// Locked briefly, never while waiting.
    queue: Mutex<Queue>,
    metrics: EachMethod<RateLimitMetrics>,
}

impl RateLimitLayer {
    /// Creates a layer that permits at most `calls` calls per `per` on average: 100 calls per
    /// second are one every 10 ms. Up to 1,024 calls may wait. With 0 `calls`, all calls are
    /// refused; a `per` of zero disables the limit. A `per` of more than a day counts as a day.
    pub fn new(calls: u32, per: Duration) -> Self {
        Self::with(RateLimitSettings {
            calls,
            per: per.min(MAX_PER),
            burst: None,
            max_waiting: 1024,
            methods: Methods::default(),
        })
    }

    fn with(settings: RateLimitSettings) -> Self {
        Self(Arc::new(RateLimitShared {
            queue: Mutex::new(Queue::new(settings.pace())),
            settings,
            metrics: EachMethod::default(),
        }))
    }

    /// Changes a setting. This resets the state; earlier clones keep the old one.
    fn set(self, set: impl FnOnce(&mut RateLimitSettings)) -> Self {
        let mut settings = self.0.settings.clone();
        set(&mut settings);
        Self::with(settings)
    }

    /// Sets the number of calls that are permitted at once after an idle period; at least 1. The
    /// default is a tenth of `calls`. In any period, the number of calls is at most what the rate
    /// permits, plus one burst.
    ///
    /// Timers have a resolution of a millisecond, in which at most one burst is permitted: with a
    /// burst of 1, there are fewer than 1,000 calls per second at any rate.
    pub fn burst(self, calls: u32) -> Self {
        self.set(|settings| settings.burst = Some(calls))
    }

    /// Sets the maximum number of waiting calls, each of which keeps its request in memory. The
    /// default is 1,024; with 0, excess calls fail at once.
    pub fn max_waiting(self, calls: usize) -> Self {
        self.set(|settings| settings.max_waiting = calls)
    }

    /// Limits only these methods, all together: constants such as `CalcClient::ADD`, or texts with the name
    /// in the `.proto`, `Add` or `calc.Calc.Add`. If a text is not a method of the service, all its
    /// calls fail with `INVALID_ARGUMENT`, not started, before anything is sent: see
    /// [middleware](crate::middleware#methods-of-a-layer).
    /// Several rate limit layers can cover different methods.
    pub fn methods<M: Into<MethodName>>(self, methods: impl IntoIterator<Item = M>) -> Self {
        self.set(|settings| settings.methods = Methods::named("RateLimitLayer", methods))
    }
}

impl fmt::Debug for RateLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.0.settings;
        f.debug_struct("RateLimitLayer")
            .field("calls", &settings.calls)
            .field("per", &settings.per)
            .field("burst", &settings.pace().burst)
            .field("max_waiting", &settings.max_waiting)
            .field("methods", &settings.methods)
            .finish_non_exhaustive()
    }
}

impl Layer<BoxService> for RateLimitLayer {
    type Service = RateLimit;

    fn layer(&self, inner: BoxService) -> RateLimit {
        RateLimit {
            shared: Arc::clone(&self.0),
            inner,
        }
    }
}

/// The service of a [`RateLimitLayer`].
#[derive(Clone)]
pub struct RateLimit {
    shared: Arc<RateLimitShared>,
    inner: BoxService,
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RateLimit")
    }
}

impl Service<Request> for RateLimit {
    type Response = Response;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response, Status>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // A wait in `poll_ready` could neither be counted nor limited per call.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let call = self.inner.clone();
        match self.shared.settings.methods.include(request.method()) {
            Ok(true) => {}
            Ok(false) => return call.oneshot(request).boxed(),
            Err(status) => return ready(Err(status)).boxed(),
        }
        let shared = Arc::clone(&self.shared);
        async move {
            shared.pass(request.method(), request.deadline()).await?;
            call.oneshot(request).await
        }
        .boxed()
    }
}

/// The decision about a call.
enum Decision<'a> {
    Go,
    Wait(Waiter<'a>),
    Refused(Status),
}

impl RateLimitShared {
    fn queue<T>(&self, act: impl FnOnce(&mut Queue) -> T) -> T {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let done = act(&mut queue);
        let ring = queue.take_ring();
        drop(queue);
        if let Some(bell) = ring {
            bell.notify_one();
        }
        done
    }

    /// Waits for a token.
    async fn pass(&self, method: Method, deadline: Deadline) -> Result<(), Status> {
        let metrics = self.metrics.get(method, || RateLimitMetrics::of(method));
        let waited = match self.judge(method, deadline) {
            Decision::Go => return Ok(()),
            Decision::Wait(place) => {
                metrics.waits();
                place.turn(method, deadline).await
            }
            Decision::Refused(status) => Err(status),
        };
        waited.inspect_err(|_| metrics.refused())
    }

    fn judge(&self, method: Method, deadline: Deadline) -> Decision<'_> {
        let now = Instant::now();
        let time_left = deadline
            .timer_instant()
            .map(|at| at.saturating_duration_since(now));
        if time_left == Some(Duration::ZERO) {
            return Decision::Refused(self.refusal(method, "its deadline has passed"));
        }
        let max_waiting = self.settings.max_waiting;
        let why = self.queue(|queue| {
            if queue.take_at_once(now) {
                return Ok(Decision::Go);
            }
            let due = queue
                .due(now)
                .ok_or_else(|| "so all calls are refused".to_owned())?;
            match queue.waiting() {
                waiting if waiting < max_waiting => {}
                0 => return Err("waiting is disabled".to_owned()),
                waiting => return Err(format!("{waiting} calls are already waiting")),
            }
            let wait = due.saturating_duration_since(now);
            if time_left.is_some_and(|left| left / 2 < wait) {
                let wait = wait.as_millis();
                return Err(format!(
                    "a token would be available in {wait} ms, which exceeds half of the remaining \
                     time"
                ));
            }
            let bell = Arc::default();
            let ticket = queue.join(due, &bell);
            Ok(Decision::Wait(Waiter {
                shared: self,
                ticket,
                bell,
            }))
        });
        why.unwrap_or_else(|why| Decision::Refused(self.refusal(method, &why)))
    }

    fn refusal(&self, method: Method, why: &str) -> Status {
        let RateLimitSettings { calls, per, .. } = self.settings;
        let text = format!(
            "{method} was not called: this client is limited to {calls} calls per {per:?}, and \
             {why}"
        );
        // Not started: the layer does not pass the call on.
        Status::resource_exhausted(text).not_started()
    }
}

/// The place of a waiting call, released when dropped.
struct Waiter<'a> {
    shared: &'a RateLimitShared,
    ticket: u64,
    bell: Arc<Notify>,
}

impl Waiter<'_> {
    /// Waits for a token.
    async fn turn(self, method: Method, deadline: Deadline) -> Result<(), Status> {
        loop {
            if deadline.has_passed() {
                let why = "the deadline passed while the call waited for a token";
                return Err(self.shared.refusal(method, why));
            }
            let now = Instant::now();
            let next = self
                .shared
                .queue(|queue| queue.take_or_sleep(self.ticket, &self.bell, now));
            let Some(at) = next else { return Ok(()) };
            // The channel has a timer for the same deadline. If it fires first, this future is
            // polled once more before the call ends, and reports that the call was not started.
            let is_late = poll_fn(|_| match deadline.has_passed() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            });
            tokio::select! {
                biased;
                () = is_late => {}
                () = self.bell.notified() => {}
                () = sleep_until(deadline.timer_instant().map_or(at, |end| end.min(at))) => {}
            }
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        self.shared.queue(|queue| queue.leave(self.ticket, now));
    }
}
