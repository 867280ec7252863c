//! [`RateLimitLayer`]: makes no more calls in a time than that.

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

/// Makes no more than so many calls in a time: a layer for [`Channel::layer`](crate::Channel::layer).
///
/// ```
/// use std::time::Duration;
/// use nmfw::{Channel, client::RateLimitLayer};
///
/// # fn example(nats: nmfw::Connection) {
/// let second = Duration::from_secs(1);
/// let channel = Channel::new(nats)
///     // 500 calls a second of whatever methods,
///     .layer(RateLimitLayer::new(500, second))
///     // of which no more than 5 are reports; those that are too many fail at once.
///     .layer(RateLimitLayer::new(5, second).methods(["Report"]).max_waiting(0));
/// # }
/// ```
///
/// It is a token bucket: each call takes a token, of which new ones come at an even pace, and there are
/// as many as a [burst](Self::burst) while nobody calls. The limit is of the layer, for all its methods
/// together: clones of a channel share it, and so do channels that were given clones of one layer. Other
/// processes know nothing of it; what a service can take is limited [there](crate::server).
///
/// - A call that finds no token waits, in the order of arrival, for at most half of the time that it has:
///   the other half is for the service. One that would have to wait longer fails at once, with
///   `RESOURCE_EXHAUSTED`, marked as [not started](Status::is_not_started); as does one that finds
///   [as many as may](Self::max_waiting) waiting. So calls that are too many for long are refused, and the
///   others succeed; without that all would wait until none has time left.
/// - It gets no token once its deadline has passed, and then fails in the same way. A layer outside of
///   this one may have made that [earlier](Request::limit_deadline).
/// - One that is dropped while it waits takes no token, and those behind it move up. One whose future is
///   not polled when its turn comes, say because its task awaits something else, loses that turn after
///   10 ms and is the first again once it is polled: that costs the others a token at most.
/// - A call that streams takes one token, however many messages it has.
///
/// `nmfw_client_rate_limit_waits_total` and `nmfw_client_rate_limit_refusals_total` of the
/// [`metrics`](crate::metrics) tell what it does.
#[derive(Clone)]
#[must_use]
pub struct RateLimitLayer(Arc<Shared>);

#[derive(Clone)]
struct Settings {
    calls: u32,
    per: Duration,
    burst: Option<u32>,
    max_waiting: usize,
    methods: Methods,
}

impl Settings {
    fn pace(&self) -> Pace {
        Pace {
            interval: self.per.checked_div(self.calls),
            burst: self.burst.unwrap_or(self.calls / 10).max(1),
        }
    }
}

struct Shared {
    settings: Settings,
    /// Locked for a moment, never while anybody waits.
    queue: Mutex<Queue>,
    metrics: EachMethod<RateLimitMetrics>,
}

impl RateLimitLayer {
    /// Makes a layer that lets through at most `calls` calls per `per` on average: 100 calls per second are one
    /// every 10 ms. Up to 1,024 calls wait for their turn. With 0 `calls` all are refused; a `per` of zero sets
    /// no limit. A `per` of more than a day counts as a day.
    pub fn new(calls: u32, per: Duration) -> Self {
        Self::with(Settings {
            calls,
            per: per.min(MAX_PER),
            burst: None,
            max_waiting: 1024,
            methods: Methods::default(),
        })
    }

    fn with(settings: Settings) -> Self {
        Self(Arc::new(Shared {
            queue: Mutex::new(Queue::new(settings.pace())),
            settings,
            metrics: EachMethod::default(),
        }))
    }

    /// Changes a setting. The state begins anew: clones made before keep the old one.
    fn set(self, set: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.0.settings.clone();
        set(&mut settings);
        Self::with(settings)
    }

    /// Sets how many calls are made at once after a time without any; at least 1. By default it is a
    /// tenth of the number of calls. In no stretch of time are there more calls than the pace allows and
    /// a burst.
    ///
    /// Timers have milliseconds, in each of which no more than a burst are made: with a burst of 1 there
    /// are less than 1,000 calls in a second, whatever the pace.
    pub fn burst(self, calls: u32) -> Self {
        self.set(|settings| settings.burst = Some(calls))
    }

