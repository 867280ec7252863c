//! Events of a session for its driver, and errors of sending.

use std::{cmp::Ordering, fmt};

use bytes::Bytes;
use smol_str::SmolStr;

use super::body::CallHead;
use crate::{Metadata, Status};
use nmfw_core::call::body::chunk::{Chunk, Row};

/// A call of a session. Numbers ascend and are never reused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamId {
    pub(super) number: u64,
    /// Where this side stores it: see [`super::stream_map`].
    pub(super) slot: u32,
}

impl PartialEq for StreamId {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for StreamId {}

impl PartialOrd for StreamId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for StreamId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number.cmp(&other.number)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

/// An event. Events of a stream are in the order in which the peer sent their causes.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The handshake is complete.
    Opened(Opened),
    /// A call at the service, with the index of its method in the session's list, and the only
    /// message of a method without a request stream if it has arrived as well, which then counts as
    /// taken. Otherwise that message is an event of its own.
    Call {
        stream: StreamId,
        method: usize,
        head: CallHead,
        message: Option<Bytes>,
    },
    /// The only message of a call of a method with a single answer, and the successful end of the
    /// call. Once the application has taken it, [`super::Session::release`] frees its memory.
    Answer { stream: StreamId, message: Bytes },
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
