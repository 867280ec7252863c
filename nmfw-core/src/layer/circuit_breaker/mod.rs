//! [`CircuitBreakerLayer`]: refuses calls that would most likely fail.

mod open;
mod state;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, ready},
};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};

pub use self::open::CircuitOpen;
use self::state::{Change, Circuit, Outcome, Pass, Rules};
use super::{BoxService, method_filter::Methods};
use crate::{
    Code, Deadline, Method, MethodName, Status,
    call::{per_method::EachMethod, request::Request, response::Response},
    observe::metrics::CircuitMetrics,
};

/// Minimum length of the window, which is divided into tenths.
const MIN_WINDOW: Duration = Duration::from_millis(10);

/// Keeps `Instant` arithmetic from overflowing.
const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// A layer for [`Channel::layer`](crate::Channel::layer) that refuses calls of a method while most
/// of its calls fail. Callers get an error at once instead of at their deadline, and an overloaded
/// service gets time to recover.
///
/// ```
/// use std::time::Duration;
/// use nmfw::{Channel, Code, client::CircuitBreakerLayer};
///
/// # fn example(nats: nmfw::Connection) {
/// let channel = Channel::new(nats).layer(
///     CircuitBreakerLayer::new()
///         .window(Duration::from_secs(30))
///         .min_calls(50)
///         .failure_ratio(0.8)
///         .backoff(Duration::from_millis(500), Duration::from_secs(5)),
/// );
/// # }
/// ```
///
/// Each method has a separate circuit. The circuits belong to the layer: clones of a channel share
/// them, and so do channels with clones of the same layer.
///
/// - A circuit is initially *closed*: all calls are made. It opens when enough calls in the
///   [window](Self::window) have [failed](Self::failure_ratio) with one of the
///   [codes](Self::codes).
/// - While it is *open*, calls fail at once with `UNAVAILABLE`, marked as [not
///   started](Status::is_not_started). The message gives the reason and the remaining time;
///   [`CircuitOpen::of`] distinguishes it from errors of a service. A
///   [`RetryLayer`](crate::client::RetryLayer) does not retry such calls.
/// - After a [backoff](Self::backoff) it is *half-open*: a few [calls](Self::half_open_calls) are
///   made. If all of them succeed, it closes; if one fails, it opens again, for twice as long.
///
/// A call with a response stream counts as a success once the responses have begun; a call with
/// only a request stream counts by its result. A call that its caller drops does not count, unless
/// its deadline has passed, which counts as `DEADLINE_EXCEEDED`. A call that was not started does
/// not count either, unless its code is one of the [codes](Self::codes), because it has not reached
/// the service.
///
/// The [`metrics`](crate::metrics) `nmfw_client_circuits_open`,
/// `nmfw_client_circuit_openings_total` and `nmfw_client_circuit_refusals_total` show the effect.
/// Openings (`WARN`) and closings (`INFO`) are logged.
#[derive(Clone)]
#[must_use]
pub struct CircuitBreakerLayer(Arc<CircuitShared>);

#[derive(Clone)]
struct CircuitSettings {
    methods: Methods,
    codes: Arc<[Code]>,
    rules: Rules,
}

struct CircuitShared {
    settings: CircuitSettings,
    circuits: EachMethod<Breaker>,
}

impl CircuitBreakerLayer {
    /// Creates a layer whose circuits open when at least 20 calls have ended within 10 s, half of
    /// them with `UNAVAILABLE` or `DEADLINE_EXCEEDED`. A circuit opens for 1 s, and for up to 10 s
    /// if half-open calls fail, of which there are 3.
    pub fn new() -> Self {
        Self::with(CircuitSettings {
            methods: Methods::default(),
            codes: Arc::new([Code::Unavailable, Code::DeadlineExceeded]),
            rules: Rules {
                window: Duration::from_secs(10),
                min_calls: 20,
                failure_ratio: 0.5,
                initial_backoff: Duration::from_secs(1),
                max_backoff: Duration::from_secs(10),
                half_open_calls: 3,
            },
        })
    }

    fn with(settings: CircuitSettings) -> Self {
        Self(Arc::new(CircuitShared {
            settings,
            circuits: EachMethod::default(),
        }))
    }

