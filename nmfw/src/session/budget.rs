//! [`Budget`]: what a session keeps for its peer, counted in one place.

use crate::Status;

/// Heads of calls whose message has not come, in bytes: 4 KiB for each of 1,024 calls. An honest client
/// sends most messages right behind their heads.
pub(super) const MAX_HEADS: u64 = 4 * 1024 * 1024;

/// Bytes that are kept for the peer.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// Heads of calls whose message has not come.
    heads: u64,
}

impl Budget {
    /// Counts the head of a call that waits for its message.
    ///
    /// # Errors
    /// If too many wait.
    pub(super) fn add_head(&mut self, cost: u64) -> Result<(), Status> {
        if self.heads + cost > MAX_HEADS {
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
}

#[cfg(any(test, fuzzing))]
impl Budget {
    pub(super) fn heads(&self) -> u64 {
        self.heads
    }
}
