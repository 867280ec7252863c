//! [`RetryBudget`]: a limit on the retries of a channel's calls.

use std::time::Duration;

use tower::retry::budget::TpsBudget;

/// The period over which calls and retries are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// Maximum of `min_per_second`, because tower's arithmetic could overflow.
const MAX_PER_SECOND: u32 = 100_000;

/// Maximum ratio that tower accepts.
const MAX_RATIO: f64 = 1000.0;

/// A limit on the retries of a [`RetryLayer`](super::retry::RetryLayer::budget), or on the hedges of a
/// [`HedgeLayer`](super::hedge::HedgeLayer::budget).
///
/// ```
/// use nmfw::client::{RetryBudget, RetryLayer};
///
/// // 10 retries per second, and one more for every 20 calls that succeed.
/// let budget = RetryBudget::new().min_per_second(10).max_ratio(0.05);
/// let layer = RetryLayer::new().budget(budget);
/// ```
///
/// Calls and retries are counted over ten seconds. All clones of the layer share the budget.
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct RetryBudget {
    min_per_second: u32,
    max_ratio: f64,
}

impl RetryBudget {
    /// Creates a budget of 10 retries per second and a ratio of 0.2.
    pub const fn new() -> Self {
        Self {
            min_per_second: 10,
            max_ratio: 0.2,
        }
    }

    /// Sets the number of retries per second that are always allowed.
    pub const fn min_per_second(mut self, retries: u32) -> Self {
        self.min_per_second = retries;
        self
    }

    /// Sets the number of retries that each call adds: 0.2 adds one retry for every five calls, 0
    /// adds none. A [`RetryLayer`] counts successful calls, a [`HedgeLayer`] all calls.
    ///
    /// [`RetryLayer`]: super::retry::RetryLayer
    /// [`HedgeLayer`]: super::hedge::HedgeLayer
    pub const fn max_ratio(mut self, ratio: f64) -> Self {
        self.max_ratio = ratio;
        self
    }

    pub(super) fn start(self) -> TpsBudget {
        let ratio = match self.max_ratio.is_nan() {
            true => 0.0,
            false => self.max_ratio.clamp(0.0, MAX_RATIO),
        };
        let per_second = self.min_per_second.min(MAX_PER_SECOND);
        TpsBudget::new(WINDOW, per_second, ratio as f32)
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use tower::retry::budget::Budget;

    use super::*;

    #[test]
    fn any_number_makes_a_budget() {
        for ratio in [f64::NAN, -1.0, 0.0, 0.3, f64::INFINITY] {
            for per_second in [0, 1, u32::MAX] {
                let budget = RetryBudget::new()
                    .min_per_second(per_second)
                    .max_ratio(ratio);
                assert_eq!(budget.start().withdraw(), per_second > 0, "{budget:?}");
            }
        }
    }
}
