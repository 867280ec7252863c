//! The harness itself, and rules that the source keeps to.

mod brokers;
mod marks;
mod proxy;
