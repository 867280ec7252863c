//! What a session tells its driver, and what it refuses.

use std::fmt;

use bytes::Bytes;
use smol_str::SmolStr;

use super::body::CallHead;
use crate::{Metadata, Status};
use nmfw_core::call::body::chunk::{Chunk, Row};

/// A call of a session. Numbers ascend and are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct StreamId(pub(super) u64);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What happened. Events of a stream come in the order in which their causes were sent.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The handshake is done.
    Opened(Opened),
    /// A service is called: the method at this place of those that the session was made with.
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
    /// A whole message. Once the application has taken it, [`super::Session::consume`] lets the
    /// peer send more.
    Message { stream: StreamId, message: Bytes },
    /// Several of them, for which the same holds.
    Row { stream: StreamId, row: Row },
    /// The caller sends no more messages; the service may still.
    End { stream: StreamId },
    /// The stream is over, in both directions. For a caller it is the outcome, with trailers if
    /// it is good. For a service it is always an error: the caller or the session went away.
    ///
    /// It comes exactly once for each stream, unless this side ended the stream itself.
    Finished {
        stream: StreamId,
        outcome: Result<Metadata, Status>,
    },
    /// A stream that was full takes messages again.
    Writable { stream: StreamId },
    /// The service wants no more calls on this session. Those that it will not serve are finished
    /// as not started, those under way go on.
    GoAway,
    /// After `go_away` every call is done and its outcome has arrived: nothing is lost by closing.
    Drained,
    /// The session is over; it is the last event. `None` if a side closed it in good order.
    Closed(Option<Status>),
}

/// What is known of the peer after the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// The service's instance; empty on the service's side.
    pub(crate) instance: String,
    /// What may be called; empty on the service's side, or if the service has too many methods
    /// for the list to fit into a packet.
    pub(crate) methods: Vec<SmolStr>,
    /// Calls that may be open at a time.
    pub(crate) max_streams: usize,
    /// Largest message that may be sent.
    pub(crate) max_message: usize,
}

/// A packet to publish to the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transmit {
    pub(crate) packet: Bytes,
    /// Publish it with this side's own subject as the reply: the peer learns it in the handshake,
    /// and later the NATS server answers there if the peer has no subscription any more.
    pub(crate) with_reply: bool,
}

/// Why a message was not taken.
#[derive(Clone, Debug)]
pub(crate) enum SendError {
    /// The stream buffers enough already. Here it is back; try again after
    /// [`Event::Writable`].
    Full(Chunk),
    /// The stream takes no messages, or no more of them.
    Ended,
    /// The message is larger than a side takes. The stream has ended with this status, on both
    /// sides.
    TooLarge(Status),
}
