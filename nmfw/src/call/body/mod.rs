//! [`Body`]: what a call carries in one direction, encoded: a message, or a stream of them.

pub(crate) mod chunk;
pub(crate) mod encode;
pub(crate) mod streaming;
pub(crate) mod wire;

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

/// Largest message in bytes, unless a service sets another limit for requests: 16 MiB.
pub(crate) const MAX_MESSAGE: usize = 16 * 1024 * 1024;

#[derive(Debug)]
pub(crate) enum Body {
    Message(Bytes),
    Messages(Messages),
}

impl Body {
    /// Copies a small message, which may hold a packet with others that is larger by far.
    pub(crate) fn unshare(&mut self) {
        if let Self::Message(message) = self
            && message.len() < SMALL
        {
            *message = Bytes::copy_from_slice(message);
        }
    }

    /// The message; `None` if there is a stream of them.
    pub(crate) fn message(&self) -> Option<&Bytes> {
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

/// What is encoded in one piece of memory with its count of references, so that to share it takes no
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

/// Encodes a message that will be shared: kept to be sent again, while it is sent.
pub(crate) fn encode_to_share(message: &impl Message) -> Bytes {
    let mut bytes = [0; TINY];
    let mut rest = &mut bytes[..];
    match message.encode(&mut rest) {
        Ok(()) => {
            let len = TINY - rest.len();
            Bytes::from_owner(Tiny { bytes, len })
        }
        // It is larger.
        Err(_) => message.encode_to_vec().into(),
    }
}

type Trailers = Box<dyn FnOnce() -> Metadata + Send>;

/// Messages as they come, small ones in rows. The first error is the last item, and when the stream has ended, what it
/// was made of is dropped.
pub(crate) struct Messages {
    items: SyncWrapper<Option<BoxStream<'static, Result<Chunk, Status>>>>,
    /// Known when the stream has ended well.
    trailers: SyncWrapper<Option<Trailers>>,
}

impl Messages {
    pub(crate) fn new(items: impl Stream<Item = Result<Chunk, Status>> + Send + 'static) -> Self {
        Self {
            items: SyncWrapper::new(Some(items.boxed())),
            trailers: SyncWrapper::new(None),
        }
    }

    pub(crate) fn with_trailers(
        mut self,
        trailers: impl FnOnce() -> Metadata + Send + 'static,
    ) -> Self {
        self.trailers = SyncWrapper::new(Some(Box::new(trailers)));
        self
    }

    /// Puts something around the messages that sees each.
    pub(crate) fn wrap<S>(self, wrap: impl FnOnce(Self) -> S) -> Self
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

    /// Puts something around the messages in place.
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

    /// Drops what the stream is made of. It is over then.
    pub(crate) fn clear(&mut self) {
        *self.items.get_mut() = None;
    }

    /// What came with the end, once.
    pub(crate) fn take_trailers(&mut self) -> Metadata {
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
