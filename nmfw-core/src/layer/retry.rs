//! [`RetryLayer`]: retries failed calls.

use std::{fmt, sync::Arc, time::Duration};

use std::task::{Context, Poll};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::{Sleep, sleep};
use tower::{
    Layer, Service, retry,
    retry::{
        Policy,
        budget::{Budget, TpsBudget},
    },
};

use super::{
    BoxService, circuit_breaker::CircuitOpen, method_filter::Methods, retry_budget::RetryBudget,
};
use crate::{
    Code, Idempotency, MethodName, Status,
    call::{
        attempt::{Resent, Spent},
        request::Request,
        response::Response,
    },
    observe::metrics::CallMetrics,
};

/// A layer for [`Channel::layer`](crate::Channel::layer) that retries failed calls.
///
/// ```
/// use std::time::Duration;
/// use nmfw::{Channel, Code, client::RetryLayer};
///
/// # fn example(nats: nmfw::Connection) {
/// let channel = Channel::new(nats).layer(
///     RetryLayer::new()
///         .max_attempts(4)
///         .codes([Code::Unavailable, Code::Aborted])
///         .backoff(Duration::from_millis(20), Duration::from_secs(1)),
/// );
/// # }
/// ```
///
/// Even without this layer, a call that no instance has started is resent to another one, and so is
/// an idempotent call whose session is with an instance that is gone: see
/// `max_attempts` of the NATS settings. This layer is for other calls, which an
/// instance has started or may have started.
///
/// - Only methods that the `.proto` declares `IDEMPOTENT` or `NO_SIDE_EFFECTS` are retried after
///   any failure. Others are retried only if it is known that no instance has started them.
/// - Calls that stream are not retried.
/// - A [budget](Self::budget) for all calls of the channel keeps retries from amplifying an
///   overload.
/// - The deadline covers all attempts: no attempt begins after it.
/// - Calls that a [`CircuitBreakerLayer`](crate::client::CircuitBreakerLayer) below this layer refuses are
///   not retried.
///
/// `nmfw_client_retries_total` counts the retries.
#[derive(Clone)]
#[must_use]
pub struct RetryLayer {
    max_attempts: u32,
    codes: Arc<[Code]>,
    methods: Methods,
    initial_backoff: Duration,
    max_backoff: Duration,
    budget: Arc<TpsBudget>,
}

impl RetryLayer {
    /// Creates a layer with up to 3 attempts for calls that end with `UNAVAILABLE`, with a backoff
    /// of 10 ms to 1 s and the default budget.
    pub fn new() -> Self {
        Self {
            max_attempts: 3,
            codes: Arc::new([Code::Unavailable]),
            methods: Methods::default(),
            initial_backoff: Duration::from_millis(10),
            max_backoff: Duration::from_secs(1),
            budget: Arc::new(RetryBudget::new().start()),
        }
    }

    /// Sets the maximum number of attempts, including the first. The default is 3; 0 or 1 disables
    /// retries.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets the codes that are retried, in place of `UNAVAILABLE`. `DEADLINE_EXCEEDED` has no
    /// effect, because no time is left for a retry.
    pub fn codes(mut self, codes: impl IntoIterator<Item = Code>) -> Self {
        self.codes = codes.into_iter().collect();
        self
    }

    /// Retries only these methods: constants such as `CalcClient::ADD`, or texts with the name
    /// in the `.proto`, `Add` or `calc.Calc.Add`. If a text is not a method of the service, all its
    /// calls fail with `INVALID_ARGUMENT`, not started, before anything is sent: see
    /// [middleware](crate::middleware#methods-of-a-layer).
    /// Several retry layers can cover different methods.
    pub fn methods<M: Into<MethodName>>(mut self, methods: impl IntoIterator<Item = M>) -> Self {
        self.methods = Methods::named("RetryLayer", methods);
        self
    }

    /// Sets the backoff between attempts: `initial` before the second, doubling before each further
    /// one, up to `max`. Each backoff is shortened at random by up to a half, so that callers do
    /// not retry in step. The defaults are 10 ms and 1 s.
    pub fn backoff(mut self, initial: Duration, max: Duration) -> Self {
        self.initial_backoff = initial;
        self.max_backoff = max.max(initial);
        self
    }

