//! Fuzz targets: each function takes arbitrary bytes and panics if a property does not hold.
//!
//! `cargo fuzz` calls them through `fuzz/`. The tests here run them for a while on any toolchain,
//! from the same seeds but without coverage guidance.

mod decoder;
mod honest;
mod hostile;
mod input;
#[cfg(test)]
pub(crate) mod tests;

pub use self::{decoder::decoder, honest::honest, hostile::hostile};
