//! Clients: [`Channel`], the basis of generated clients, and [`Call`], which their methods return.

mod call;
mod channel;
mod exchange;
pub(crate) mod generated;
mod json;
mod requests;

pub use self::{
    call::{Answer, Call},
    channel::Channel,
    exchange::CallFuture,
    requests::Requests,
};
pub use crate::call::transport::{IntoTransport, Transport};
pub use crate::layer::{
    circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, CircuitOpen},
    hedge::{Hedge, HedgeLayer},
    rate_limit::{RateLimit, RateLimitLayer},
    retry::{Retry, RetryLayer},
    retry_budget::RetryBudget,
};