    /// Sets the budget of retries, in place of [`RetryBudget::new`].
    ///
    /// The budget starts full, and is shared by all clones of this layer.
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.budget = Arc::new(budget.start());
        self
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RetryLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryLayer")
            .field("max_attempts", &self.max_attempts)
            .field("codes", &self.codes)
            .field("methods", &self.methods)
            .finish_non_exhaustive()
    }
}

impl Layer<BoxService> for RetryLayer {
    type Service = Retry;

    fn layer(&self, inner: BoxService) -> Retry {
        let policy = RetryPolicy {
            layer: self.clone(),
            attempts: 1,
            may_have_started: false,
            before: None,
        };
        Retry(retry::Retry::new(policy, self.methods.checked(inner)))
    }
}

/// The service of a [`RetryLayer`].
#[derive(Clone)]
pub struct Retry(retry::Retry<RetryPolicy, BoxService>);

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Retry")
    }
}

impl Service<Request> for Retry {
    type Response = Response;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response, Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.0.call(request).boxed()
    }
}

/// The state of one call's attempts.
#[derive(Clone, Debug)]
struct RetryPolicy {
    layer: RetryLayer,
    /// Number of attempts, including the current one.
    attempts: u32,
    /// Whether an instance may have started one of the attempts.
    may_have_started: bool,
    /// The error of the previous attempt.
    before: Option<Status>,
}

impl RetryPolicy {
    fn backoff(&self) -> Duration {
        let doublings = self.attempts.saturating_sub(1).min(31);
        let backoff = self.layer.initial_backoff.saturating_mul(1 << doublings);
        let backoff = backoff.min(self.layer.max_backoff);
        backoff.mul_f64(rand::random_range(0.5..1.0))
    }

    fn is_worth_it(&self, request: &Request, status: &Status) -> bool {
        let is_safe = match request.method().idempotency() {
            Idempotency::Unknown => status.is_not_started(),
            _ => true,
        };
        is_safe
            && self.attempts < self.layer.max_attempts
            && self.layer.codes.contains(&status.code())
            // An open circuit usually outlasts all attempts.
            && CircuitOpen::of(status).is_none()
    }
}

impl Policy<Request, Response, Status> for RetryPolicy {
    type Future = Sleep;

    fn retry(
        &mut self,
        request: &mut Request,
        outcome: &mut Result<Response, Status>,
    ) -> Option<Sleep> {
        let Err(status) = outcome else {
            self.layer.budget.deposit();
            return None;
        };
        if Spent::is_cause_of(status)
            && let Some(before) = self.before.take()
        {
            *status = before;
            return None;
        }
        let is_worth_it = self.is_worth_it(request, status);
        self.may_have_started |= !status.is_not_started();
        if self.may_have_started && status.is_not_started() {
            // The mark "not started" applies to this attempt only, but the caller would apply it to
            // the whole call.
            *status = status.clone().started();
        }
        if !is_worth_it {
            return None;
        }
        let backoff = self.backoff();
        if request
            .deadline()
            .time_left()
            .is_some_and(|left| left <= backoff)
        {
            return None;
        }
        if !self.layer.budget.withdraw() {
            log_limited!(
                debug, method = %request.method(), %status, "not retried: the budget is used up"
            );
            return None;
        }
        log_limited!(
            debug, method = %request.method(), %status, attempt = self.attempts, "repeating"
        );
        CallMetrics::of(request.method()).retried();
        self.attempts += 1;
        self.before = Some(status.clone());
        request.extensions_mut().insert(Resent);
        Some(sleep(backoff))
    }

