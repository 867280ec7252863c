//! Calling: [`Channel`], what generated clients stand on, and [`Call`], what their methods return.

mod apart;
mod base_mode;
mod call;
mod channel;
mod circuit;
pub(crate) mod generated;
mod hedge;
mod local;
mod multiplexed;
mod nats;
mod per_method;
mod rate_limit;
#[cfg(any(test, fuzzing))]
pub(crate) mod ready;
#[cfg(not(any(test, fuzzing)))]
mod ready;
mod replies;
mod requests;
mod retry;
mod send_budget;
mod transport;

pub(crate) use self::{apart::Apart, replies::Replies, transport::Transport};
pub use self::{
    call::{Answer, Call},
    channel::Channel,
    circuit::{CircuitBreaker, CircuitBreakerLayer, CircuitOpen},
    hedge::{Hedge, HedgeLayer},
    rate_limit::{RateLimit, RateLimitLayer},
    requests::Requests,
    retry::{RetryLayer, RetryPolicy},
};
