//! [`SendBudget`]: keeps calls that are sent again from multiplying an overload.

use std::sync::atomic::{AtomicU32, Ordering};

/// What a call earns that an instance has taken: with the default of five, as many further sends as one
/// call has. So the budget lasts for as long as every fifth is taken, and whatever is too much is sent once.
const EARNED: u32 = 4;

/// What a channel has at first, and at most: a burst that an instance has no room for finds another.
const MOST: u32 = 1000;

/// For all calls of a channel and its clones. Each send of a call that a full instance has turned away
/// costs one.
#[derive(Debug)]
pub(super) struct SendBudget(AtomicU32);

impl Default for SendBudget {
    fn default() -> Self {
        Self(AtomicU32::new(MOST))
    }
}

impl SendBudget {
    /// A call has ended, and not as one that was not started.
    pub(super) fn earn(&self) {
        // Nearly always it is whole: a look at what all threads share, and no more.
        let more = |left: u32| (left < MOST).then(|| (left + EARNED).min(MOST));
        _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Whether a call may be sent once more.
    pub(super) fn spend(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(budget: &SendBudget) -> u32 {
        let mut count = 0;
        while budget.spend() {
            count += 1;
        }
        count
    }

    #[test]
    fn it_is_spent_and_earned() {
        let budget = SendBudget::default();
        budget.earn();
        assert_eq!(spent(&budget), MOST);
        assert_eq!(spent(&budget), 0);
        budget.earn();
        assert_eq!(spent(&budget), EARNED);
        for _ in 0..MOST {
            budget.earn();
        }
        assert_eq!(spent(&budget), MOST);
    }

    #[test]
    fn threads_get_no_more_than_there_is() {
        let budget = SendBudget::default();
        let all: u32 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| spent(&budget))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(all, MOST);
    }
}
