//! Events of a session for its driver, and errors of sending.

use std::fmt;

use bytes::Bytes;
use smol_str::SmolStr;

use super::body::CallHead;
use crate::{Metadata, Status};
use nmfw_core::call::body::chunk::{Chunk, Row};

/// A call of a session. Numbers ascend and are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct StreamId(pub(super) u64);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An event. Events of a stream are in the order in which the peer sent their causes.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The handshake is complete.
    Opened(Opened),
    /// A call at the service, with the index of its method in the session's list.
    Call {
        stream: StreamId,
        method: usize,
        head: CallHead,
    },
    /// Metadata of an answer; at most once, and before the first message.
    Headers {
        stream: StreamId,
        metadata: Metadata,
    },
    /// A whole message. Once the application has taken it, [`super::Session::consume`] grants the
    /// peer more credit.
    Message { stream: StreamId, message: Bytes },
    /// Several messages, for which [`super::Session::consume`] grants credit in the same way.
    Row { stream: StreamId, row: Row },
    /// The caller sends no more messages; the service still may.
    End { stream: StreamId },
    /// The stream has ended in both directions. For a caller, this is the outcome, with trailers if
    /// it is not an error. For a service, it is always an error, because the caller or the session
    /// is gone.
    ///
    /// This event occurs exactly once per stream, unless this side ended the stream itself.
    Finished {
        stream: StreamId,
        outcome: Result<Metadata, Status>,
    },
    /// A stream that was full accepts messages again.
    Writable { stream: StreamId },
    /// The service wants no more calls on this session. Calls that it will not serve end as not
    /// started; those in flight continue.
    GoAway,
    /// After `go_away`, all calls have ended and their outcomes were received: closing loses
    /// nothing.
    Drained,
    /// The session has ended; this is the last event. `None` if a side closed it normally.
    Closed(Option<Status>),
}

/// The peer's properties after the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// The service's instance; empty on the service's side.
    pub(crate) instance: String,
    /// The methods that may be called; empty on the service's side, or if the list does not fit
    /// into a packet.
    pub(crate) methods: Vec<SmolStr>,
    /// Maximum number of open calls.
    pub(crate) max_streams: usize,
    /// Maximum size of a message.
    pub(crate) max_message: usize,
}

/// A packet to publish to the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transmit {
    pub(crate) packet: Bytes,
    /// Whether to publish it with this side's subject as the reply: the peer receives the subject
    /// in the handshake, and later the NATS server reports "no responders" there if the peer has no
    /// subscription.
    pub(crate) with_reply: bool,
}

/// The reason why a message was not accepted.
#[derive(Clone, Debug)]
pub(crate) enum SendError {
    /// The stream's buffer is full. Contains the message, to be sent again after
    /// [`Event::Writable`].
    Full(Chunk),
    /// The stream accepts no messages, or no more of them.
    Ended,
    /// The message exceeds a side's limit. The stream has ended with this status on both sides.
    TooLarge(Status),
}
