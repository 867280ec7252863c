//! The harness itself.

mod brokers;
mod proxy;
