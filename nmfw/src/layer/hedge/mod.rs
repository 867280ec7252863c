//! [`HedgeLayer`]: asks a second instance when the first takes too long.

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

/// Sends a call a second time when no answer has come after a while, and takes whichever answer comes
/// first: a layer for [`Channel::layer`](crate::Channel::layer). It cuts what calls take that happen to
/// meet a slow instance, for a few calls more.
///
/// ```
/// use std::time::Duration;
/// use nmfw::{Channel, client::HedgeLayer};
///
/// # fn example(nats: nmfw::Connection) {
/// let channel = Channel::new(nats)
///     .multiplexed()
///     // The slowest one in a hundred, but never before 20 ms; of `Quote`, what takes 50 ms.
///     .layer(HedgeLayer::new().after_percentile(99.0, Duration::from_millis(20)))
///     .layer(HedgeLayer::new().after(Duration::from_millis(50)).methods(["Quote"]));
/// # }
/// ```
///
/// - Only methods that the `.proto` calls `IDEMPOTENT` or `NO_SIDE_EFFECTS` are hedged, as a call can be
///   carried out twice; and no calls that stream.
/// - The first answer ends the call: a message, or a status that says what the service thinks of the
///   request. While an attempt is under way, another one that ends with `UNAVAILABLE`,
///   `RESOURCE_EXHAUSTED` or [not started](Status::is_not_started) does not. Before there is a second
///   one every failure ends the call: repeating it is for a [`RetryLayer`](super::RetryLayer).
/// - What is still under way then is given up: on a [multiplexed](crate::Channel::multiplexed) channel its
///   handler is dropped, else it goes on to its deadline.
/// - The [budget](Self::budget) is for all calls of the channel, so that a service that is slow as a
///   whole does not get twice the load.
/// - The deadline is for all attempts together.
///
/// On a multiplexed channel the second attempt goes to another instance than the first, if there is a
/// session with one. If not, and without sessions, NATS chooses: of two instances it is the other one half of
/// the time, and of ten nearly always.
///
/// `nmfw_client_hedges_total` and `nmfw_client_hedge_wins_total` of the [`metrics`](crate::metrics) tell
/// what it does and whether it helps.
#[derive(Clone)]
#[must_use]
pub struct HedgeLayer(Arc<Shared>);

#[derive(Clone)]
struct Settings {
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

struct Shared {
    settings: Settings,
    budget: TpsBudget,
    methods: EachMethod<Hedged>,
}

impl HedgeLayer {
    /// Makes a layer that sends a second attempt for at most 10 % of the calls, after the time in which 95 of
    /// 100 calls of the method had their answer lately, and at least 5 ms.
    pub fn new() -> Self {
        Self::with(Settings {
            methods: Methods::default(),
            after: After::Percentile {
                percent: 95.0,
                at_least: Duration::from_millis(5),
            },
            max_hedges: 1,
            budget: RetryBudget::new().min_per_second(0).max_ratio(0.1),
        })
    }

    fn with(settings: Settings) -> Self {
        Self(Arc::new(Shared {
            budget: settings.budget.start(),
            methods: EachMethod::default(),
            settings,
        }))
    }

    /// Changes a setting. The state begins anew: clones made before keep the old one.
    fn set(self, set: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.0.settings.clone();
        set(&mut settings);
        Self::with(settings)
    }

    /// Sets a fixed time after which a call is sent again, in place of a percentile. It should be one
    /// that few calls take when all is well.
    pub fn after(self, delay: Duration) -> Self {
        let after = After::Fixed(delay.min(MAX_DELAY));
        self.set(|settings| settings.after = after)
    }

    /// Sets the percentile of the times until an answer, of each method in the last minute or two, after
    /// which a call is sent again, and the shortest time that this may be. By default these are 95 and
    /// 5 ms. Percentiles are known to an eighth, and only once 50 calls of the method have had an answer:
    /// before that, none is hedged.
    pub fn after_percentile(self, percent: f64, at_least: Duration) -> Self {
        let at_least = at_least.min(MAX_DELAY);
        self.set(|settings| settings.after = After::Percentile { percent, at_least })
    }

