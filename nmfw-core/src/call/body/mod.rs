//! [`Body`]: the encoded content of a call in one direction: a message, or a stream of messages.

pub mod chunk;
pub mod encode;
pub(crate) mod stream_sender;
pub(crate) mod streaming;
pub mod wire;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{
    Stream, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use prost::Message;
use sync_wrapper::SyncWrapper;

use self::chunk::{Chunk, Row, SMALL};
use crate::{Metadata, Status};

/// Maximum size of a message, unless a service sets another limit for requests: 16 MiB.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// The encoded messages of a call in one direction: one message, or a stream of messages.
///
/// A layer can replace the messages:
///
/// ```
/// use bytes::Bytes;
/// use nmfw::{Status, middleware::{Next, Request, Response}};
///
/// async fn decompress(mut request: Request, next: Next) -> Result<Response, Status> {
///     request.body_mut().map(|message| inflate(message));
///     next.run(request).await
/// }
/// # fn inflate(message: Bytes) -> Result<Bytes, Status> { Ok(message) }
/// ```
#[derive(Debug)]
pub enum Body {
    #[doc(hidden)]
    Message(Bytes),
    #[doc(hidden)]
    Messages(Messages),
}

impl Body {
    /// Creates a body with a stream of messages. An error ends the stream.
    #[must_use]
    pub fn from_stream(
        messages: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
    ) -> Self {
        Self::Messages(Messages::new(messages.map_ok(Chunk::Message)))
    }

    /// Adds the metadata that is sent with the end of a stream. `trailers` is called after the last
    /// message. Has no effect on one message.
    #[must_use]
    pub fn with_trailers(self, trailers: impl FnOnce() -> Metadata + Send + 'static) -> Self {
        match self {
            Self::Message(_) => self,
            Self::Messages(messages) => Self::Messages(messages.with_trailers(trailers)),
        }
    }

    /// Returns whether the body is a stream.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        matches!(self, Self::Messages(_))
    }

    /// Returns the messages as a stream. One message is a stream of one.
    #[must_use]
    pub fn into_stream(self) -> MessageStream {
        let messages = match self {
            Self::Message(message) => Messages::new(stream::iter([Ok(Chunk::Message(message))])),
            Self::Messages(messages) => messages,
        };
        MessageStream {
            messages,
            row: Row::default(),
        }
    }

    /// Replaces each message. An error ends a stream; as the only message, it becomes a stream that
    /// fails.
    pub fn map(&mut self, map: impl FnMut(Bytes) -> Result<Bytes, Status> + Send + 'static) {
        let mut map = map;
        match std::mem::take(self) {
            Self::Message(message) => {
                *self = match map(message) {
                    Ok(message) => Self::Message(message),
                    Err(status) => Self::from_stream(stream::iter([Err(status)])),
                };
            }
            Self::Messages(messages) => {
                *self = Self::Messages(messages.wrap(|messages| {
                    let row = Row::default();
                    let messages = MessageStream { messages, row };
                    messages.map(move |message| Ok(Chunk::Message(map(message?)?)))
                }));
            }
        }
    }

    /// Copies a small message, which could otherwise keep a much larger packet alive.
    #[doc(hidden)]
    pub fn unshare(&mut self) {
        if let Self::Message(message) = self
            && message.len() < SMALL
        {
            *message = Bytes::copy_from_slice(message);
        }
    }

    /// Returns the message, or `None` for a stream.
    #[must_use]
    pub fn message(&self) -> Option<&Bytes> {
        match self {
            Self::Message(message) => Some(message),
            Self::Messages(_) => None,
        }
    }
}

/// The messages of a [`Body`], one after the other. The first error ends it.
#[derive(Debug)]
pub struct MessageStream {
    messages: Messages,
    /// The rest of the last row.
    row: Row,
}

impl MessageStream {
    /// Returns the metadata that came with the end of the stream, once the stream has ended without
    /// an error. The trailers of an error are in [`Status::metadata`].
    pub fn trailers(&mut self) -> Metadata {
        self.messages.take_trailers()
    }
}

