//! [`Response`]: an answer on its way back.

use bytes::Bytes;

use super::body::{Body, Messages};
use crate::Metadata;

/// A call's answer on its way back: everything but the message's type.
#[derive(Debug)]
pub struct Response {
    #[doc(hidden)]
    pub metadata: Metadata,
    #[doc(hidden)]
    pub body: Body,
}

impl Response {
    /// An answer without metadata.
    #[must_use]
    pub fn new(body: Bytes) -> Self {
        Self::with_metadata(body, Metadata::new())
    }

    /// An answer with metadata.
    #[must_use]
    pub fn with_metadata(body: Bytes, metadata: Metadata) -> Self {
        let body = body.into();
        Self { metadata, body }
    }

    /// An answer of many messages.
    #[doc(hidden)]
    pub fn streaming(messages: Messages, metadata: Metadata) -> Self {
        let body = Body::Messages(messages);
        Self { metadata, body }
    }

    /// The handler's metadata. Of a stream, what goes ahead of it.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The handler's metadata, to add to.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    /// The encoded message; `None` if the service sends a [stream](Method::streams_responses) of
    /// them, which has only begun.
    ///
    /// It may lie in memory with much else: copy what is kept for longer than the call.
    #[must_use]
    pub fn body(&self) -> Option<&Bytes> {
        self.body.message()
    }
}
