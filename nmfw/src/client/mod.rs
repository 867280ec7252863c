//! Calling: [`Channel`], what generated clients stand on, and [`Call`], what their methods return.

mod call;
mod channel;
mod multiplexed;
mod nats;
mod per_method;
mod ready;
mod replies;
mod requests;
mod retry;
mod transport;

pub use self::{
    call::{Answer, Call},
    channel::Channel,
    requests::Requests,
    retry::{RetryLayer, RetryPolicy},
};
pub(crate) use self::{replies::Replies, transport::Transport};
