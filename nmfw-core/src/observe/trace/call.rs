//! The spans of calls: [`CallSpan`], which records the end of its call and counts its messages.
//!
//! Code that creates a span checks first whether a subscriber is interested. A span that is
//! disabled, for instance by a filter, does nothing.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt};
use tracing::{Span, field::display, level_filters::LevelFilter, span::Entered};

use crate::{
    Code, Method, Status,
    call::{
        body::{Body, Messages, chunk::Chunk},
        trace_context::TraceContext,
    },
    escape::Escaped,
};

/// The targets of the spans, so that a filter can enable them independently of events.
pub const SERVER: &str = "nmfw::call";
const CLIENT: &str = "nmfw::client_call";

/// Returns whether a subscriber is interested in spans of calls, with one atomic load.
#[inline]
pub(crate) fn is_listened_to() -> bool {
    tracing::Level::INFO <= LevelFilter::current()
}

/// `<package>.<Service>/<Method>`, as in the conventions for RPC.
struct RpcMethod(Method);

impl fmt::Display for RpcMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.service().proto_name(), self.0.name())
    }
}

/// Creates a span of either side, with the common fields.
macro_rules! call_span {
    ($target:expr, $name:literal, $kind:literal, $method:expr, $($more:tt)*) => {
        tracing::info_span!(
            target: $target,
            $name,
            otel.kind = $kind,
            otel.name = %RpcMethod($method),
            otel.status_code = tracing::field::Empty,
            otel.status_description = tracing::field::Empty,
            rpc.system.name = "nmfw",
            rpc.method = %RpcMethod($method),
            rpc.response.status_code = tracing::field::Empty,
            error.type = tracing::field::Empty,
            nmfw.messages.sent = tracing::field::Empty,
            nmfw.messages.received = tracing::field::Empty,
            $($more)*
        )
    };
}

/// Maximum length of a message in the description of a span, in bytes.
const MAX_DESCRIPTION: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// The identity of a service's instance in spans.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity<'a> {
    pub(crate) address: &'a str,
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) id: &'a str,
}

/// The span of a call, from its start to its end.
#[derive(Debug)]
pub struct CallSpan {
    span: Span,
    side: Side,
    /// Number of messages from the caller, if they are a stream.
    requests: Option<Arc<AtomicU64>>,
    /// Number of messages from the service, if they are a stream.
    responses: Option<u64>,
    is_over: bool,
}

impl CallSpan {
    /// Creates the span of a call to a service with that base subject. It is a child of the current
    /// span, or else of the span of the handler on whose behalf the call is made.
    pub(crate) fn client(method: Method, base: Option<&str>, handler: Option<&Span>) -> Self {
        let make = || {
            call_span!(
                CLIENT,
                "client_call",
                "client",
                method,
                server.address = base,
                nmfw.resends = tracing::field::Empty,
            )
        };
        let span = match handler {
            Some(handler) if Span::current().is_none() => handler.in_scope(make),
            _ => make(),
        };
        Self::new(span, Side::Client, method)
    }

    /// Creates the span of a call with this trace context, to an instance of a service with that
    /// base subject and id. Without a trace context, it is a child of the current span.
    pub(crate) fn server(
        method: Method,
        instance: &Identity<'_>,
        trace: Option<&TraceContext>,
    ) -> Self {
        let span = call_span!(
            SERVER,
            "server_call",
            "server",
            method,
            server.address = instance.address,
            service.name = instance.name,
            service.version = instance.version,
            service.instance.id = instance.id,
        );
        #[cfg(feature = "otel")]
        if let Some(trace) = trace {
            crate::observe::trace::otel::set_parent(&span, trace);
        }
        #[cfg(not(feature = "otel"))]
        let _ = trace;
        Self::new(span, Side::Server, method)
    }

    fn new(span: Span, side: Side, method: Method) -> Self {
        let is_on = !span.is_disabled();
        Self {
            requests: (is_on && method.is_client_streaming()).then(Arc::default),
            responses: (is_on && method.is_server_streaming()).then_some(0),
            is_over: !is_on,
            side,
            span,
        }
    }

