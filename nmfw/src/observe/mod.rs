//! Metrics and spans of calls.

pub mod metrics;
pub(crate) mod trace;
