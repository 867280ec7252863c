//! Services and their callers, in the test's process and in separate processes.

pub mod attacked;
pub mod calc;
mod fates;
pub mod instance;
pub mod mirror;
pub mod places;
pub mod puppet;
pub mod relay;
pub mod stream_load;
pub mod streams;
pub mod streams_process;
