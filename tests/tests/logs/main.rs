//! What services and clients log of their peers. Lines are limited for the whole process, so that no
//! other test may cause them.

#![allow(
    clippy::unwrap_used,
    reason = "tests, with helpers that .clippy.toml does not know as such"
)]

mod clocks;
mod jetstream;
