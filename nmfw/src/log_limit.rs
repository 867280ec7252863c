//! [`LogLimit`]: a limit for log lines that a peer causes with each of its messages.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How often a line of one kind is written.
const EVERY: Duration = Duration::from_secs(60);

/// Lets a line of one kind pass once a minute, and counts those that it keeps back.
#[derive(Debug, Default)]
pub(crate) struct LogLimit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: Option<Instant>,
    left_out: u64,
}

impl LogLimit {
    /// Lets the first line pass.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(State {
            next: None,
            left_out: 0,
        }))
    }

    /// Returns how many lines were left out since the last one, if a line may be written now.
    pub(crate) fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.next.is_some_and(|next| now < next) {
            state.left_out += 1;
            return None;
        }
        state.next = Some(now + EVERY);
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute() {
        let limit = LogLimit::new();
        let now = Instant::now();
        assert_eq!(limit.pass_at(now), Some(0));
        assert_eq!(limit.pass_at(now + EVERY / 2), None);
        assert_eq!(limit.pass_at(now + EVERY / 2), None);
        assert_eq!(limit.pass_at(now + EVERY), Some(2));
        assert_eq!(limit.pass_at(now + EVERY), None);
    }
}
