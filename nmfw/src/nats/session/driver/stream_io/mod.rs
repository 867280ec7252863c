//! [`Lane`]: the messages of one call between the application, which polls and waits, and the task
//! of its session, which does neither.
//!
//! Towards the application messages lie in a queue that the stream's window bounds: credit for them
//! goes to the peer when the application has taken them. Towards the session one batch is on its
//! way at a time; the next is asked of the application when the session has taken it.

mod incoming;
mod outgoing;
mod port;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Waker},
    time::Instant,
};

pub(crate) use self::{
    incoming::{Incoming, trailers},
    outgoing::Outgoing,
    port::{Ended, Port},
};
use crate::{
    Metadata, Status,
    nats::session::protocol::{Session, StreamId},
};
use nmfw_core::call::body::chunk::{Chunk, Tally};

#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// Set when the session has begun the stream.
    stream: OnceLock<StreamId>,
    inbox: Mutex<Inbox>,
    outbox: Mutex<Outbox>,
}

/// From the session to the application.
#[derive(Debug, Default)]
struct Inbox {
    chunks: VecDeque<Chunk>,
    headers: Option<Metadata>,
    /// The end, with trailers if it is good.
    outcome: Option<Result<Metadata, Status>>,
    waker: Option<Waker>,
    /// What the application has taken since the peer got credit for it.
    taken: Tally,
    /// The session has been told to look at `taken`.
    is_told: bool,
    /// Nobody takes any more.
    is_dropped: bool,
    /// Chunks that have come.
    received: u64,
}

/// From the application to the session.
#[derive(Debug, Default)]
struct Outbox {
    /// A batch is on its way: since when, or since the peer has last taken anything meanwhile.
    busy_since: Option<Instant>,
    /// Batches that were given to the session.
    batches: u64,
    /// The peer wants no more.
    is_over: bool,
    waker: Option<Waker>,
}

/// What the application says on a lane.
#[derive(Debug)]
pub(crate) enum Flow {
    Headers(Metadata),
    Batch(Batch),
    /// Look at what was taken, and whether anybody takes.
    Taken,
}

/// Messages to send, and the end if it is near.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    chunks: VecDeque<Chunk>,
    end: Option<Result<Metadata, Status>>,
}

/// A side's command for a lane.
#[derive(Debug)]
pub(crate) struct LaneCommand {
    pub(crate) lane: Arc<Lane>,
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

/// Keeps the waker of who polls.
fn park(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *slot = Some(cx.waker().clone()),
    }
}

// The session's side.
impl Lane {
    pub(crate) fn stream(&self) -> Option<StreamId> {
        self.stream.get().copied()
    }

    /// Begins; a lane is of one stream.
    pub(crate) fn begin(&self, stream: StreamId) {
        _ = self.stream.set(stream);
    }

    /// Lets the session know what was taken of a stream that is over.
    pub(crate) fn release(&self, session: &mut Session, stream: StreamId) {
        let taken = {
            let mut inbox = lock(&self.inbox);
            inbox.is_told = false;
            std::mem::take(&mut inbox.taken)
        };
        session.consume(stream, taken);
    }

    fn put(&self, change: impl FnOnce(&mut Inbox)) {
        let waker = {
            let mut inbox = lock(&self.inbox);
            change(&mut inbox);
            inbox.waker.take()
        };
        wake(waker);
    }

    /// The stream has ended, or the peer has said its last. What has come before is still there.
    pub(crate) fn finish_inbox(&self, outcome: Result<Metadata, Status>) {
        self.put(|inbox| {
            inbox.outcome.get_or_insert(outcome);
        });
    }

    /// The application need send no more.
    pub(crate) fn finish_outbox(&self) {
        let waker = {
            let mut outbox = lock(&self.outbox);
            outbox.is_over = true;
            outbox.waker.take()
        };
        wake(waker);
    }

    /// The stream is over in both directions.
    pub(crate) fn finish(&self, outcome: Result<Metadata, Status>) {
        self.finish_inbox(outcome);
        self.finish_outbox();
    }

    /// Since when the peer has taken nothing of what the application wants to send, if that is so.
    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        lock(&self.outbox).busy_since
    }

    /// A number that grows with all that either side says.
    pub(crate) fn progress(&self) -> u64 {
        let received = lock(&self.inbox).received;
        received + lock(&self.outbox).batches
    }

    /// A batch goes to the session, which may have no room for all of it.
    fn batch_given(&self, now: Instant) {
        let mut outbox = lock(&self.outbox);
        outbox.busy_since = Some(now);
        outbox.batches += 1;
    }

    /// The peer has taken something of a batch.
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