    /// Changes a setting. This resets the state; earlier clones keep the old one.
    fn set(self, set: impl FnOnce(&mut CircuitSettings)) -> Self {
        let mut settings = self.0.settings.clone();
        set(&mut settings);
        Self::with(settings)
    }

    /// Sets the codes that count as failures, in place of `UNAVAILABLE` and `DEADLINE_EXCEEDED`.
    ///
    /// `RESOURCE_EXHAUSTED` is not included, because a service that refuses excess calls still does
    /// useful work, which an open circuit would prevent. `INTERNAL` is not included either, because
    /// a single unusual request can cause it repeatedly; add it if all requests are similar.
    pub fn codes(self, codes: impl IntoIterator<Item = Code>) -> Self {
        self.set(|settings| settings.codes = codes.into_iter().collect())
    }

    /// Applies only to these methods: constants such as `CalcClient::ADD`, or texts with the name
    /// in the `.proto`, `Add` or `calc.Calc.Add`. If a text is not a method of the service, all its
    /// calls fail with `INVALID_ARGUMENT`, not started, before anything is sent: see
    /// [middleware](crate::middleware#methods-of-a-layer).
    /// Several circuit breaker layers can cover different methods.
    pub fn methods<M: Into<MethodName>>(self, methods: impl IntoIterator<Item = M>) -> Self {
        self.set(|settings| settings.methods = Methods::named("CircuitBreakerLayer", methods))
    }

    /// Sets the length of the window over which completed calls are counted. The default is 10 s,
    /// the minimum 10 ms and the maximum a day. Calls leave the window a tenth at a time.
    pub fn window(self, length: Duration) -> Self {
        self.set(|settings| settings.rules.window = length.clamp(MIN_WINDOW, MAX_TIME))
    }

    /// Sets the minimum number of calls in the [window](Self::window) before a circuit can open: 20
    /// by default, at least 1.
    pub fn min_calls(self, calls: u32) -> Self {
        self.set(|settings| settings.rules.min_calls = calls.max(1))
    }

    /// Sets the ratio of failed calls at which a circuit opens: 0.5 by default. A ratio above 1
    /// never opens a circuit; with 0, a single failure is enough.
    pub fn failure_ratio(self, ratio: f64) -> Self {
        self.set(|settings| settings.rules.failure_ratio = ratio)
    }

    /// Sets how long a circuit stays open: `initial`, doubling after each failed half-open call, up
    /// to `max`. Each backoff is shortened at random by up to a half, so that callers do not return
    /// in step. The defaults are 1 s and 10 s, the maximum is a day.
    pub fn backoff(self, initial: Duration, max: Duration) -> Self {
        self.set(|settings| {
            settings.rules.initial_backoff = initial.min(MAX_TIME);
            settings.rules.max_backoff = max.max(initial).min(MAX_TIME);
        })
    }

    /// Sets the number of calls that a half-open circuit makes, all of which have to succeed before
    /// it closes: 3 by default, at least 1. Each call occupies its slot until it ends. While all
    /// slots are taken, one more call is made after each backoff, so that hanging calls do not keep
    /// the circuit open.
    pub fn half_open_calls(self, calls: u32) -> Self {
        self.set(|settings| settings.rules.half_open_calls = calls.max(1))
    }
}

impl Default for CircuitBreakerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CircuitBreakerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CircuitSettings {
            methods,
            codes,
            rules,
        } = &self.0.settings;
        f.debug_struct("CircuitBreakerLayer")
            .field("methods", methods)
            .field("codes", codes)
            .field("rules", rules)
            .finish_non_exhaustive()
    }
}

impl Layer<BoxService> for CircuitBreakerLayer {
    type Service = CircuitBreaker;

    fn layer(&self, inner: BoxService) -> CircuitBreaker {
        CircuitBreaker {
            shared: Arc::clone(&self.0),
            inner,
        }
    }
}

/// The service of a [`CircuitBreakerLayer`].
#[derive(Clone)]
pub struct CircuitBreaker {
    shared: Arc<CircuitShared>,
    inner: BoxService,
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CircuitBreaker")
    }
}

