//! Shared harness of the integration tests: real servers, both brokers, faults, foreign clients.
//!
//! It is test code, but of a kind that others build on: what can fail returns a [`Failure`] that
//! says what to do, and what a test started is gone when the test is over, however it ended.

pub mod attacked;
pub mod broker;
pub mod calc;
pub mod cluster;
pub mod embedded;
pub mod failure;
mod fates;
pub mod foreign;
pub mod foreign_peer;
pub mod install;
pub mod instance;
pub mod log;
pub mod mirror;
pub mod nats_server;
pub mod packets;
pub mod permitted;
pub mod places;
pub mod ports;
pub mod probe;
pub mod protoc;
pub mod proxy;
pub mod puppet;
pub mod regions;
pub mod relay;
pub mod round_trip;
pub mod server;
pub mod server_log;
pub mod srv;
pub mod stream_load;
pub mod streams;
pub mod streams_process;
pub mod wait;

pub use broker::TestBroker;
pub use failure::Failure;
pub use ports::free_port;
pub use proxy::{Direction, Proxy};
pub use round_trip::round_trip;
pub use server::NatsServer;
pub use wait::eventually;
