//! Tracing: the spans of calls, on both sides.

mod call;
#[cfg(feature = "otel")]
mod otel;

#[cfg(feature = "cli")]
pub(crate) use self::call::SERVER as CALL;
pub(crate) use self::call::{
    Attempts, CallSpan, Identity, Received, is_fault_of_service, is_listened_to,
};
