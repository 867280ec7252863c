//! Servers: [`Server`] and its settings.
//!
#![doc = include_str!("docs/overload.md")]

pub use nmfw_core::server::{
    Check, ClientId, DEFAULT_CONCURRENCY, DEFAULT_HEALTH_INTERVAL, DEFAULT_HEALTH_TIMEOUT,
    DEFAULT_QUEUE_BYTES, Health, Limits, Service, Serving,
};

pub use crate::nats::server::{
    DEFAULT_GRACE, Server,
    handle::{Ending, Running, ServedService},
};
