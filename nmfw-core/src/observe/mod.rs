//! Metrics and spans of calls.

pub mod metrics;
pub mod trace;
