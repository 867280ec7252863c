//! Serving: [`Service`] and its settings.

pub use crate::service::{
    client_id::ClientId,
    health::{Check, DEFAULT_HEALTH_INTERVAL, DEFAULT_HEALTH_TIMEOUT, Health, Serving},
    limits::{DEFAULT_CONCURRENCY, DEFAULT_QUEUE_BYTES, Limits},
    service::Service,
};
