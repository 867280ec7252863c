//! Tests of the harness itself, and of rules for the source.

mod brokers;
mod marks;
mod names;
mod proxy;
