//! The integration tests: one program, a module for each subject.
//!
//! A test gets a program of its own, beside this one, only if it measures its process (its memory, its
//! log, its recorder of metrics or spans) or needs an attribute of the whole crate.

#![cfg(test)]

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