impl Service<Request> for CircuitBreaker {
    type Response = Response;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response, Status>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // Refused calls need no ready service; other calls wait for it themselves.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let call = self.inner.clone();
        match self.shared.settings.methods.include(request.method()) {
            Ok(true) => {}
            Ok(false) => return call.oneshot(request).boxed(),
            Err(status) => return ready(Err(status)).boxed(),
        }
        match CircuitPermit::new(&self.shared, &request) {
            Err(refused) => ready(Err(refused)).boxed(),
            Ok(entered) => async move {
                let outcome = call.oneshot(request).await;
                entered.end(&outcome);
                outcome
            }
            .boxed(),
        }
    }
}

/// The circuit of a method, with its metrics.
struct Breaker {
    method: Method,
    /// Locked briefly at the start and end of a call.
    circuit: Mutex<Circuit>,
    metrics: CircuitMetrics,
}

impl Breaker {
    fn new(method: Method) -> Self {
        Self {
            method,
            circuit: Mutex::new(Circuit::new(Instant::now())),
            metrics: CircuitMetrics::of(method),
        }
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, rules: &Rules) -> Result<Pass, Status> {
        let now = Instant::now();
        let entered = self.circuit().enter(rules, now);
        entered.map_err(|refusal| {
            self.metrics.refused();
            CircuitOpen::new(self.method, refusal, rules, now).into()
        })
    }

    fn end(&self, rules: &Rules, pass: Pass, outcome: Outcome) {
        let cut = rand::random_range(0.5..1.0);
        let now = Instant::now();
        let change = self.circuit().end(rules, pass, outcome, now, cut);
        let method = self.method;
        match change {
            None => {}
            Some(Change::Opened { pause }) => {
                self.metrics.opened();
                tracing::warn!(%method, ?pause, "circuit opened: too many calls failed");
            }
            Some(Change::OpenedAgain { pause }) => {
                self.metrics.opened_again();
                tracing::debug!(%method, ?pause, "circuit opened again: a half-open call failed");
            }
            Some(Change::Closed) => {
                self.metrics.closed();
                tracing::info!(%method, "circuit closed: the half-open calls succeeded");
            }
        }
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        if !self.circuit().is_closed() {
            self.metrics.closed();
        }
    }
}

/// A permitted call. It is recorded exactly once, even if it is dropped.
struct CircuitPermit {
    shared: Arc<CircuitShared>,
    breaker: Arc<Breaker>,
    deadline: Deadline,
    /// `None` once the outcome is recorded.
    pass: Option<Pass>,
}

impl CircuitPermit {
    fn new(shared: &Arc<CircuitShared>, request: &Request) -> Result<Self, Status> {
        let method = request.method();
        let breaker = shared.circuits.get(method, || Breaker::new(method));
        let pass = breaker.enter(&shared.settings.rules)?;
        Ok(Self {
            shared: Arc::clone(shared),
            breaker,
            deadline: request.deadline(),
            pass: Some(pass),
        })
    }

    fn end(mut self, outcome: &Result<Response, Status>) {
        self.ended(match outcome {
            Ok(_) => Outcome::Success,
            // Refused before it reached the service, for a reason that does not open the circuit:
            // the service is full, or a limit of this client applies.
            Err(status) if status.is_not_started() && !self.is_failure(status.code()) => {
                Outcome::Unknown
            }
            Err(status) if self.is_failure(status.code()) => Outcome::Failure(status.code()),
            // The service has responded.
            Err(_) => Outcome::Success,
        });
    }

    fn is_failure(&self, code: Code) -> bool {
        self.shared.settings.codes.contains(&code)
    }

    fn ended(&mut self, outcome: Outcome) {
        if let Some(pass) = self.pass.take() {
            self.breaker.end(&self.shared.settings.rules, pass, outcome);
        }
    }
}

impl Drop for CircuitPermit {
    fn drop(&mut self) {
        // The channel drops calls at their deadline, and its timer may fire first.
        let late = Code::DeadlineExceeded;
        let outcome = match self.deadline.has_passed() && self.is_failure(late) {
            true => Outcome::Failure(late),
            false => Outcome::Unknown,
        };
        self.ended(outcome);
    }
}
