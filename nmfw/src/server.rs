//! Servers: [`Server`] and its settings.
//!
#![doc = include_str!("docs/overload.md")]

pub use crate::{
    nats::server::{
        DEFAULT_GRACE, Server,
        handle::{Ending, Running, ServedService},
    },
    service::{
        health::{Check, DEFAULT_HEALTH_INTERVAL, DEFAULT_HEALTH_TIMEOUT, Health, Serving},
        limits::{DEFAULT_CONCURRENCY, DEFAULT_QUEUE_BYTES, Limits},
        service::Service,
    },
};
