//! Tests of whole sessions, and helpers shared with fuzzing.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "fuzz targets panic like tests, and are public only with `cfg(fuzzing)`"
)]

#[cfg(test)]
mod assembly;
mod budgets;
#[cfg(test)]
mod codec;
#[cfg(test)]
mod forgotten;
pub mod fuzz;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod life;
mod model;
pub(super) mod network;
#[cfg(test)]
mod packing;
#[cfg(test)]
mod random;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod windows;
