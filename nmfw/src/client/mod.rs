//! Calling: [`Channel`], what generated clients stand on, and [`Call`], what their methods return.

mod call;
mod channel;
pub(crate) mod generated;
mod local;
mod requests;
mod transport;

pub(crate) use self::transport::Transport;
pub use self::{
    call::{Answer, Call},
    channel::Channel,
    requests::Requests,
};
pub use crate::layer::{
    circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, CircuitOpen},
    hedge::{Hedge, HedgeLayer},
    rate_limit::{RateLimit, RateLimitLayer},
    retry::{RetryLayer, RetryPolicy},
};
