//! The log lines of services and clients about their peers. The number of lines is limited for the
//! whole process, so no other test may cause them.

#![cfg(test)]

mod clocks;
mod jetstream;
