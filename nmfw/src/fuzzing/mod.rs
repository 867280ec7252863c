//! What is fuzzed: each function takes any bytes and panics if something is wrong.
//!
//! `cargo fuzz` calls them by way of `fuzz/`; tests do it for a while on any toolchain, without
//! guidance by coverage, from the same seeds.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "what is fuzzed panics as tests do, and is public with `cfg(fuzzing)` only"
)]

mod base;
mod discovery;
mod subjects;
#[cfg(test)]
mod tests;

pub use self::{
    base::{reply, request, trace},
    discovery::discovery,
    subjects::subject,
};
pub use crate::nats::{
    connection::fuzz::{context, servers},
    session::protocol::fuzz::{decoder, honest, hostile},
};
