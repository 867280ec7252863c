//! [`Body`]: the encoded content of a call in one direction: a message, or a stream of messages.

pub mod chunk;
pub mod encode;
pub(crate) mod streaming;
pub mod wire;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream::BoxStream};
use prost::Message;
use sync_wrapper::SyncWrapper;

use self::chunk::{Chunk, SMALL};
use crate::{Metadata, Status};

/// Maximum size of a message, unless a service sets another limit for requests: 16 MiB.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;

#[derive(Debug)]
pub enum Body {
    Message(Bytes),
    Messages(Messages),
}

impl Body {
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
    #[doc(hidden)]
    pub fn message(&self) -> Option<&Bytes> {
        match self {
            Self::Message(message) => Some(message),
            Self::Messages(_) => None,
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
/// further one.
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
