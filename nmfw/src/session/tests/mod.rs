//! Tests of whole sessions.

mod codec;
mod hostile;
mod network;
mod random;
mod scenarios;
