//! [`Refusal`]: the NATS server's reason for refusing a connection.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use super::server_message;

/// The power of two by which one violation lowers the largest payload: to a quarter, so that few
/// violations are needed to get from nats-server's default to the limit of the smallest accounts.
const STEP: u32 = 2;

/// After this number of steps, a `max_payload` of 64 MiB, nats-server's maximum, is reduced to 16
/// bytes.
const MAX_STEPS: u32 = 11;

/// The server's reason for closing the connection or refusing a new one, and the reduction of the
/// largest payload relative to its announcement.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    words: Mutex<Option<String>>,
    /// Number of reductions of the largest payload.
    steps: AtomicU32,
}

impl Refusal {
    /// Returns the server's message, unless it has accepted a connection since.
    pub(super) fn words(&self) -> Option<String> {
        self.lock().clone()
    }

    pub(super) fn set(&self, words: &str) {
        *self.lock() = Some(words.to_owned());
    }

    pub(super) fn clear(&self) {
        *self.lock() = None;
    }

    /// Records the server's message from the attempts to reconnect, for which there is no event.
    pub(super) fn note(&self, servers: &[async_nats::Server]) {
        let errors = servers
            .iter()
            .filter_map(|server| server.last_error.as_deref());
        if let Some(words) = errors.filter_map(server_message::words).next() {
            self.set(words);
        }
    }

    /// Lowers the largest payload, because async-nats drops the INFO with the account's limit, and
    /// there is no other source.
    pub(super) fn lower_max_payload(&self) {
        let lower = |steps: u32| (steps < MAX_STEPS).then_some(steps + 1);
        _ = self
            .steps
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, lower);
    }

    /// Returns the largest payload, given the server's announcement.
    pub(super) fn max_payload(&self, announced: usize) -> usize {
        announced >> (STEP * self.steps.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_payload_is_lowered_in_steps_that_end() {
        let refusal = Refusal::default();
        assert_eq!(refusal.max_payload(1 << 20), 1 << 20);
        refusal.lower_max_payload();
        assert_eq!(refusal.max_payload(1 << 20), 1 << 18);
        for _ in 0..100 {
            refusal.lower_max_payload();
        }
        assert_eq!(refusal.max_payload(64 << 20), 16);
    }
}
