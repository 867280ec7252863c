//! Calls with one message each way.

mod bad_input;
mod concurrency;
mod json;
mod limits;
mod local;
mod metadata;
mod middleware;
mod one_thread;
mod pinned;
mod queue_bytes;
mod redispatch;
mod reply_subjects;
mod same_everywhere;
mod settings;
mod small_payload;
mod trace_context;
mod unary;
