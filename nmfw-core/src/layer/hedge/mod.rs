//! [`HedgeLayer`]: sends slow calls to a second instance.

mod latencies;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, ready},
    stream::FuturesUnordered,
};
use tokio::time::{Instant, sleep};
use tower::{
    Layer, Service, ServiceExt,
    retry::budget::{Budget, TpsBudget},
};

use self::latencies::Latencies;
use super::{BoxService, method_filter::Methods, retry_budget::RetryBudget};
use crate::{
    Code, Deadline, Idempotency, Method, MethodName, Status,
    call::{
        attempt::{Parallel, Resent, Spent},
        deadline::within,
        per_method::EachMethod,
        request::Request,
        response::Response,
    },
    observe::metrics::HedgeMetrics,
};

/// Keeps `Instant` arithmetic from overflowing.
const MAX_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A layer for [`Channel::layer`](crate::Channel::layer) that sends a call again if there is no
/// response after some time, and returns the first response. It reduces the tail latency of calls
/// that hit a slow instance, at the cost of a few more calls.
///
/// ```
/// use std::time::Duration;
/// use nmfw::{Channel, NatsChannel, client::HedgeLayer};
///
/// # fn example(nats: nmfw::Connection) {
/// let channel = Channel::new(nats)
///     .multiplexed()
///     // The slowest 1 %, but not before 20 ms; `Quote` after 50 ms.
///     .layer(HedgeLayer::new().after_percentile(99.0, Duration::from_millis(20)))
///     .layer(HedgeLayer::new().after(Duration::from_millis(50)).methods(["Quote"]));
/// # }
/// ```
///
/// - Only methods that the `.proto` declares `IDEMPOTENT` or `NO_SIDE_EFFECTS` are hedged, because
///   a call may be executed twice. Calls that stream are not hedged.
/// - The first conclusive response ends the call: a message, or a status about the request itself.
///   While another attempt is in flight, an attempt that ends with `UNAVAILABLE`,
///   `RESOURCE_EXHAUSTED` or [not started](Status::is_not_started) does not end the call. Before
///   the second attempt, every failure ends the call: retries are the task of a
///   [`RetryLayer`](crate::client::RetryLayer).
/// - The remaining attempts are then cancelled: on a multiplexed
///   channel, their handlers are dropped; otherwise, they run until their deadline.
/// - The [budget](Self::budget) is shared by all calls of the channel, so that a service that is
///   slow as a whole does not get twice the load.
/// - The deadline covers all attempts.
///
/// On a multiplexed channel, the second attempt goes to another instance than the first, if there
/// is a session with one. Otherwise NATS chooses an instance at random: with two instances, the
/// attempt reaches the other one in half of the cases, with ten in nine of ten.
///
/// The [`metrics`](crate::metrics) `nmfw_client_hedges_total` and `nmfw_client_hedge_wins_total`
/// show the effect.
#[derive(Clone)]
#[must_use]
pub struct HedgeLayer(Arc<HedgeShared>);

#[derive(Clone)]
struct HedgeSettings {
    methods: Methods,
    after: After,
    max_hedges: u32,
    /// See [`HedgeLayer::budget`].
    budget: RetryBudget,
}

#[derive(Clone, Copy, Debug)]
enum After {
    Fixed(Duration),
    Percentile { percent: f64, at_least: Duration },
}

struct HedgeShared {
    settings: HedgeSettings,
    budget: TpsBudget,
    methods: EachMethod<Hedged>,
}

impl HedgeLayer {
    /// Creates a layer that hedges at most 10 % of the calls, each after the recent 95th percentile
    /// of its method's latency, and after at least 5 ms.
    pub fn new() -> Self {
        Self::with(HedgeSettings {
            methods: Methods::default(),
            after: After::Percentile {
                percent: 95.0,
                at_least: Duration::from_millis(5),
            },
            max_hedges: 1,
            budget: RetryBudget::new().min_per_second(0).max_ratio(0.1),
        })
    }

    fn with(settings: HedgeSettings) -> Self {
        Self(Arc::new(HedgeShared {
            budget: settings.budget.start(),
            methods: EachMethod::default(),
            settings,
        }))
    }

    /// Changes a setting. This resets the state; earlier clones keep the old one.
    fn set(self, set: impl FnOnce(&mut HedgeSettings)) -> Self {
        let mut settings = self.0.settings.clone();
        set(&mut settings);
        Self::with(settings)
    }

    /// Sets a fixed delay after which a call is sent again, in place of a percentile. Choose one
    /// that few calls reach in normal operation.
    pub fn after(self, delay: Duration) -> Self {
        let after = After::Fixed(delay.min(MAX_DELAY));
        self.set(|settings| settings.after = after)
    }