    fn clone_request(&mut self, request: &Request) -> Option<Request> {
        let method = request.method();
        // A wrong name is reported by the call itself.
        let is_included = matches!(self.layer.methods.include(method), Ok(true));
        if is_included && !method.is_streaming() {
            request.try_clone()
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use bytes::Bytes;
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::{Deadline, Metadata, Method, MethodSpec, ServiceSpec};

    static SPEC: ServiceSpec = ServiceSpec::new("shop", "Shop").with_methods(&[
        MethodSpec::unary("Look").no_side_effects(),
        MethodSpec::unary("Buy"),
        MethodSpec::server_streaming("Watch").no_side_effects(),
    ]);

    fn look() -> Method {
        SPEC.method(0)
    }

    fn buy() -> Method {
        SPEC.method(1)
    }

    /// Fails a number of times with a status, then succeeds. Returns the outcome and the number of
    /// attempts.
    async fn attempts(
        layer: &RetryLayer,
        method: Method,
        (failures, status): (u32, Status),
        deadline: Deadline,
    ) -> (Result<(), Code>, u32) {
        let calls = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&calls);
        let inner = BoxService::new(service_fn(move |request: Request| {
            assert_eq!(request.body().unwrap(), "body");
            let call = counted.fetch_add(1, Ordering::Relaxed);
            let status = status.clone();
            async move {
                if call < failures {
                    Err(status)
                } else {
                    Ok(Response::new(Bytes::new()))
                }
            }
        }));
        let body = Bytes::from_static(b"body");
        let request = Request::with_head(method, deadline, Metadata::new(), body);
        let outcome = layer.layer(inner).oneshot(request).await;
        let outcome = outcome.map(|_| ()).map_err(|status| status.code());
        (outcome, calls.load(Ordering::Relaxed))
    }

    fn gone() -> Status {
        Status::unavailable("gone")
    }

    const NONE: Deadline = Deadline::NONE;

    #[tokio::test(start_paused = true)]
    async fn safe_methods_are_repeated() {
        let layer = RetryLayer::new();
        assert_eq!(
            attempts(&layer, look(), (2, gone()), NONE).await,
            (Ok(()), 3)
        );
        let outcome = attempts(&layer, look(), (9, gone()), NONE).await;
        assert_eq!(outcome, (Err(Code::Unavailable), 3));
        let outcome = attempts(&layer, look(), (9, Status::not_found("no")), NONE).await;
        assert_eq!(outcome, (Err(Code::NotFound), 1), "another code");
    }

    #[tokio::test(start_paused = true)]
    async fn others_are_repeated_only_if_nobody_has_started_them() {
        let layer = RetryLayer::new();
        let outcome = attempts(&layer, buy(), (1, gone()), NONE).await;
        assert_eq!(outcome, (Err(Code::Unavailable), 1));
        let outcome = attempts(&layer, buy(), (1, gone().not_started()), NONE).await;
        assert_eq!(outcome, (Ok(()), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn methods_are_chosen_by_either_name() {
        for (name, calls) in [("Look", 2), ("shop.Shop.Look", 2), ("Buy", 1)] {
            let layer = RetryLayer::new().methods([name]);
            assert_eq!(
                attempts(&layer, look(), (1, gone()), NONE).await.1,
                calls,
                "{name}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_begins_after_the_deadline() {
        let layer = RetryLayer::new()
            .max_attempts(100)
            .backoff(Duration::from_secs(1), Duration::from_secs(1));
        let deadline = Deadline::after(Duration::from_millis(2500));
        let begin = tokio::time::Instant::now();
        let (outcome, calls) = attempts(&layer, look(), (99, gone()), deadline).await;
        assert_eq!(outcome, Err(Code::Unavailable));
        assert!((3..=5).contains(&calls), "{calls}");
        assert!(begin.elapsed() < Duration::from_millis(2500));
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_bounds_all_calls_together() {
        let layer = RetryLayer::new()
            .max_attempts(2)
            .budget(RetryBudget::new().min_per_second(0).max_ratio(0.5));
        let mut calls = 0;
        for _ in 0..20 {
            calls += attempts(&layer, look(), (0, gone()), NONE).await.1;
        }
        assert_eq!(calls, 20);
        let mut repeated = 0;
        for _ in 0..50 {
            repeated += attempts(&layer, look(), (9, gone()), NONE).await.1 - 1;
        }
        assert!(
            (5..=10).contains(&repeated),
            "{repeated} of 50 were retried, after 20 successful calls"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_attempt_may_have_started_stays_so() {
        let layer = RetryLayer::new().max_attempts(2);
        let calls = Arc::new(AtomicU32::new(0));
        let inner = BoxService::new(service_fn(move |_| {
            let is_first = calls.fetch_add(1, Ordering::Relaxed) == 0;
            let status = if is_first {
                gone()
            } else {
                gone().not_started()
            };
            async move { Err::<Response, _>(status) }
        }));
        let request = Request::with_head(look(), NONE, Metadata::new(), Bytes::new());
        let status = layer.layer(inner).oneshot(request).await.unwrap_err();
        assert!(!status.is_not_started());
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_stream_are_not_repeated() {
        let watch = SPEC.method(2);
        let outcome = attempts(&RetryLayer::new(), watch, (1, gone()), NONE).await;
        assert_eq!(outcome, (Err(Code::Unavailable), 1));
    }
}
