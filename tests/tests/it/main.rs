//! The integration tests: one program, a module for each subject.
//!
//! A test that measures its process (its memory, its log, its recorder of metrics) is started by this
//! program in a process of its own: see `process`. A test gets a program of its own, beside this one, only
//! if it measures times or needs an attribute of the whole crate, or if all tests of a file share something
//! that a process has once.

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
mod process;
mod sessions;
mod streams;
