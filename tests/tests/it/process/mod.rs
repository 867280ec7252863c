//! What a process costs and reports as a whole: each test has a process of its own.

mod hostile_memory;
mod log_floods;
mod memory;
mod metrics;
mod session_idle;
mod stream_memory;