    /// Sets the percentile of each method's latencies, over the last minute or two, after which a
    /// call is sent again, and the minimum delay. The defaults are 95 and 5 ms. Percentiles have a
    /// precision of an eighth, and are available only after 50 calls of the method; until then, its
    /// calls are not hedged.
    pub fn after_percentile(self, percent: f64, at_least: Duration) -> Self {
        let at_least = at_least.min(MAX_DELAY);
        self.set(|settings| settings.after = After::Percentile { percent, at_least })
    }

    /// Sets the maximum number of additional attempts, each after the same delay. The default is 1;
    /// 0 disables hedging.
    pub fn max_hedges(self, hedges: u32) -> Self {
        self.set(|settings| settings.max_hedges = hedges)
    }

    /// Hedges only these methods: constants such as `CalcClient::ADD`, or texts with the name
    /// in the `.proto`, `Add` or `calc.Calc.Add`. If a text is not a method of the service, all its
    /// calls fail with `INVALID_ARGUMENT`, not started, before anything is sent: see
    /// [middleware](crate::middleware#methods-of-a-layer).
    /// Several hedge layers can cover different methods; if more than one covers a method, the last
    /// one added hedges it.
    pub fn methods<M: Into<MethodName>>(self, methods: impl IntoIterator<Item = M>) -> Self {
        self.set(|settings| settings.methods = Methods::named("HedgeLayer", methods))
    }

    /// Sets the budget of hedges. The default has no minimum and a ratio of 0.1: one call in ten.
    pub fn budget(self, budget: RetryBudget) -> Self {
        self.set(|settings| settings.budget = budget)
    }
}

impl Default for HedgeLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for HedgeLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.0.settings;
        f.debug_struct("HedgeLayer")
            .field("after", &settings.after)
            .field("max_hedges", &settings.max_hedges)
            .field("methods", &settings.methods)
            .field("budget", &self.0.budget)
            .finish_non_exhaustive()
    }
}

impl Layer<BoxService> for HedgeLayer {
    type Service = Hedge;

    fn layer(&self, inner: BoxService) -> Hedge {
        Hedge {
            shared: Arc::clone(&self.0),
            inner,
        }
    }
}

/// The service of a [`HedgeLayer`].
#[derive(Clone)]
pub struct Hedge {
    shared: Arc<HedgeShared>,
    inner: BoxService,
}

impl fmt::Debug for Hedge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hedge")
    }
}

impl Service<Request> for Hedge {
    type Response = Response;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response, Status>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // Each attempt waits for a ready service itself.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let (method, settings) = (request.method(), &self.shared.settings);
        let is_included = match settings.methods.include(method) {
            Ok(is_included) => is_included,
            Err(status) => return ready(Err(status)).boxed(),
        };
        let may = is_included
            && method.idempotency() != Idempotency::Unknown
            && !method.is_streaming()
            && settings.max_hedges > 0
            // A hedge layer above this one covers the method.
            && request.extensions().get::<Parallel>().is_none();
        let inner = self.inner.clone();
        if !may {
            return inner.oneshot(request).boxed();
        }
        // Shared by the attempts, so that they choose different peers.
        request.extensions_mut().insert(Parallel::default());
        let Some(spare) = request.try_clone() else {
            return inner.oneshot(request).boxed();
        };
        let call = Hedging {
            hedged: self.shared.methods.get(method, || Hedged::new(method)),
            shared: Arc::clone(&self.shared),
            inner,
            spare,
        };
        call.run(request).boxed()
    }
}

/// The state of a method.
struct Hedged {
    /// Locked briefly at the start and end of a call.
    latencies: Mutex<Latencies>,
    metrics: HedgeMetrics,
}

impl Hedged {
    fn new(method: Method) -> Self {
        Self {
            latencies: Mutex::new(Latencies::new(Instant::now())),
            metrics: HedgeMetrics::of(method),
        }
    }
}

impl HedgeShared {
    /// Returns the delay before a call is sent again; `None` if there are too few samples.
    fn delay(&self, hedged: &Hedged) -> Option<Duration> {
        match self.settings.after {
            After::Fixed(delay) => Some(delay),
            After::Percentile { at_least, .. } => {
                let latencies = hedged.latencies.lock();
                let latencies = latencies.unwrap_or_else(PoisonError::into_inner);
                latencies.known().map(|known| known.max(at_least))
            }
        }
    }

    fn add(&self, hedged: &Hedged, latency: Duration) {
        if let After::Percentile { percent, .. } = self.settings.after {
            let latencies = hedged.latencies.lock();
            let mut latencies = latencies.unwrap_or_else(PoisonError::into_inner);
            latencies.add(latency, percent, Instant::now());
        }
    }
}

