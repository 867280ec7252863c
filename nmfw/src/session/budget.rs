//! [`Budget`]: what a session keeps for its peer, counted in one place.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::stream::Stream;
use crate::Status;

/// A peer that has taken nothing for this long, while answers wait that are half of what may, begins no
/// further calls.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// A peer that has taken nothing for this long since an answer had no room ends its session.
const GONE_AFTER: Duration = Duration::from_secs(10);

/// Bytes that are kept for the peer.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    /// Heads of calls whose message has not come.
    heads: u64,
    /// What waits in streams to be sent: messages, metadata and statuses, and heads of calls.
    outgoing: u64,
    /// The part of it on streams that have nothing more to say, such as answers: no backpressure holds
    /// that back.
    answers: u64,
    /// When the peer last acknowledged a packet or granted credit.
    taken_at: Instant,
    /// The time of the last look at the clock.
    clock: Instant,
    /// An answer had no room, and the peer has taken nothing since.
    has_refused: bool,
}

/// What may be kept, in bytes.
#[derive(Clone, Copy, Debug)]
struct Limits {
    heads: u64,
    /// Streams that have something to send already get no more beyond this.
    soft_outgoing: u64,
    /// Nobody does beyond this.
    outgoing: u64,
}

impl Budget {
    /// A budget of so many bytes for the whole session.
    pub(super) fn new(memory: u64, now: Instant) -> Self {
        Self {
            limits: Limits {
                heads: memory / 16,
                soft_outgoing: memory / 16,
                outgoing: memory / 8 * 5,
            },
            heads: 0,
            outgoing: 0,
            answers: 0,
            taken_at: now,
            clock: now,
            has_refused: false,
        }
    }

    /// Counts the head of a call that waits for its message.
    ///
    /// # Errors
    /// If too many wait.
    pub(super) fn add_head(&mut self, cost: u64) -> Result<(), Status> {
        if self.heads + cost > self.limits.heads {
            return Err(Status::resource_exhausted(format!(
                "calls whose messages have not come hold {} bytes of metadata: no more begin before \
                 some of them have come",
                self.heads
            )));
        }
        self.heads += cost;
        Ok(())
    }

    /// The head of a call is the application's, or gone.
    pub(super) fn remove_head(&mut self, cost: u64) {
        self.heads -= cost;
    }

    /// Lets a stream get or lose what it has to send, and counts that.
    pub(super) fn change<T>(
        &mut self,
        stream: &mut Stream,
        change: impl FnOnce(&mut Stream) -> T,
    ) -> T {
        let before = (stream.sending.held(), stream.sending.last_words());
        let outcome = change(stream);
        let after = (stream.sending.held(), stream.sending.last_words());
        self.outgoing = self.outgoing + after.0 - before.0;
        self.answers = self.answers + after.1 - before.1;
        outcome
    }

    /// A stream is gone, with whatever it had to send.
    pub(super) fn forget(&mut self, stream: &Stream) {
        self.outgoing -= stream.sending.held();
        self.answers -= stream.sending.last_words();
        self.heads -= stream.head;
    }

    /// Whether so many bytes more may wait to be sent, on a stream on which so many do already. What does
    /// not end its stream can wait elsewhere for less.
    pub(super) fn has_room(&self, cost: u64, own: u64) -> bool {
        let is_over = self.outgoing > 0 && self.outgoing + cost > self.limits.outgoing;
        !is_over && (own == 0 || self.outgoing <= self.limits.soft_outgoing)
    }

    /// Whether streams that had nothing to send and found no room may try again.
    pub(super) fn has_room_again(&self) -> bool {
        self.outgoing <= self.limits.outgoing / 2
    }

    /// Whether what waits leaves room for short ends only.
    pub(super) fn is_full(&self) -> bool {
        self.outgoing > self.limits.outgoing
    }

    /// Returns the error of an answer that has no room, and remembers that.
    pub(super) fn refuse_answer(&mut self) -> Status {
        self.has_refused = true;
        self.untaken("the caller takes none of its answers")
    }

    /// The peer has acknowledged a packet, or granted credit.
    pub(super) fn on_taken(&mut self, now: Instant) {
        self.taken_at = now;
        self.has_refused = false;
    }

    /// Checks that a call of the peer may begin.
    ///
    /// # Errors
    /// If it takes none of its answers.
    pub(super) fn check_answers(&self, now: Instant) -> Result<(), Status> {
        match self.answers > self.limits.outgoing / 2 && self.is_stalled(now) {
            true => Err(self.untaken("the caller takes none of its answers")),
            false => Ok(()),
        }
    }

    /// Checks that a call of this side may begin.
    ///
    /// # Errors
    /// If the peer takes none.
    pub(super) fn check_requests(&self) -> Result<(), Status> {
        match self.outgoing > self.limits.outgoing && self.is_stalled(self.clock) {
            true => Err(self.untaken("the instance takes no requests")),
            false => Ok(()),
        }
    }

    fn is_stalled(&self, now: Instant) -> bool {
        now >= self.taken_at + STALLED_AFTER
    }

    fn untaken(&self, what: &str) -> Status {
        let waiting = self.outgoing;
        Status::resource_exhausted(format!("{what}: {waiting} bytes wait for it"))
    }

    fn gone_at(&self) -> Option<Instant> {
        self.has_refused.then(|| self.taken_at + GONE_AFTER)
    }

    /// Notes what time it is, and says why the session has to end, if it has.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Status> {
        self.clock = now;
        let is_gone = self.gone_at().is_some_and(|at| now >= at);
        is_gone.then(|| self.untaken("the caller takes none of its answers"))
    }

    /// When [`Self::handle_timeout`] may have something to say.
    pub(super) fn timeout(&self) -> Option<Instant> {
        self.gone_at()
    }

    /// Nothing is kept any more.
    pub(super) fn clear(&mut self) {
        for count in [&mut self.heads, &mut self.outgoing, &mut self.answers] {
            mem::take(count);
        }
        self.has_refused = false;
    }
}

#[cfg(any(test, fuzzing))]
impl Budget {
    pub(super) fn heads(&self) -> u64 {
        self.heads
    }

    pub(super) fn outgoing(&self) -> u64 {
        self.outgoing
    }

    pub(super) fn answers(&self) -> u64 {
        self.answers
    }

    pub(super) fn most_heads(&self) -> u64 {
        self.limits.heads
    }

    pub(super) fn most_outgoing(&self) -> u64 {
        self.limits.outgoing
    }
}
