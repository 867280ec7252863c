//! [`Bucket`]: bounds the work that a peer may cause.

use std::time::{Duration, Instant};

/// A token bucket. Each use takes tokens; useful work and time add some. A use may take more than
/// there is, which leaves a debt to be repaid before the next use.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    level: i64,
    most: i64,
    per_second: i64,
    /// When time last added tokens; `None` until the clock is first read.
    filled_at: Option<Instant>,
}

impl Bucket {
    /// Creates a bucket with `level` tokens and a capacity of `most`.
    pub(super) const fn new(level: i64, most: i64, per_second: i64) -> Self {
        Self {
            level,
            most,
            per_second,
            filled_at: None,
        }
    }

    /// Adds the tokens for the elapsed time. Fractions of a token are kept.
    fn refill(&mut self, now: Instant) {
        let since = *self.filled_at.get_or_insert(now);
        let micros = now.saturating_duration_since(since).as_micros();
        let micros = i64::try_from(micros).unwrap_or(i64::MAX);
        let gained = micros.saturating_mul(self.per_second) / 1_000_000;
        if gained > 0 {
            self.earn(gained);
            let spent = gained.saturating_mul(1_000_000) / self.per_second;
            self.filled_at = Some(since + Duration::from_micros(spent.unsigned_abs()));
        }
    }

    pub(super) fn earn(&mut self, tokens: i64) {
        self.level = self.level.saturating_add(tokens).min(self.most);
    }

    /// Returns whether a use is permitted, regardless of its cost.
    pub(super) fn has_any(&mut self, now: Instant) -> bool {
        if self.level <= 0 {
            self.refill(now);
        }
        self.level > 0
    }

    pub(super) fn take(&mut self, tokens: i64, now: Instant) {
        self.refill(now);
        self.level = self.level.saturating_sub(tokens);
    }

    /// Returns when [`Self::has_any`] becomes true by time alone; `None` if it already is.
    pub(super) fn ready_at(&self) -> Option<Instant> {
        let debt = (self.level <= 0).then_some(1 - self.level)?;
        let micros = debt.saturating_mul(1_000_000) / self.per_second + 1;
        Some(self.filled_at? + Duration::from_micros(micros.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_earnings_fill_it_up_to_the_most() {
        let now = Instant::now();
        let mut bucket = Bucket::new(10, 100, 1000);
        assert!(bucket.has_any(now));
        assert_eq!(bucket.ready_at(), None);
        bucket.take(30, now);
        assert!(!bucket.has_any(now));
        let at = bucket.ready_at().unwrap();
        assert!(!bucket.has_any(at - Duration::from_millis(1)));
        assert!(bucket.has_any(at));
        assert!(at <= now + Duration::from_millis(22));
        bucket.earn(1000);
        bucket.take(99, at);
        assert!(bucket.has_any(at));
        bucket.take(1, at);
        assert!(
            !bucket.has_any(at),
            "the bucket holds more than its capacity"
        );
    }

    #[test]
    fn fractions_are_not_lost() {
        let mut now = Instant::now();
        let mut bucket = Bucket::new(0, 1_000_000, 1000);
        bucket.take(0, now);
        for _ in 0..1000 {
            now += Duration::from_micros(1500);
            bucket.take(1, now);
        }
        assert_eq!(bucket.level, 500);
    }
}
