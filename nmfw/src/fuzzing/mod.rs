//! Fuzz targets: each function takes arbitrary bytes and panics if a property does not hold.
//!
//! `cargo fuzz` calls them through `fuzz/`. Tests run them for a while on any toolchain, from the
//! same seeds but without coverage guidance.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "fuzz targets panic like tests, and are public only with `cfg(fuzzing)`"
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
