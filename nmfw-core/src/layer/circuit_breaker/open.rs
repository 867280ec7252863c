//! [`CircuitOpen`]: the error of a refused call, for programs.

use std::{error::Error as StdError, fmt, time::Duration};

use tokio::time::Instant;

use super::state::{Refusal, Rules};
use crate::{Method, Status};

/// The error of a call that was refused because its circuit is open. It is the
/// [source](std::error::Error::source) of the status that a
/// [`CircuitBreakerLayer`](super::CircuitBreakerLayer) returns.
///
/// ```
/// use nmfw::{Status, client::CircuitOpen};
///
/// fn advice(status: &Status) -> String {
///     match CircuitOpen::of(status) {
///         Some(open) => format!("try again in {:?}", open.retry_after()),
///         None => "try something else".to_owned(),
///     }
/// }
/// # assert_eq!(advice(&Status::unavailable("gone")), "try something else");
/// ```
#[derive(Clone, Debug)]
pub struct CircuitOpen {
    method: Method,
    retry_after: Duration,
    text: String,
}

impl CircuitOpen {
    pub(crate) fn new(method: Method, refusal: Refusal, rules: &Rules, now: Instant) -> Self {
        let Refusal { until, why } = refusal;
        let retry_after = until.map(|until| until.saturating_duration_since(now));
        let state = match retry_after {
            Some(left) => format!("open for another {} ms", left.as_millis().max(1)),
            None => "half-open with all of its calls in flight".to_owned(),
        };
        let text = format!(
            "{method} was not called: its circuit is {state}, because {} of {} calls within {:?} \
             failed, the last one with {}",
            why.tally.failed,
            why.tally.calls,
            rules.window,
            why.last.name(),
        );
        Self {
            method,
            retry_after: retry_after.unwrap_or_default(),
            text,
        }
    }

    /// Returns the error from the status of a call, if the call was refused for this reason.
    #[must_use]
    pub fn of(status: &Status) -> Option<&Self> {
        StdError::source(status)?.downcast_ref()
    }

    /// Returns the method whose call was refused.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// Returns how long the circuit stays open; zero if it is half-open, when closing depends on
    /// calls in flight.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }
}

impl fmt::Display for CircuitOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for CircuitOpen {}

impl From<CircuitOpen> for Status {
    fn from(open: CircuitOpen) -> Self {
        Self::unavailable(open.text.clone())
            // Not started: the layer does not pass the call on.
            .not_started()
            .with_source(open)
    }
}
