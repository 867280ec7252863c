//! Sessions: many calls between one client and one instance, in packets over two NATS subjects.

pub(crate) mod client;
pub(crate) mod driver;
pub(crate) mod protocol;
pub(crate) mod server;
