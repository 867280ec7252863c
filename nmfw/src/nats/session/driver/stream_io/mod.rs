//! The messages of one call between the application, which polls and waits, and the task of its
//! session, which does neither.
//!
//! Received messages are kept in a queue that is bounded by the stream's window: the peer gets
//! credit when the application has taken them. Messages to be sent are passed in one batch at a
//! time; the next batch is requested when the session has taken the previous one.

mod incoming;
mod outgoing;
mod session_half;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Waker},
    time::Instant,
};

pub(crate) use self::{
    incoming::{Incoming, trailers},
    outgoing::Outgoing,
    session_half::{Ended, SessionHalf},
};
use crate::{
    Metadata, Status,
    nats::session::protocol::{Session, StreamId},
};
use nmfw_core::call::body::chunk::{Chunk, Tally};

#[derive(Debug, Default)]
pub(crate) struct StreamIo {
    /// Set when the session has started the stream.
    stream: OnceLock<StreamId>,
    inbox: Mutex<ReceiveQueue>,
    outbox: Mutex<SendQueue>,
}

/// From the session to the application.
#[derive(Debug, Default)]
struct ReceiveQueue {
    chunks: VecDeque<Chunk>,
    headers: Option<Metadata>,
    /// The end of the stream, with trailers if it is not an error.
    outcome: Option<Result<Metadata, Status>>,
    waker: Option<Waker>,
    /// Messages that the application has taken since the peer last got credit.
    taken: Tally,
    /// Whether the session was notified of `taken`.
    is_notified: bool,
    /// Whether the application has dropped its end.
    is_dropped: bool,
    /// Number of received chunks.
    received: u64,
}

/// From the application to the session.
#[derive(Debug, Default)]
struct SendQueue {
    /// While a batch is pending: the time when it was passed, or of the peer's last progress.
    busy_since: Option<Instant>,
    /// Number of batches passed to the session.
    batches: u64,
    /// Whether the peer wants no more messages.
    is_over: bool,
    waker: Option<Waker>,
}

/// A command of the application for a stream.
#[derive(Debug)]
pub(crate) enum Flow {
    Headers(Metadata),
    Batch(SendBatch),
    /// Check which messages were taken, and whether the application has dropped its end.
    Taken,
}

/// Messages to send, with the end if it follows them.
#[derive(Debug, Default)]
pub(crate) struct SendBatch {
    chunks: VecDeque<Chunk>,
    end: Option<Result<Metadata, Status>>,
}

/// A side's command for a stream.
#[derive(Debug)]
pub(crate) struct StreamCommand {
    pub(crate) io: Arc<StreamIo>,
    pub(crate) flow: Flow,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Stores the waker of the polling task.
fn park(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *slot = Some(cx.waker().clone()),
    }
}

// The session's side.
impl StreamIo {
    pub(crate) fn stream(&self) -> Option<StreamId> {
        self.stream.get().copied()
    }

    /// Starts the stream.
    pub(crate) fn begin(&self, stream: StreamId) {
        _ = self.stream.set(stream);
    }

    /// Reports messages taken of an ended stream to the session.
    pub(crate) fn release(&self, session: &mut Session, stream: StreamId) {
        let taken = {
            let mut inbox = lock(&self.inbox);
            inbox.is_notified = false;
            std::mem::take(&mut inbox.taken)
        };
        session.consume(stream, taken);
    }

    fn put(&self, change: impl FnOnce(&mut ReceiveQueue)) {
        let waker = {
            let mut inbox = lock(&self.inbox);
            change(&mut inbox);
            inbox.waker.take()
        };
        wake(waker);
    }

    /// Ends the received side. Messages that arrived before can still be read.
    pub(crate) fn finish_inbox(&self, outcome: Result<Metadata, Status>) {
        self.put(|inbox| {
            inbox.outcome.get_or_insert(outcome);
        });
    }

    /// Records that the application need not send more.
    pub(crate) fn finish_outbox(&self) {
        let waker = {
            let mut outbox = lock(&self.outbox);
            outbox.is_over = true;
            outbox.waker.take()
        };
        wake(waker);
    }

    /// Ends the stream in both directions.
    pub(crate) fn finish(&self, outcome: Result<Metadata, Status>) {
        self.finish_inbox(outcome);
        self.finish_outbox();
    }

    /// Returns since when the peer has accepted none of the pending messages, if there are any.
    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        lock(&self.outbox).busy_since
    }

    /// Returns a number that increases with every message in either direction.
    pub(crate) fn progress(&self) -> u64 {
        let received = lock(&self.inbox).received;
        received + lock(&self.outbox).batches
    }

    /// Records a batch passed to the session, which may not have room for all of it.
    fn batch_given(&self, now: Instant) {
        let mut outbox = lock(&self.outbox);
        outbox.busy_since = Some(now);
        outbox.batches += 1;
    }

    /// Records that the peer has accepted part of a batch.
    fn goes_on(&self, now: Instant) {
        if let Some(since) = &mut lock(&self.outbox).busy_since {
            *since = now;
        }
    }

    fn batch_taken(&self) {
        let waker = {
            let mut outbox = lock(&self.outbox);
            outbox.busy_since = None;
            outbox.waker.take()
        };
        wake(waker);
    }
}