impl Stream for MessageStream {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(message) = this.row.pop() {
                return Poll::Ready(Some(Ok(message)));
            }
            match ready!(this.messages.poll_next_unpin(cx)) {
                Some(Ok(Chunk::Message(message))) => return Poll::Ready(Some(Ok(message))),
                Some(Ok(Chunk::Row(row))) => this.row = row,
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// An empty message.
impl Default for Body {
    fn default() -> Self {
        Self::Message(Bytes::new())
    }
}

impl From<Bytes> for Body {
    fn from(message: Bytes) -> Self {
        Self::Message(message)
    }
}

/// Size up to which a message is allocated together with its reference count, so that sharing it
/// needs no further allocation.
const TINY: usize = 96;

struct Tiny {
    bytes: [u8; TINY],
    len: usize,
}

impl AsRef<[u8]> for Tiny {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Encodes a message that will be shared, because it is kept for resending while it is sent.
pub(crate) fn encode_to_share(message: &impl Message) -> Bytes {
    let mut bytes = [0; TINY];
    let mut rest = &mut bytes[..];
    match message.encode(&mut rest) {
        Ok(()) => {
            let len = TINY - rest.len();
            Bytes::from_owner(Tiny { bytes, len })
        }
        // The message is larger.
        Err(_) => message.encode_to_vec().into(),
    }
}

type Trailers = Box<dyn FnOnce() -> Metadata + Send>;

/// A stream of messages, small ones in rows. An error is the last item. When the stream has ended,
/// its source is dropped.
pub struct Messages {
    items: SyncWrapper<Option<BoxStream<'static, Result<Chunk, Status>>>>,
    /// Known once the stream has ended without an error.
    trailers: SyncWrapper<Option<Trailers>>,
}

impl Messages {
    pub fn new(items: impl Stream<Item = Result<Chunk, Status>> + Send + 'static) -> Self {
        Self {
            items: SyncWrapper::new(Some(items.boxed())),
            trailers: SyncWrapper::new(None),
        }
    }

    pub fn with_trailers(mut self, trailers: impl FnOnce() -> Metadata + Send + 'static) -> Self {
        self.trailers = SyncWrapper::new(Some(Box::new(trailers)));
        self
    }

    /// Wraps the stream of messages.
    pub fn wrap<S>(self, wrap: impl FnOnce(Self) -> S) -> Self
    where
        S: Stream<Item = Result<Chunk, Status>> + Send + 'static,
    {
        let Self { items, trailers } = self;
        let inner = Self {
            items,
            trailers: SyncWrapper::new(None),
        };
        Self {
            items: SyncWrapper::new(Some(wrap(inner).boxed())),
            trailers,
        }
    }

    /// Wraps the stream of messages in place.
    pub(crate) fn wrap_with<S>(&mut self, wrap: impl FnOnce(Self) -> S)
    where
        S: Stream<Item = Result<Chunk, Status>> + Send + 'static,
    {
        let over = Self {
            items: SyncWrapper::new(None),
            trailers: SyncWrapper::new(None),
        };
        *self = std::mem::replace(self, over).wrap(wrap);
    }

    /// Ends the stream and drops its source.
    pub(crate) fn clear(&mut self) {
        *self.items.get_mut() = None;
    }

    /// Returns the trailers. Later calls return nothing.
    pub fn take_trailers(&mut self) -> Metadata {
        let trailers = self.trailers.get_mut().take();
        trailers.map(|take| take()).unwrap_or_default()
    }
}

impl Stream for Messages {
    type Item = Result<Chunk, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let slot = self.items.get_mut();
        let Some(items) = slot else {
            return Poll::Ready(None);
        };
        let item = ready!(items.poll_next_unpin(cx));
        if !matches!(item, Some(Ok(_))) {
            *slot = None;
        }
        Poll::Ready(item)
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("messages")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn layers_read_and_replace_messages() {
        let shout = |message: Bytes| match message.len() {
            0 => Err(Status::data_loss("an empty message")),
            _ => Ok(Bytes::from(message.to_ascii_uppercase())),
        };
        let mut body = Body::from(Bytes::from_static(b"a"));
        body.map(shout);
        assert_eq!(body.message().unwrap(), "A");
        let row = Row::of(&["a", "b", "c"]);
        let chunks = [Ok(Chunk::from(row)), Ok(Bytes::from_static(b"d").into())];
        let mut body = Body::Messages(Messages::new(stream::iter(chunks))).with_trailers(|| {
            let mut trailers = Metadata::new();
            trailers.insert("sum", "4").unwrap();
            trailers
        });
        body.map(shout);
        assert!(body.is_stream());
        let mut messages = body.into_stream();
        let all: Vec<_> = messages.by_ref().map(Result::unwrap).collect().await;
        assert_eq!(all, ["A", "B", "C", "D"]);
        assert_eq!(messages.trailers().get("sum"), Some("4"));
        let mut body = Body::from_stream(stream::iter(["a", ""].map(|m| Ok(Bytes::from(m)))));
        body.map(shout);
        let all: Vec<_> = body.into_stream().collect().await;
        assert_eq!(all[0].as_ref().unwrap(), "A");
        assert_eq!(all[1].as_ref().unwrap_err().message(), "an empty message");
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn messages_of_all_sizes_are_encoded_alike() {
        for len in [
            0,
            1,
            TINY - 3,
            TINY - 2,
            TINY - 1,
            TINY,
            TINY + 1,
            10 * TINY,
        ] {
            let message = "m".repeat(len);
            assert_eq!(encode_to_share(&message), message.encode_to_vec(), "{len}");
        }
    }
}
