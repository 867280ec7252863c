//! The program, against the embedded broker and a real nats-server.
//!
//! The output of commands is compared with the files in `golden`. `NMFW_BLESS=1 cargo test -p
//! nmfw-cli --test cli` rewrites them; review the difference before committing.

#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "a test")]

mod bench;
mod calls;
mod deploy;
mod doctor;
mod foreign;
mod golden;
mod hostile;
mod mock;
mod new;
mod offline;
mod program;
mod record;
mod schemas;
mod services;
mod terminal;
