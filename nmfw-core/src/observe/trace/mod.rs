//! Tracing: the spans of calls, on both sides.

mod call;
#[cfg(feature = "otel")]
mod otel;

pub use self::call::{Attempts, CallSpan, SERVER as CALL};
pub(crate) use self::call::{Identity, Received, is_fault_of_service, is_listened_to};
