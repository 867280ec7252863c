//! Conversion between spans of `tracing-opentelemetry` and the wire format.

use std::{str::FromStr, sync::Arc};

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::call::trace_context::TraceContext;

/// Makes a new span a child of the caller's span.
pub(super) fn set_parent(span: &Span, trace: &TraceContext) {
    if span.is_disabled() {
        return;
    }
    if let Some(parent) = span_context(trace) {
        // Fails if the subscriber is not OpenTelemetry's, which then needs no parent.
        _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

/// Returns the trace context of a span that was not entered yet or, if a filter hides it from
/// OpenTelemetry, of the enclosing one; `None` if neither is an OpenTelemetry span.
pub(super) fn trace_context(span: &Span) -> Option<Arc<TraceContext>> {
    of(&span.context()).or_else(|| of(&Span::current().context()))
}

fn of(context: &Context) -> Option<Arc<TraceContext>> {
    let span = context.span();
    let span = span.span_context();
    if !span.is_valid() {
        return None;
    }
    let traceparent = format!(
        "00-{}-{}-{:02x}",
        span.trace_id(),
        span.span_id(),
        span.trace_flags() & TraceFlags::SAMPLED
    );
    TraceContext::read(
        traceparent.as_bytes(),
        span.trace_state().header().as_bytes(),
    )
}

fn span_context(trace: &TraceContext) -> Option<SpanContext> {
    let mut parts = trace.traceparent().split('-').skip(1);
    let trace_id = TraceId::from_hex(parts.next()?).ok()?;
    let span_id = SpanId::from_hex(parts.next()?).ok()?;
    let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
    let state = trace.tracestate().map(TraceState::from_str);
    Some(SpanContext::new(
        trace_id,
        span_id,
        // Other flags are undefined, and must not be forwarded.
        TraceFlags::new(flags) & TraceFlags::SAMPLED,
        true,
        state.and_then(Result::ok).unwrap_or_default(),
    ))
}