    /// Returns the trace context for calls made in this span, if it is an OpenTelemetry span.
    pub(crate) fn trace_context(&self) -> Option<Arc<TraceContext>> {
        #[cfg(feature = "otel")]
        return crate::observe::trace::otel::trace_context(&self.span);
        #[cfg(not(feature = "otel"))]
        None
    }

    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    pub(crate) fn enter(&self) -> Entered<'_> {
        self.span.enter()
    }

    /// Counts the messages of a streaming caller as they are read, inside the span.
    pub(crate) fn count_requests(&self, body: &mut Body) {
        if let (Some(count), Body::Messages(messages)) = (&self.requests, body) {
            let (count, span) = (Arc::clone(count), self.span.clone());
            messages.wrap_with(|messages| Counted {
                messages,
                count,
                span,
            });
        }
    }

    /// Counts an item of a response stream, or its end.
    pub(crate) fn answer(&mut self, item: Option<&Result<Chunk, Status>>) {
        match item {
            Some(Ok(chunk)) => {
                if let Some(count) = &mut self.responses {
                    *count += chunk.tally().messages as u64;
                }
            }
            Some(Err(status)) => self.end(Err(status)),
            None => self.end(Ok(())),
        }
    }

    /// Records the end of the call, once, and closes the span.
    pub(crate) fn end(&mut self, outcome: Result<(), &Status>) {
        if !self.is_over {
            let outcome = outcome.map_err(|status| (status.code(), status.message()));
            self.note(outcome);
        }
    }

    fn note(&mut self, outcome: Result<(), (Code, &str)>) {
        self.is_over = true;
        let span = std::mem::replace(&mut self.span, Span::none());
        let code = outcome.err().map_or(Code::Ok, |(code, _)| code);
        span.record("rpc.response.status_code", code.name());
        if let Err((code, message)) = outcome
            && (self.side == Side::Client || is_fault_of_service(code))
        {
            span.record("error.type", code.name());
            span.record("otel.status_code", "ERROR");
            let message = Escaped::up_to(message, MAX_DESCRIPTION);
            span.record("otel.status_description", display(message));
        }
        let requests = self.requests.as_ref();
        let requests = requests.map(|count| count.load(Ordering::Relaxed));
        let [sent, received] = match self.side {
            Side::Client => [requests, self.responses],
            Side::Server => [self.responses, requests],
        };
        if let Some(sent) = sent {
            span.record("nmfw.messages.sent", sent);
        }
        if let Some(received) = received {
            span.record("nmfw.messages.received", received);
        }
    }
}

/// Records the call as cancelled unless its end was recorded.
impl Drop for CallSpan {
    fn drop(&mut self) {
        if !self.is_over {
            self.note(Err((Code::Cancelled, "the call was dropped")));
        }
    }
}

/// Returns whether an error is a failure of the service. The caller causes other errors. The
/// distinction is that of OpenTelemetry's conventions for gRPC.
pub(crate) fn is_fault_of_service(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

#[derive(Debug)]
/// The number of sends of a call, recorded in its span.
pub struct Attempts(pub u32);

impl Drop for Attempts {
    fn drop(&mut self) {
        if self.0 > 1 {
            // The call's own span, unless a layer has created an inner one.
            Span::current().record("nmfw.resends", self.0 - 1);
        }
    }
}

/// The messages of a caller.
struct Counted {
    messages: Messages,
    count: Arc<AtomicU64>,
    span: Span,
}

impl Stream for Counted {
    type Item = Result<Chunk, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let _entered = this.span.enter();
        let polled = this.messages.poll_next_unpin(cx);
        if let Poll::Ready(Some(Ok(chunk))) = &polled {
            let messages = chunk.tally().messages as u64;
            this.count.fetch_add(messages, Ordering::Relaxed);
        }
        polled
    }
}

/// The messages for a caller: the call lasts until their end.
pub(crate) struct Received {
    messages: Messages,
    call: CallSpan,
}

impl Received {
    pub(crate) fn new(messages: Messages, call: CallSpan) -> Self {
        Self { messages, call }
    }
}

impl Stream for Received {
    type Item = Result<Chunk, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let polled = {
            let _entered = this.call.enter();
            this.messages.poll_next_unpin(cx)
        };
        if let Poll::Ready(item) = &polled {
            this.call.answer(item.as_ref());
        }
        polled
    }
}
