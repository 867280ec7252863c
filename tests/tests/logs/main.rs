//! What services and clients log of their peers. Lines are limited for the whole process, so that no
//! other test may cause them.

#![cfg(test)]

mod clocks;
mod jetstream;