/// A call that may be sent again.
struct Hedging {
    shared: Arc<HedgeShared>,
    hedged: Arc<Hedged>,
    inner: BoxService,
    spare: Request,
}

impl Hedging {
    async fn run(self, request: Request) -> Result<Response, Status> {
        self.shared.budget.deposit();
        let delay = self.shared.delay(&self.hedged);
        let mut first = First {
            shared: &self.shared,
            hedged: &self.hedged,
            begin: Instant::now(),
            delay,
            deadline: request.deadline(),
            is_known: false,
        };
        let mut attempt = pin!(self.inner.clone().oneshot(request));
        let early = match delay {
            Some(delay) => within(delay, &mut attempt).await,
            None => Some(attempt.as_mut().await),
        };
        match (early, delay) {
            (Some(outcome), _) => {
                first.ended(&outcome);
                outcome
            }
            // Boxed, because most calls need no space for it.
            (None, Some(delay)) => {
                let attempt = attempt.map(|outcome| {
                    first.ended(&outcome);
                    (false, outcome)
                });
                Box::pin(self.race(attempt.boxed(), delay)).await
            }
            (None, None) => Err(Status::internal("an attempt that never ends")),
        }
    }

    /// Continues a call whose first attempt is slow.
    async fn race(
        &self,
        first: BoxFuture<'_, (bool, Result<Response, Status>)>,
        delay: Duration,
    ) -> Result<Response, Status> {
        let mut attempts = FuturesUnordered::new();
        attempts.push(first);
        let method = self.spare.method();
        let mut left = self.shared.settings.max_hedges;
        let mut pause = pin!(sleep(Duration::ZERO));
        let mut may_have_started = false;
        let mut last = None;
        loop {
            tokio::select! {
                biased;
                ended = attempts.next() => match ended {
                    // This attempt was not sent; the others continue.
                    Some((true, Err(status))) if Spent::is_cause_of(&status) => left = 0,
                    Some((is_hedge, outcome)) => {
                        let status = match outcome {
                            Err(status) if !is_answer(&status) => status,
                            answer => {
                                if is_hedge {
                                    self.hedged.metrics.won();
                                }
                                return answer.map_err(|status| mark(status, may_have_started));
                            }
                        };
                        may_have_started |= !status.is_not_started();
                        last = Some(status);
                    }
                    None => {
                        let none = || Status::internal("no attempt was sent");
                        return Err(mark(last.unwrap_or_else(none), may_have_started));
                    }
                },
                () = pause.as_mut(), if left > 0 => {
                    if !self.shared.budget.withdraw() {
                        log_limited!(debug, %method, "not hedged: the budget is used up");
                        left = 0;
                        continue;
                    }
                    let Some(mut request) = self.spare.try_clone() else {
                        left = 0;
                        continue;
                    };
                    request.extensions_mut().insert(Resent);
                    left -= 1;
                    log_limited!(debug, %method, after = ?delay, "hedging: no response yet");
                    self.hedged.metrics.hedged();
                    let hedge = self.inner.clone().oneshot(request);
                    attempts.push(hedge.map(|outcome| (true, outcome)).boxed());
                    pause.as_mut().reset(Instant::now() + delay);
                }
            }
        }
    }
}

/// Returns whether a failure is about the request itself. Otherwise another attempt may succeed.
fn is_answer(status: &Status) -> bool {
    !status.is_not_started()
        && !matches!(status.code(), Code::Unavailable | Code::ResourceExhausted)
}

/// Adapts the mark "not started", which applies to one attempt, to the whole call.
fn mark(status: Status, may_have_started: bool) -> Status {
    match may_have_started {
        true => status.started(),
        false => status,
    }
}

/// Measures the first attempt of a call. If another attempt is faster, its latency remains unknown,
/// but must still count as long; otherwise the percentile would shrink continually.
struct First<'a> {
    shared: &'a HedgeShared,
    hedged: &'a Hedged,
    begin: Instant,
    delay: Option<Duration>,
    deadline: Deadline,
    is_known: bool,
}

impl First<'_> {
    fn ended(&mut self, outcome: &Result<Response, Status>) {
        self.is_known = true;
        // Failures can be quick and do not represent latencies.
        if outcome.as_ref().map_or_else(is_answer, |_| true) {
            self.shared.add(self.hedged, self.begin.elapsed());
        }
    }
}

impl Drop for First<'_> {
    fn drop(&mut self) {
        let elapsed = self.begin.elapsed();
        let is_long = self.delay.is_some_and(|delay| elapsed >= delay);
        if !self.is_known && (is_long || self.deadline.has_passed()) {
            self.shared.add(self.hedged, elapsed);
        }
    }
}
