//! [`RetryBudget`]: how many sends the calls of a channel allow beside the first.

use std::time::Duration;

use tower::retry::budget::TpsBudget;

/// The time over which calls and retries are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// The largest `min_per_second`: tower computes with numbers that have to fit.
const MAX_PER_SECOND: u32 = 100_000;

/// The largest ratio that tower takes.
const MAX_RATIO: f64 = 1000.0;

/// How many retries the calls of a layer allow: of [`RetryLayer`](super::RetryLayer::budget), and of
/// [`HedgeLayer`](super::HedgeLayer::budget), whose retries are hedges.
///
/// ```
/// use nmfw::client::{RetryBudget, RetryLayer};
///
/// // 10 retries per second, and one more for every 20 calls that succeed.
/// let budget = RetryBudget::new().min_per_second(10).max_ratio(0.05);
/// let layer = RetryLayer::new().budget(budget);
/// ```
///
/// It is counted over ten seconds, and shared by all clones of the layer.
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct RetryBudget {
    min_per_second: u32,
    max_ratio: f64,
}

impl RetryBudget {
    /// Makes a budget of 10 retries per second and a ratio of 0.2.
    pub const fn new() -> Self {
        Self {
            min_per_second: 10,
            max_ratio: 0.2,
        }
    }

    /// Sets how many retries per second are allowed whatever the calls do.
    pub const fn min_per_second(mut self, retries: u32) -> Self {
        self.min_per_second = retries;
        self
    }

    /// Sets how many retries each call adds: 0.2 is one for five calls, 0 none. A [`RetryLayer`] counts calls
    /// that succeed, a [`HedgeLayer`] all that are made.
    ///
    /// [`RetryLayer`]: super::RetryLayer
    /// [`HedgeLayer`]: super::HedgeLayer
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
