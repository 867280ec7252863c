//! Shared harness of the integration tests: real servers, both brokers, faults, foreign clients.
//!
//! Functions that can fail return a [`Failure`] with instructions, and everything that a test has
//! started is stopped at the end of the test, even if it fails.

pub mod brokers;
pub mod chosen;
pub mod failure;
pub mod faults;
pub mod foreign;
pub mod install;
pub mod log;
pub mod own_process;
pub mod process;
pub mod proto_text;
pub mod round_trip;
pub mod services;
pub mod srv;
pub mod wait;

// Re-exports of the modules that most tests use.
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
