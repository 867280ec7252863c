//! Shared harness of the integration tests: real servers, both brokers, faults, foreign clients.
//!
//! It is test code, but of a kind that others build on: what can fail returns a [`Failure`] that
//! says what to do, and what a test started is gone when the test is over, however it ended.

pub mod brokers;
pub mod chosen;
pub mod failure;
pub mod faults;
pub mod foreign;
pub mod install;
pub mod log;
pub mod process;
pub mod round_trip;
pub mod services;
pub mod srv;
pub mod wait;

// The modules by their short names, which most tests use.
pub use brokers::{
    broker, cluster, embedded, nats_server, permitted, ports, probe, regions, server, server_log,
};
pub use faults::{foreign_peer, packets, proxy};
pub use services::{
    attacked, calc, instance, mirror, places, puppet, relay, stream_load, streams, streams_process,
};

pub use broker::TestBroker;
pub use chosen::chosen;
pub use failure::Failure;
pub use ports::free_port;
pub use proxy::{Direction, Proxy};
pub use round_trip::round_trip;
pub use server::NatsServer;
pub use wait::eventually;
