//! Streams of messages.

mod ends;
mod kinds;
mod liveness;
mod sizes;
