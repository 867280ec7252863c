//! [`RateLimitLayer`]: makes no more calls in a time than that.

mod bucket;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::{Instant, sleep_until};
use tower::{Layer, Service, ServiceExt};

use self::bucket::{Bucket, Pace};
use super::per_method::{EachMethod, Methods};
use crate::{
    Deadline, Method, Status,
    metrics::RateLimitMetrics,
    middleware::{BoxService, Request, Response},
};

/// Clocks misbehave with absurd values.
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
/// - A call that finds no token waits, in the order of arrival. One that is dropped while it waits takes
///   none, and those behind it move up.
/// - A call that would get its token at its deadline or later fails at once, with `RESOURCE_EXHAUSTED`,
///   marked as [not started](Status::is_not_started); as does one that finds
///   [as many as may](Self::max_waiting) waiting.
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

struct Shared {
    settings: Settings,
    pace: Pace,
    /// Held for a moment.
    state: Mutex<State>,
    /// Who waits first has it, and the others wait for it: it is given out in the order of arrival.
    turn: tokio::sync::Mutex<()>,
    metrics: EachMethod<RateLimitMetrics>,
}

#[derive(Default)]
struct State {
    bucket: Bucket,
    waiting: usize,
}

impl RateLimitLayer {
    /// So many calls in that time, on the average: 100 calls in a second are one every 10 ms. Up to
    /// 1,024 wait for their turn. With 0 calls all are refused, with no time at all none is. The time is a
    /// day at most.
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
        let pace = Pace {
            interval: settings.per.checked_div(settings.calls),
            burst: settings.burst.unwrap_or(settings.calls / 10).max(1),
        };
        Self(Arc::new(Shared {
            settings,
            pace,
            state: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
            metrics: EachMethod::default(),
        }))
    }

    /// What is set otherwise begins anew: only clones made later share it.
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

    /// Limits these methods only, all together, named as in the `.proto`: `Add`, or `calc.Calc.Add`.
    /// Several layers of this kind can each see to methods of their own.
    pub fn methods<M: Into<String>>(self, methods: impl IntoIterator<Item = M>) -> Self {
        self.set(|settings| settings.methods = Methods::named(methods))
    }
}

impl fmt::Debug for RateLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.0.settings;
        f.debug_struct("RateLimitLayer")
            .field("calls", &settings.calls)
            .field("per", &settings.per)
            .field("burst", &self.0.pace.burst)
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
        if !self.shared.settings.methods.include(request.method()) {
            return call.oneshot(request).boxed();
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
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a token.
    async fn pass(&self, method: Method, deadline: Deadline) -> Result<(), Status> {
        let metrics = self.metrics.get(method, || RateLimitMetrics::of(method));
        let place = match self.judge(method, deadline) {
            Verdict::Go => return Ok(()),
            Verdict::Wait(place) => place,
            Verdict::Refused(status) => {
                metrics.refused();
                return Err(status);
            }
        };
        metrics.waits();
        let turn = self.turn.lock().await;
        loop {
            let now = Instant::now();
            let due = {
                let mut state = self.state();
                if state.bucket.take(&self.pace, now) {
                    break;
                }
                state.bucket.due(&self.pace, 0, now)
            };
            match due {
                Some(at) => sleep_until(at).await,
                None => deadline.passed().await,
            }
        }
        // In this order: the next one is first before anybody can come and find that nobody waits.
        drop(turn);
        drop(place);
        Ok(())
    }

    fn judge(&self, method: Method, deadline: Deadline) -> Verdict<'_> {
        let Settings {
            calls,
            per,
            max_waiting,
            ..
        } = self.settings;
        let now = Instant::now();
        let mut state = self.state();
        if state.waiting == 0 && state.bucket.take(&self.pace, now) {
            return Verdict::Go;
        }
        // Those ahead can only leave, so that it comes no later than that.
        let due = state.bucket.due(&self.pace, state.waiting, now);
        let is_late = |due| deadline.instant().is_some_and(|deadline| deadline <= due);
        let why = match due {
            None => "that is none".to_owned(),
            _ if state.waiting >= max_waiting => match state.waiting {
                0 => "and none may wait".to_owned(),
                waiting => format!("and {waiting} wait already"),
            },
            Some(due) if is_late(due) => {
                let wait = due.saturating_duration_since(now);
                format!(
                    "and its turn would come after its deadline, in {} ms",
                    wait.as_millis()
                )
            }
            Some(_) => {
                state.waiting += 1;
                return Verdict::Wait(Place(self));
            }
        };
        let text = format!(
            "{method} was not called: no more than {calls} calls in {per:?} are made here, {why}"
        );
        Verdict::Refused(Status::resource_exhausted(text).not_started())
    }
}

/// Of one who waits. Given back however the wait ends.
struct Place<'a>(&'a Shared);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}
