//! [`Request`]: a call on its way to a handler.

use std::{mem, sync::Arc};

use bytes::Bytes;
use smol_str::SmolStr;

use super::{
    body::Body, client_version::client_version, extensions::Extensions, origin::Origin,
    trace_context::TraceContext,
};
use crate::{Deadline, Metadata, Method};

/// A call on its way to a handler, independent of the message type.
#[derive(Debug)]
pub struct Request {
    pub(crate) method: Method,
    /// Boxed, because a request is moved between many futures.
    #[doc(hidden)]
    pub head: Box<Head>,
}

/// The data of a call without its body.
#[derive(Debug, Default)]
pub struct Head {
    pub body: Body,
    pub(crate) deadline: Deadline,
    pub(crate) metadata: Metadata,
    pub(crate) extensions: Extensions,
    /// Set on the server; `None` for local calls.
    pub origin: Option<Arc<Origin>>,
    pub client_version: Option<SmolStr>,
    pub trace: Option<Arc<TraceContext>>,
    pub(crate) encoding: Encoding,
}

/// The encoding of a call's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// Protobuf's binary format.
    #[default]
    Protobuf,
    /// Protobuf's JSON format.
    Json,
}

/// A [`Request`] without its body.
#[derive(Debug)]
pub struct Parts(Request);

impl Parts {
    /// Returns the called method.
    #[must_use]
    pub fn method(&self) -> Method {
        self.0.method
    }

    /// Returns the caller's metadata.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        self.0.metadata()
    }

    /// Returns the deadline of the call.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.0.deadline()
    }
}

impl Request {
    /// Creates a request without metadata and deadline: for a front, which takes calls from a wire,
    /// and for calls of any method on a [`Channel`](crate::Channel).
    ///
    /// The body is one message, or a stream if the method takes a stream.
    #[must_use]
    pub fn new(method: Method, body: impl Into<Body>) -> Self {
        Self::with_head(method, Deadline::NONE, Metadata::new(), body)
    }

    #[doc(hidden)]
    pub fn with_head(
        method: Method,
        deadline: Deadline,
        metadata: Metadata,
        body: impl Into<Body>,
    ) -> Self {
        let head = Head {
            body: body.into(),
            deadline,
            metadata,
            extensions: Extensions::default(),
            origin: None,
            client_version: None,
            trace: None,
            encoding: Encoding::Protobuf,
        };
        Self {
            method,
            head: Box::new(head),
        }
    }

    /// Returns a copy, or `None` if the messages come from a stream, which can be consumed only
    /// once.
    pub(crate) fn try_clone(&self) -> Option<Self> {
        let head = Head {
            body: self.body()?.clone().into(),
            deadline: self.head.deadline,
            metadata: self.head.metadata.clone(),
            extensions: self.head.extensions.clone(),
            origin: self.head.origin.clone(),
            client_version: self.head.client_version.clone(),
            trace: self.head.trace.clone(),
            encoding: self.head.encoding,
        };
        Some(Self {
            method: self.method,
            head: Box::new(head),
        })
    }

    /// Takes the body, leaving an empty one.
    #[doc(hidden)]
    pub fn take_body(&mut self) -> Body {
        mem::take(&mut self.head.body)
    }

    /// Splits the request, for a layer that replaces its body; [`from_parts`](Self::from_parts)
    /// joins the parts again.
    #[must_use]
    pub fn into_parts(mut self) -> (Parts, Body) {
        let body = self.take_body();
        (Parts(self), body)
    }

    /// Creates a request from its parts.
    #[must_use]
    pub fn from_parts(parts: Parts, body: impl Into<Body>) -> Self {
        let Parts(mut request) = parts;
        request.head.body = body.into();
        request
    }

    /// Returns the body for modification.
    pub fn body_mut(&mut self) -> &mut Body {
        &mut self.head.body
    }

    /// Sets the version of the calling service, for a front. A version that is not valid has no effect;
    /// a long one is shortened: see [`Context::client_version`](crate::Context::client_version).
    pub fn set_client_version(&mut self, version: &str) {
        self.head.client_version = client_version(version).map(SmolStr::new);
    }

    /// Returns the encoding of the messages.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.head.encoding
    }

    /// Sets the encoding of the messages, for a front. A service refuses an encoding that it does not
    /// support.
    pub fn set_encoding(&mut self, encoding: Encoding) {
        self.head.encoding = encoding;
    }

    /// Returns the called method.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// Returns the caller's metadata.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.head.metadata
    }

    /// Returns the caller's metadata for modification; a client's layer can add credentials, for
    /// example.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.head.metadata
    }

    /// Returns the deadline of the call.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.head.deadline
    }

    /// Makes the deadline earlier. A later one has no effect, because the caller would not wait for
    /// the response.
    pub fn limit_deadline(&mut self, deadline: Deadline) {
        self.head.deadline = self.head.deadline.earlier(deadline);
    }

    /// Returns the trace context of the call: as received on a server, or as sent in the layers of
    /// a client.
    #[must_use]
    pub fn trace_context(&self) -> Option<&TraceContext> {
        self.head.trace.as_deref()
    }

    /// Sets the trace context of the call, for tracing systems other than `tracing` with
    /// OpenTelemetry, for which this happens automatically.
    pub fn set_trace_context(&mut self, trace: TraceContext) {
        self.head.trace = Some(Arc::new(trace));
    }

    /// Returns the encoded message; `None` if the caller sends a [stream](Method::is_client_streaming)
    /// of messages.
    ///
    /// It may share a larger buffer: copy data that is kept for longer than the call.
    #[must_use]
    pub fn body(&self) -> Option<&Bytes> {
        self.head.body.message()
    }

    /// Returns the extensions set by other middleware.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.head.extensions
    }

    /// Returns the extensions for modification; handlers read them with
    /// [`Context::extension`](crate::Context::extension).
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.head.extensions
    }
}