    /// Sets how often a call is sent again at most, each time after the same delay. By default that is
    /// once; with 0 it never is.
    pub fn max_hedges(self, hedges: u32) -> Self {
        self.set(|settings| settings.max_hedges = hedges)
    }

    /// Hedges these methods only: constants such as `CalcClient::ADD`, or texts with the name in
    /// the `.proto`, `Add` or `calc.Calc.Add`. A text that is no method of the service makes all its calls
    /// fail with `INVALID_ARGUMENT`, not started, before anything is sent: see
    /// [middleware](crate::middleware#methods-of-a-layer).
    /// Several layers of this kind can each see to methods of their own; of those that are for a method,
    /// the last added hedges it.
    pub fn methods<M: Into<MethodName>>(self, methods: impl IntoIterator<Item = M>) -> Self {
        self.set(|settings| settings.methods = Methods::named("HedgeLayer", methods))
    }

    /// Sets how many hedges there may be. The default has no minimum and a ratio of 0.1: one call in ten.
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
    shared: Arc<Shared>,
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
        // Each attempt waits by itself.
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
            && !method.streams()
            && settings.max_hedges > 0
            // A layer before this one sees to it.
            && request.extensions().get::<Parallel>().is_none();
        let inner = self.inner.clone();
        if !may {
            return inner.oneshot(request).boxed();
        }
        // Attempts know of each other by it.
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

/// What is known of a method.
struct Hedged {
    /// Held for a moment at the begin and at the end of a call.
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

impl Shared {
    /// How long to wait before a call is sent again; `None` if not enough is known.
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
    shared: Arc<Shared>,
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
            // In a box, as most calls need no room for it.
            (None, Some(delay)) => {
                let attempt = attempt.map(|outcome| {
                    first.ended(&outcome);
                    (false, outcome)
                });
                Box::pin(self.race(attempt.boxed(), delay)).await
            }
            (None, None) => Err(Status::internal("a call without an end")),
        }
    }

    /// The first attempt takes too long.
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
                    // It was not sent; the others go on.
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
                        let none = || Status::internal("no attempt had an outcome");
                        return Err(mark(last.unwrap_or_else(none), may_have_started));
                    }
                },
                () = pause.as_mut(), if left > 0 => {
                    if !self.shared.budget.withdraw() {
                        log_limited!(debug, %method, "not hedged: the budget is spent");
                        left = 0;
                        continue;
                    }
                    let Some(mut request) = self.spare.try_clone() else {
                        left = 0;
                        continue;
                    };
                    request.extensions_mut().insert(Resent);
                    left -= 1;
                    log_limited!(debug, %method, after = ?delay, "no answer yet: hedging");
                    self.hedged.metrics.hedged();
                    let hedge = self.inner.clone().oneshot(request);
                    attempts.push(hedge.map(|outcome| (true, outcome)).boxed());
                    pause.as_mut().reset(Instant::now() + delay);
                }
            }
        }
    }
}

/// Whether a failure says what the service thinks of the request. Else another attempt may do better.
fn is_answer(status: &Status) -> bool {
    !status.is_not_started()
        && !matches!(status.code(), Code::Unavailable | Code::ResourceExhausted)
}

/// The mark is of one attempt, and whoever sees it takes it for the call.
fn mark(status: Status, may_have_started: bool) -> Status {
    match may_have_started {
        true => status.started(),
        false => status,
    }
}

/// The first attempt of a call, whose time is looked at. If it never ends, because another one was
/// faster, that time is not known; but it is longer than most, and has to count as such, or the
/// percentile would become smaller and smaller.
struct First<'a> {
    shared: &'a Shared,
    hedged: &'a Hedged,
    begin: Instant,
    delay: Option<Duration>,
    deadline: Deadline,
    is_known: bool,
}

impl First<'_> {
    fn ended(&mut self, outcome: &Result<Response, Status>) {
        self.is_known = true;
        // Failures can be quick, and say nothing of how long an answer takes.
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
