//! Calling: [`Channel`], what generated clients stand on, and [`Call`], what their methods return.

mod call;
mod channel;
mod multiplexed;
mod nats;
mod ready;
mod replies;
mod transport;

pub use self::{call::Call, channel::Channel};
pub(crate) use self::{replies::Replies, transport::Transport};
