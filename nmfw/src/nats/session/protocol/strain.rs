//! [`Strain`]: work that a peer causes and that is of no use to anybody.
//!
//! A call that is reset before it was answered has had its handler start and stop for nothing, and a
//! frame that says nothing is read all the same. A peer that sends many of them for each call that is
//! answered, faster than any caller who gives up, ends its session. Servers of HTTP/2 defend themselves
//! against *rapid resets* in the same way.

use std::time::Instant;

use super::bucket::Bucket;
use crate::Status;

/// What a frame or packet takes that says nothing.
const NOTHING: i64 = 1;

/// What a call takes that was for nothing.
const CALL: i64 = 16;

/// As many calls at once may be for nothing: those of a client whose thousands of callers give up at the
/// same moment, several times over.
const MOST: i64 = 10_000 * CALL;

/// And as many in each second, without any that is answered.
const PER_SECOND: i64 = 2_000 * CALL;

/// What the peer has this side do for nothing.
#[derive(Debug)]
pub(super) struct Strain {
    bucket: Bucket,
    is_over: bool,
}

impl Default for Strain {
    fn default() -> Self {
        Self {
            bucket: Bucket::new(MOST, MOST, PER_SECOND),
            is_over: false,
        }
    }
}

impl Strain {
    /// A frame or packet that says nothing has come.
    pub(super) fn on_nothing(&mut self, now: Instant) {
        self.take(NOTHING, now);
    }

    /// Several of them have come.
    pub(super) fn on_nothings(&mut self, count: u32, now: Instant) {
        self.take(NOTHING * i64::from(count), now);
    }

    /// A call was reset that had not been answered.
    pub(super) fn on_reset(&mut self, now: Instant) {
        self.take(CALL, now);
    }

    /// A call has come that cannot be carried out, and will seem to be answered.
    pub(super) fn on_useless_call(&mut self, now: Instant) {
        self.take(2 * CALL, now);
    }

    /// A call was answered.
    pub(super) fn on_answer(&mut self) {
        self.bucket.earn(CALL);
    }

    fn take(&mut self, tokens: i64, now: Instant) {
        self.bucket.take(tokens, now);
        self.is_over |= !self.bucket.has_any(now);
    }

    /// Why the session has to end, if it has.
    pub(super) fn excess(&self) -> Option<Status> {
        self.is_over.then(|| {
            Status::resource_exhausted(format!(
                "the peer resets calls before they are answered, or sends frames that say nothing, \
                 faster than a session allows: {} such calls at once, and {} a second beyond those that \
                 are answered",
                MOST / CALL,
                PER_SECOND / CALL
            ))
        })
    }
}
