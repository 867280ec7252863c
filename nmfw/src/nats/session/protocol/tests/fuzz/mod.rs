//! What is fuzzed: each function takes any bytes and panics if something is wrong.
//!
//! `cargo fuzz` calls them by way of `fuzz/`; the tests here do it for a while on any toolchain,
//! without guidance by coverage, from the same seeds.

mod decoder;
mod honest;
mod hostile;
mod input;
#[cfg(test)]
pub(crate) mod tests;

pub use self::{decoder::decoder, honest::honest, hostile::hostile};
