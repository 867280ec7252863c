//! Everything that knows NATS.

pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod headers;
pub(crate) mod ready;
pub(crate) mod reply_subject;
pub(crate) mod send_budget;
pub(crate) mod server;
pub(crate) mod session;
pub(crate) mod subject;
pub(crate) mod unary;
