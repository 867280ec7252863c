//! [`Response`]: a response on its way back to the caller.

use bytes::Bytes;

use super::body::{Body, Messages};
use crate::Metadata;

/// A response on its way back to the caller, independent of the message type.
#[derive(Debug)]
pub struct Response {
    #[doc(hidden)]
    pub metadata: Metadata,
    #[doc(hidden)]
    pub body: Body,
}

impl Response {
    /// Creates a response without metadata.
    #[must_use]
    pub fn new(body: Bytes) -> Self {
        Self::with_metadata(body, Metadata::new())
    }

    /// Creates a response with metadata.
    #[must_use]
    pub fn with_metadata(body: Bytes, metadata: Metadata) -> Self {
        let body = body.into();
        Self { metadata, body }
    }

    /// Creates a response with any body: one message, or a stream if the method returns a stream.
    #[must_use]
    pub fn with_body(body: impl Into<Body>, metadata: Metadata) -> Self {
        let body = body.into();
        Self { metadata, body }
    }

    /// Splits the response. The metadata that comes with the end of a stream is in the body: see
    /// [`MessageStream::trailers`](super::body::MessageStream::trailers).
    #[must_use]
    pub fn into_parts(self) -> (Metadata, Body) {
        (self.metadata, self.body)
    }

    /// Returns the body for modification.
    pub fn body_mut(&mut self) -> &mut Body {
        &mut self.body
    }

    /// Creates a response with a stream of messages.
    #[doc(hidden)]
    pub fn streaming(messages: Messages, metadata: Metadata) -> Self {
        let body = Body::Messages(messages);
        Self { metadata, body }
    }

    /// Returns the handler's metadata; for a stream, the part that is sent before the messages.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns the handler's metadata for modification.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    /// Returns the encoded message; `None` if the service sends a
    /// [stream](crate::Method::is_server_streaming) of messages, which has only begun.
    ///
    /// It may share a larger buffer: copy data that is kept for longer than the call.
    #[must_use]
    pub fn body(&self) -> Option<&Bytes> {
        self.body.message()
    }
}
