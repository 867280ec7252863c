#![doc = include_str!("docs/trace.md")]

#[doc(inline)]
pub use nmfw_core::{TraceContext, TraceContextError};
