//! [`Request`]: a call on its way to its handler.

use std::{mem, sync::Arc};

use bytes::Bytes;
use smol_str::SmolStr;

use super::{body::Body, extensions::Extensions, origin::Origin, trace_context::TraceContext};
use crate::{Deadline, Metadata, Method};

/// A call on its way to its handler: everything but the message's type.
#[derive(Debug)]
pub struct Request {
    pub(crate) method: Method,
    /// In a box, as it is moved from one future to the next a dozen times.
    pub(crate) head: Box<Head>,
}

/// What comes with a call.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) body: Body,
    pub(crate) deadline: Deadline,
    pub(crate) metadata: Metadata,
    pub(crate) extensions: Extensions,
    /// On the server, unless the call is local.
    pub(crate) origin: Option<Arc<Origin>>,
    pub(crate) client_version: Option<SmolStr>,
    pub(crate) trace: Option<Arc<TraceContext>>,
    pub(crate) encoding: Encoding,
}

/// How the messages of a call are encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// The binary format of protobuf.
    #[default]
    Protobuf,
    /// The JSON of protobuf.
    Json,
}

impl Request {
    pub(crate) fn new(
        method: Method,
        deadline: Deadline,
        metadata: Metadata,
        body: impl Into<Body>,
    ) -> Self {
        let head = Head {
            body: body.into(),
            deadline,
            metadata,
            ..Head::default()
        };
        Self {
            method,
            head: Box::new(head),
        }
    }

    /// The same again; `None` if its messages come from a stream, which can be taken once.
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

    /// What it carries, once.
    pub(crate) fn take_body(&mut self) -> Body {
        mem::take(&mut self.head.body)
    }

    /// The method that is called.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The caller's metadata.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.head.metadata
    }

    /// The caller's metadata, to add to: a client's layer can add credentials, say.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.head.metadata
    }

    /// When the call must be done.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.head.deadline
    }

    /// Makes the deadline earlier. A later one than the present one changes nothing: nobody would
    /// wait for the answer.
    pub fn limit_deadline(&mut self, deadline: Deadline) {
        self.head.deadline = self.head.deadline.earlier(deadline);
    }

    /// The trace that the call belongs to: on a server as it came, in the layers of a client as it
    /// goes.
    #[must_use]
    pub fn trace_context(&self) -> Option<&TraceContext> {
        self.head.trace.as_deref()
    }

    /// Sets the trace that the call belongs to: for tracing systems other than `tracing` with
    /// OpenTelemetry, to whose spans it goes by itself.
    pub fn set_trace_context(&mut self, trace: TraceContext) {
        self.head.trace = Some(Arc::new(trace));
    }

    /// The encoded message; `None` if the caller sends a [stream](Method::streams_requests) of them.
    ///
    /// It may lie in memory with much else: copy what is kept for longer than the call.
    #[must_use]
    pub fn body(&self) -> Option<&Bytes> {
        self.head.body.message()
    }

    /// What other middleware has left.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.head.extensions
    }

    /// Leaves something for the handler: [`Context::extension`](crate::Context::extension) reads it.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.head.extensions
    }
}
