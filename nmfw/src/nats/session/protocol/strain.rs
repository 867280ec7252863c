//! [`Strain`]: bounds useless work that a peer causes.
//!
//! A call that is reset before it was answered has started and stopped its handler for nothing, and
//! a frame without an effect still has to be decoded. A peer that sends many of them per answered
//! call, faster than any caller that cancels calls, loses its session. HTTP/2 servers defend
//! against *rapid resets* in the same way.

use std::time::Instant;

use super::bucket::Bucket;
use crate::Status;

/// Cost of a frame or packet without an effect.
const NOTHING: i64 = 1;

/// Cost of a useless call.
const CALL: i64 = 16;

/// Capacity, as a number of useless calls at once: several times those of a client whose thousands
/// of callers cancel at the same moment.
const CAPACITY: i64 = 10_000 * CALL;

/// The permitted rate of useless calls, without any that is answered.
const PER_SECOND: i64 = 2_000 * CALL;

/// The useless work caused by the peer.
#[derive(Debug)]
pub(super) struct Strain {
    bucket: Bucket,
    is_over: bool,
}

impl Default for Strain {
    fn default() -> Self {
        Self {
            bucket: Bucket::new(CAPACITY, CAPACITY, PER_SECOND),
            is_over: false,
        }
    }
}

impl Strain {
    /// Records a frame or packet without an effect.
    pub(super) fn on_nothing(&mut self, now: Instant) {
        self.take(NOTHING, now);
    }

    /// Records several frames or packets without an effect.
    pub(super) fn on_nothings(&mut self, count: u32, now: Instant) {
        self.take(NOTHING * i64::from(count), now);
    }

    /// Records a call that was reset before it was answered.
    pub(super) fn on_reset(&mut self, now: Instant) {
        self.take(CALL, now);
    }

    /// Records a call that cannot be executed, but will seem to be answered.
    pub(super) fn on_useless_call(&mut self, now: Instant) {
        self.take(2 * CALL, now);
    }

    /// Records an answered call.
    pub(super) fn on_answer(&mut self) {
        self.bucket.earn(CALL);
    }

    fn take(&mut self, tokens: i64, now: Instant) {
        self.bucket.take(tokens, now);
        self.is_over |= !self.bucket.has_any(now);
    }

    /// Returns the error with which the session has to end, if any.
    pub(super) fn excess(&self) -> Option<Status> {
        self.is_over.then(|| {
            Status::resource_exhausted(format!(
                "the peer resets calls before they are answered, or sends frames without an \
                 effect, faster than a session allows: the limit is {} such calls at once and {} \
                 per second, in addition to one per answered call",
                CAPACITY / CALL,
                PER_SECOND / CALL
            ))
        })
    }
}
