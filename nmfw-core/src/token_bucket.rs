//! [`Bucket`]: a token bucket stored as the time at which it would be full (GCRA).

use std::time::Duration;

use tokio::time::Instant;

/// The resolution of timers. At most one burst is taken per tick.
const TICK: Duration = Duration::from_millis(1);

/// The capacity and rate of a bucket.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time between new tokens; `None` for never.
    pub interval: Option<Duration>,
    /// The capacity of the bucket, at least 1.
    pub burst: u32,
}

#[derive(Debug, Default)]
pub struct Bucket {
    /// `None` before the first token is taken.
    full_at: Option<Instant>,
}

impl Bucket {
    /// Returns whether there is a token.
    pub fn has_token(&self, pace: &Pace, now: Instant) -> bool {
        self.due(pace, 0, now).is_some_and(|at| at <= now)
    }

    /// Returns whether the bucket is full, as before the first use.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }

    /// Takes a token if there is one, and returns whether it did.
    pub fn take(&mut self, pace: &Pace, now: Instant) -> bool {
        let is_there = self.has_token(pace, now);
        if is_there && let Some(interval) = pace.interval {
            let full_at = self.full_at.unwrap_or(now).max(now);
            self.full_at = Some(full_at.checked_add(interval).unwrap_or(full_at));
        }
        is_there
    }

    /// Returns the time at which a token is due for a waiter behind `ahead` others; `None` for
    /// never.
    pub(crate) fn due(&self, pace: &Pace, ahead: usize, now: Instant) -> Option<Instant> {
        let interval = pace.interval?;
        let to_full = self
            .full_at
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        // Waiters take tokens no faster than the resolution of timers permits.
        let between = interval.max(TICK / pace.burst.max(1));
        let others = between.checked_mul(u32::try_from(ahead).ok()?)?;
        // A token exists once the bucket lacks at most `burst - 1`.
        let lacking = interval.checked_mul(pace.burst.saturating_sub(1))?;
        now.checked_add(to_full.checked_add(others)?.saturating_sub(lacking))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_and_then_the_pace() {
        let pace = Pace {
            interval: Some(Duration::from_millis(10)),
            burst: 3,
        };
        let mut now = Instant::now();
        let mut bucket = Bucket::default();
        for _ in 0..3 {
            assert!(bucket.take(&pace, now));
        }
        assert!(!bucket.take(&pace, now));
        for ahead in 0..5 {
            let due = bucket.due(&pace, ahead, now).unwrap();
            assert_eq!(due - now, Duration::from_millis(10 * (ahead as u64 + 1)));
        }
        now += Duration::from_millis(9);
        assert!(!bucket.take(&pace, now));
        now += Duration::from_millis(1);
        assert!(bucket.take(&pace, now) && !bucket.take(&pace, now));
        now += Duration::from_secs(60);
        assert!((0..3).all(|_| bucket.take(&pace, now)));
        assert!(
            !bucket.take(&pace, now),
            "the bucket holds more than its capacity"
        );
    }

    #[test]
    fn no_pace_is_nothing_and_no_interval_everything() {
        let now = Instant::now();
        let (mut bucket, none) = (Bucket::default(), |interval| Pace { interval, burst: 1 });
        assert!(!bucket.take(&none(None), now));
        assert_eq!(bucket.due(&none(None), 0, now), None);
        assert!((0..1000).all(|_| bucket.take(&none(Some(Duration::ZERO)), now)));
    }

    #[test]
    fn who_waits_comes_no_faster_than_timers() {
        let interval = Duration::from_micros(10);
        let now = Instant::now();
        for (burst, millis) in [(1, 500), (5, 100), (200, 5)] {
            let pace = Pace {
                interval: Some(interval),
                burst,
            };
            let mut bucket = Bucket::default();
            while bucket.take(&pace, now) {}
            let due = bucket.due(&pace, 500, now).unwrap();
            let later = due - now - interval;
            assert_eq!(later, Duration::from_millis(millis), "burst of {burst}");
        }
    }

    proptest! {
        /// In any period, no more tokens are taken than the rate and one burst permit, and a waiter
        /// that comes at its due time gets one.
        #[test]
        fn the_pace_holds(
            interval in 1u64..5_000,
            burst in 1u32..20,
            pauses in proptest::collection::vec(0u64..20_000, 1..300),
        ) {
            let interval = Duration::from_micros(interval);
            let pace = Pace { interval: Some(interval), burst };
            let mut now = Instant::now();
            let mut bucket = Bucket::default();
            let mut taken: Vec<Instant> = Vec::new();
            for pause in pauses {
                now += Duration::from_micros(pause);
                let due = bucket.due(&pace, 0, now).unwrap();
                let is_taken = bucket.take(&pace, now);
                prop_assert_eq!(is_taken, due <= now);
                if is_taken {
                    taken.push(now);
                }
            }
            for (nth, from) in taken.iter().enumerate() {
                for (mth, to) in taken.iter().enumerate().skip(nth) {
                    let fits = (*to - *from).as_nanos() / interval.as_nanos() + u128::from(burst);
                    prop_assert!((mth - nth + 1) as u128 <= fits);
                }
            }
        }

        #[test]
        fn never_panics(interval in any::<u64>(), burst in any::<u32>(), ahead in any::<usize>()) {
            let pace = Pace { interval: Some(Duration::from_secs(interval)), burst };
            let mut bucket = Bucket::default();
            let now = Instant::now();
            for _ in 0..3 {
                bucket.take(&pace, now);
                bucket.due(&pace, ahead, now);
            }
        }
    }
}
