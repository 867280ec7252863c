//! Servers and programs from start to stop.

mod runner;
mod server;
