//! [`SessionHalf`]: the session's end of a stream.

use std::{mem, sync::Arc, time::Instant};

use super::{SendBatch, StreamIo, lock};
use crate::{
    Metadata, Status,
    nats::session::protocol::{SendError, Session, StreamId},
};
use nmfw_core::call::body::chunk::Chunk;

/// The session's end of a stream.
#[derive(Debug)]
pub(crate) struct SessionHalf {
    pub(crate) io: Arc<StreamIo>,
    /// Messages that the session has no room for yet.
    waiting: SendBatch,
    /// Number of bytes sent on the stream at the last check.
    sent: u64,
}

/// The end of this side's messages.
#[derive(Debug)]
pub(crate) enum Ended {
    No,
    /// All were passed to the session; for a service, the call has ended.
    Finished,
    /// The messages ended with the application's own error.
    Failed,
    /// A message of the application cannot be sent.
    Refused {
        status: Status,
        /// Whether the application had sent everything.
        was_done: bool,
    },
}

impl SessionHalf {
    pub(crate) fn new(io: Arc<StreamIo>) -> Self {
        Self {
            io,
            waiting: SendBatch::default(),
            sent: 0,
        }
    }

    /// Returns whether the session has no room for pending messages.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.chunks.is_empty()
    }

    /// Checks whether the peer has accepted anything since the last call.
    pub(crate) fn look(&mut self, session: &Session, stream: StreamId, now: Instant) {
        let sent = session.sent(stream);
        if mem::replace(&mut self.sent, sent) != sent {
            self.io.goes_on(now);
        }
    }

    pub(crate) fn on_headers(&self, metadata: Metadata) {
        self.io.put(|inbox| inbox.headers = Some(metadata));
    }

    /// Queues received messages; if the application has dropped its end, they are reported as
    /// taken.
    pub(crate) fn on_chunk(&self, session: &mut Session, stream: StreamId, chunk: Chunk) {
        let tally = chunk.tally();
        let mut is_dropped = false;
        self.io.put(|inbox| {
            is_dropped = inbox.is_dropped;
            if !is_dropped {
                inbox.chunks.push_back(chunk);
                inbox.received += 1;
            }
        });
        if is_dropped {
            session.consume(stream, tally);
        }
    }

    /// Grants the peer credit for taken messages.
    ///
    /// Returns whether the application has dropped its end.
    pub(crate) fn on_taken(&self, session: &mut Session, stream: StreamId) -> bool {
        let (taken, is_dropped) = {
            let mut inbox = lock(&self.io.inbox);
            inbox.is_notified = false;
            (mem::take(&mut inbox.taken), inbox.is_dropped)
        };
        if taken.messages > 0 {
            session.consume(stream, taken);
        }
        is_dropped
    }

    /// Accepts a batch from the application. There is one at a time; only the last may arrive
    /// before another is sent, after the deadline.
    pub(crate) fn on_batch(
        &mut self,
        session: &mut Session,
        stream: StreamId,
        batch: SendBatch,
    ) -> Ended {
        if self.waiting.chunks.is_empty() {
            self.waiting = batch;
        } else {
            self.waiting.chunks.extend(batch.chunks);
            self.waiting.end = batch.end;
        }
        self.push(session, stream)
    }

    /// Passes as much to the session as it has room for.
    pub(crate) fn push(&mut self, session: &mut Session, stream: StreamId) -> Ended {
        let SendBatch { chunks, end } = &mut self.waiting;
        let was_empty = chunks.is_empty() && end.is_none();
        while let Some(chunk) = chunks.pop_front() {
            // An end without trailers is sent with the last message.
            let is_last =
                chunks.is_empty() && matches!(end, Some(Ok(trailers)) if trailers.is_empty());
            match session.send(stream, chunk, is_last) {
                Ok(()) if is_last => {
                    *end = None;
                    return Ended::Finished;
                }
                Ok(()) => {}
                Err(SendError::Full(chunk)) => {
                    chunks.push_front(chunk);
                    return Ended::No;
                }
                Err(SendError::Ended) => {
                    self.waiting = SendBatch::default();
                    self.io.finish_outbox();
                    return Ended::No;
                }
                Err(SendError::TooLarge(status)) => {
                    let was_done = end.is_some();
                    self.waiting = SendBatch::default();
                    self.io.finish(Err(status.clone()));
                    return Ended::Refused { status, was_done };
                }
            }
        }
        match end.take() {
            None => {
                if !was_empty {
                    self.io.batch_taken();
                }
                Ended::No
            }
            Some(Ok(trailers)) if trailers.is_empty() => {
                session.finish(stream);
                Ended::Finished
            }
            Some(Ok(trailers)) => {
                session.send_status(stream, Ok(&trailers));
                Ended::Finished
            }
            Some(Err(status)) => {
                self.end(session, stream, &status);
                Ended::Failed
            }
        }
    }

    /// Ends the stream, because a message of the application cannot be sent.
    pub(crate) fn fail(
        &mut self,
        session: &mut Session,
        stream: StreamId,
        status: Status,
    ) -> Ended {
        self.end(session, stream, &status);
        let was_done = false;
        Ended::Refused { status, was_done }
    }

    fn end(&mut self, session: &mut Session, stream: StreamId, status: &Status) {
        self.waiting = SendBatch::default();
        if session.is_server() {
            session.send_status(stream, Err(status));
        } else {
            session.reset(stream, status);
        }
        self.io.finish(Err(status.clone()));
    }
}
