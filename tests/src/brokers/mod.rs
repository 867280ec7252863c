//! Brokers of both kinds, alone and connected, and the ports that they listen on.

pub mod broker;
pub mod cluster;
pub mod embedded;
pub mod nats_server;
pub mod permitted;
pub mod ports;
pub mod probe;
pub mod regions;
pub mod server;
pub mod server_log;
