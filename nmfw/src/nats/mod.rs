//! The NATS implementation of connections, transports and servers.

pub mod async_nats;
pub(crate) mod attempts;
pub(crate) mod channel;
mod client_id;
pub(crate) mod connection;
pub(crate) mod context;
pub(crate) mod headers;
pub(crate) mod ready;
pub(crate) mod reply_subject;
#[cfg(feature = "json")]
pub(crate) mod schema;
mod schema_message;
pub(crate) mod send_budget;
pub(crate) mod server;
pub(crate) mod session;
pub(crate) mod subject;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod transport;
pub(crate) mod unary;