    /// Sets how many calls may wait at a time, each of which keeps its request in memory. By default it
    /// is 1,024; with 0, none waits, and those that are too many fail at once.
    pub fn max_waiting(self, calls: usize) -> Self {
        self.set(|settings| settings.max_waiting = calls)
    }

    /// Limits these methods only, all together: constants such as `CalcClient::ADD`, or texts with the name in
    /// the `.proto`, `Add` or `calc.Calc.Add`. A text that is no method of the service makes all its calls
    /// fail with `INVALID_ARGUMENT`, not started, before anything is sent: see
    /// [middleware](crate::middleware#methods-of-a-layer).
    /// Several layers of this kind can each see to methods of their own.
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
    shared: Arc<Shared>,
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
        // Who waits here could neither be counted nor dropped alone.
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

/// What a call is to do.
enum Verdict<'a> {
    Go,
    Wait(Place<'a>),
    Refused(Status),
}

impl Shared {
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
            Verdict::Go => return Ok(()),
            Verdict::Wait(place) => {
                metrics.waits();
                place.turn(method, deadline).await
            }
            Verdict::Refused(status) => Err(status),
        };
        waited.inspect_err(|_| metrics.refused())
    }

    fn judge(&self, method: Method, deadline: Deadline) -> Verdict<'_> {
        let now = Instant::now();
        let time_left = deadline
            .instant()
            .map(|at| at.saturating_duration_since(now));
        if time_left == Some(Duration::ZERO) {
            return Verdict::Refused(self.refusal(method, "and its deadline has passed"));
        }
        let max_waiting = self.settings.max_waiting;
        let why = self.queue(|queue| {
            if queue.take_at_once(now) {
                return Ok(Verdict::Go);
            }
            let due = queue.due(now).ok_or_else(|| "that is none".to_owned())?;
            match queue.waiting() {
                waiting if waiting < max_waiting => {}
                0 => return Err("and none may wait".to_owned()),
                waiting => return Err(format!("and {waiting} wait already")),
            }
            let wait = due.saturating_duration_since(now);
            if time_left.is_some_and(|left| left / 2 < wait) {
                let wait = wait.as_millis();
                return Err(format!(
                    "and its turn would come in {wait} ms, after more than half of the time it has"
                ));
            }
            let bell = Arc::default();
            let ticket = queue.join(due, &bell);
            Ok(Verdict::Wait(Place {
                shared: self,
                ticket,
                bell,
            }))
        });
        why.unwrap_or_else(|why| Verdict::Refused(self.refusal(method, &why)))
    }

    fn refusal(&self, method: Method, why: &str) -> Status {
        let Settings { calls, per, .. } = self.settings;
        let text = format!(
            "{method} was not called: no more than {calls} calls in {per:?} are made here, {why}"
        );
        Status::resource_exhausted(text).not_started()
    }
}

/// Of one who waits. Given back however the wait ends.
struct Place<'a> {
    shared: &'a Shared,
    ticket: u64,
    bell: Arc<Notify>,
}

impl Place<'_> {
    /// Waits for a token.
    async fn turn(self, method: Method, deadline: Deadline) -> Result<(), Status> {
        loop {
            if deadline.has_passed() {
                let why = "and its deadline passed while it waited for its turn";
                return Err(self.shared.refusal(method, why));
            }
            let now = Instant::now();
            let next = self
                .shared
                .queue(|queue| queue.take_or_sleep(self.ticket, &self.bell, now));
            let Some(at) = next else { return Ok(()) };
            // The channel has a timer for the same time. If that is the first, this is polled before the
            // call is ended, and tells that it was not started.
            let is_late = poll_fn(|_| match deadline.has_passed() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            });
            tokio::select! {
                biased;
                () = is_late => {}
                () = self.bell.notified() => {}
                () = sleep_until(deadline.instant().map_or(at, |end| end.min(at))) => {}
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        self.shared.queue(|queue| queue.leave(self.ticket, now));
    }
}
