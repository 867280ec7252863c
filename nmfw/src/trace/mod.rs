//! Tracing: the trace context that goes with calls, and the spans of both sides.

mod call;
#[cfg(feature = "otel")]
mod otel;
mod trace_context;

#[cfg(feature = "cli")]
pub(crate) use self::call::SERVER as CALL;
pub(crate) use self::call::{
    Attempts, CallSpan, Received, current_span, is_fault_of_service, is_listened_to,
};
pub use self::trace_context::{TraceContext, TraceContextError};
