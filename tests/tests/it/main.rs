//! The integration tests: one program, a module for each subject.
//!
//! A test gets a program of its own, beside this one, only if it measures its process (its memory, its
//! log, its recorder of metrics or spans) or needs an attribute of the whole crate.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests, with helpers that .clippy.toml does not know as such"
)]

mod brokers;
mod calls;
mod connections;
mod discovery;
mod faults;
mod foreign;
mod generated;
mod harness;
mod hostile;
mod lifecycle;
mod permissions;
mod sessions;
mod streams;
