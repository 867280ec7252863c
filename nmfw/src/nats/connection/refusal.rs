//! [`Refusal`]: the NATS server's reasons to refuse a connection.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use super::server_message;

/// By how much one violation lowers the largest payload, as a power of two: by a quarter, so that few
/// are needed to get from nats-server's default to what the smallest accounts allow.
const STEP: u32 = 2;

/// After these a `max_payload` of 64 MiB, the most that nats-server can be set to, is 16 bytes.
const MAX_STEPS: u32 = 11;

/// The server's reason to have closed the connection or to refuse a new one, and how much smaller its
/// largest payload is than it announced.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    words: Mutex<Option<String>>,
    /// How often the largest payload was lowered.
    steps: AtomicU32,
}

impl Refusal {
    /// Returns the server's words, unless it has accepted a connection since.
    pub(super) fn words(&self) -> Option<String> {
        self.lock().clone()
    }

    pub(super) fn set(&self, words: &str) {
        *self.lock() = Some(words.to_owned());
    }

    pub(super) fn clear(&self) {
        *self.lock() = None;
    }

    /// Takes the server's words from the attempts to reconnect: there is no event for them.
    pub(super) fn note(&self, servers: &[async_nats::Server]) {
        let errors = servers
            .iter()
            .filter_map(|server| server.last_error.as_deref());
        if let Some(words) = errors.filter_map(server_message::words).next() {
            self.set(words);
        }
    }

    /// Lowers the largest payload: async-nats leaves out the INFO in which the server announces what
    /// the account may send, and there is no other way to learn it.
    pub(super) fn lower_max_payload(&self) {
        let lower = |steps: u32| (steps < MAX_STEPS).then_some(steps + 1);
        _ = self
            .steps
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, lower);
    }

    /// Returns the largest payload, given the one that the server announced.
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
