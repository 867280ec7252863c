//! [`Streaming`]: a stream of a call's messages.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt, stream, stream::BoxStream};
use prost::{DecodeError, Message};
use sync_wrapper::SyncWrapper;

use super::{
    Body, Messages,
    chunk::{Chunk, Row, SMALL},
};
use crate::{Metadata, Method, Status};

#[doc = include_str!("../../docs/streaming.md")]
pub struct Streaming<T> {
    source: SyncWrapper<Source<T>>,
    metadata: Metadata,
    trailers: Metadata,
}

enum Source<T> {
    /// The messages of a call, to be decoded.
    Messages {
        messages: Messages,
        /// The undecoded rest of the last row.
        row: Row,
        decode: Decode<T>,
        /// Makes the status for a message that cannot be decoded.
        invalid: fn(Method, DecodeError) -> Status,
        method: Method,
    },
    Items(BoxStream<'static, Result<T, Status>>),
    Over,
}

/// Decoders for a message in a row, and for a single message, which may keep parts of its buffer.
struct Decode<T> {
    in_row: fn(&[u8]) -> Result<T, DecodeError>,
    alone: fn(Bytes) -> Result<T, DecodeError>,
}

impl<T> Streaming<T> {
    /// Creates one from any stream, to return from a handler or to pass to one in a test.
    pub fn new(items: impl Stream<Item = Result<T, Status>> + Send + 'static) -> Self {
        Self {
            source: SyncWrapper::new(Source::Items(items.boxed())),
            metadata: Metadata::new(),
            trailers: Metadata::new(),
        }
    }

    /// Returns the next message, or `None` after the last one.
    ///
    /// This method is cancel safe: no message is lost if the future is dropped.
    ///
    /// # Errors
    /// Returns the status that the stream ended with. The stream is empty afterwards.
    pub async fn message(&mut self) -> Result<Option<T>, Status> {
        self.next().await.transpose()
    }

    /// Returns the metadata that the service sent before its messages. In a handler, the caller's
    /// metadata is in [`Context::metadata`](crate::Context::metadata).
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns the trailers that the service sent at the end. Empty until the stream has returned
    /// `None`; trailers of an error are in [`Status::metadata`].
    #[must_use]
    pub fn trailers(&self) -> &Metadata {
        &self.trailers
    }

    pub(crate) fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }
}

impl<T> Stream for Streaming<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let source = self.source.get_mut();
        let item = match source {
            Source::Messages {
                messages,
                row,
                decode,
                invalid,
                method,
            } => {
                let decoded = match row.read_first(decode.in_row) {
                    Some(decoded) => Some(Ok(decoded)),
                    None => match ready!(messages.poll_next_unpin(cx)) {
                        Some(Ok(Chunk::Message(message))) => Some(Ok((decode.alone)(message))),
                        Some(Ok(Chunk::Row(next))) => {
                            *row = next;
                            row.read_first(decode.in_row).map(Ok)
                        }
                        Some(Err(status)) => Some(Err(status)),
                        None => None,
                    },
                };
                decoded.map(|decoded| {
                    decoded.and_then(|decoded| decoded.map_err(|error| invalid(*method, error)))
                })
            }
            Source::Items(items) => ready!(items.poll_next_unpin(cx)),
            Source::Over => None,
        };
        if !matches!(item, Some(Ok(_))) {
            let source = std::mem::replace(source, Source::Over);
            if let (Source::Messages { mut messages, .. }, None) = (source, &item) {
                self.trailers = messages.take_trailers();
            }
        }
        Poll::Ready(item)
    }
}

// No field is structurally pinned.
impl<T> Unpin for Streaming<T> {}

impl<T: Send + 'static> From<Vec<T>> for Streaming<T> {
    fn from(messages: Vec<T>) -> Self {
        Self::new(stream::iter(messages.into_iter().map(Ok)))
    }
}

impl<T> fmt::Debug for Streaming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streaming")
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}

/// Decodes a message. Unless it may share a packet with others, the result can keep parts of its
/// buffer.
fn decode<T: Message + Default>(message: Bytes) -> Result<T, DecodeError> {
    if message.len() < SMALL {
        T::decode(Copied(&message))
    } else {
        T::decode(message)
    }
}

/// Bytes to be copied when decoded. Faster than a slice, whose `copy_to_bytes` uses a growable
/// buffer.
struct Copied<'a>(&'a [u8]);

impl Buf for Copied<'_> {
    fn remaining(&self) -> usize {
        self.0.len()
    }

    fn chunk(&self) -> &[u8] {
        self.0
    }

    fn advance(&mut self, count: usize) {
        self.0.advance(count);
    }

    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        let (front, rest) = self.0.split_at(len);
        self.0 = rest;
        Bytes::copy_from_slice(front)
    }
}

/// The type of a method's request or response: a message, or a stream of messages.
pub trait Payload: Sized {
    #[doc(hidden)]
    fn from_body(body: Encoded, method: Method, reader: ReadingSide) -> Result<Self, Status>;
}

/// A [`Body`] in the signature of a public trait, which it seals.
#[derive(Debug)]
pub struct Encoded(pub(crate) Body);

/// The side that reads a message, which determines the status for an invalid one.
#[derive(Clone, Copy, Debug)]
pub enum ReadingSide {
    Service,
    Client,
}

impl ReadingSide {
    fn invalid(self) -> fn(Method, DecodeError) -> Status {
        match self {
            Self::Service => |method, error| {
                let text = format!("the request is not a valid message for {method}: {error}");
                Status::invalid_argument(text).with_source(error)
            },
            Self::Client => |method, error| {
                let text = format!("the response of {method} is not a valid message: {error}");
                Status::internal(text).with_source(error)
            },
        }
    }
}

impl<T: Message + Default> Payload for T {
    fn from_body(body: Encoded, method: Method, reader: ReadingSide) -> Result<Self, Status> {
        match body.0 {
            Body::Message(message) => {
                decode(message).map_err(|error| reader.invalid()(method, error))
            }
            Body::Messages(_) => Err(Status::internal(format!(
                "{method} takes a single message in this direction, but got a stream"
            ))),
        }
    }
}

impl<T: Message + Default + 'static> Payload for Streaming<T> {
    fn from_body(body: Encoded, method: Method, reader: ReadingSide) -> Result<Self, Status> {
        match body.0 {
            Body::Messages(messages) => Ok(Self {
                source: SyncWrapper::new(Source::Messages {
                    messages,
                    row: Row::default(),
                    decode: Decode {
                        in_row: |message| T::decode(Copied(message)),
                        alone: decode,
                    },
                    invalid: reader.invalid(),
                    method,
                }),
                metadata: Metadata::new(),
                trailers: Metadata::new(),
            }),
            Body::Message(_) => Err(Status::internal(format!(
                "{method} takes a stream in this direction, but got a single message"
            ))),
        }
    }
}
