//! [`Latencies`]: recent latencies of a method, with a precision of an eighth.

use std::{mem, time::Duration};

use tokio::time::Instant;

/// Number of buckets per power of two.
const STEPS: u64 = 8;
const STEP_BITS: u32 = STEPS.ilog2();

/// Latencies above `2^MAX_BITS` microseconds, about 19 hours, share a bucket.
const MAX_BITS: u32 = 36;
const BUCKETS: usize = ((MAX_BITS - STEP_BITS + 2) as usize) * STEPS as usize;

/// Latencies are discarded after one to two periods.
const PERIOD: Duration = Duration::from_secs(60);

/// Number of samples needed for a percentile, and between updates of it.
pub(crate) const MIN_SAMPLES: u32 = 50;

/// The latencies of one method, in a few kilobytes.
#[derive(Debug)]
pub(crate) struct Latencies {
    now: LatencyCounts,
    before: LatencyCounts,
    since: Instant,
    /// The last computed percentile, and the number of samples since then.
    known: Option<Duration>,
    news: u32,
}

impl Latencies {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            now: LatencyCounts::default(),
            before: LatencyCounts::default(),
            since: now,
            known: None,
            news: 0,
        }
    }

    pub(crate) fn add(&mut self, latency: Duration, percent: f64, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        if age >= PERIOD {
            self.before = mem::take(&mut self.now);
            if age >= 2 * PERIOD {
                self.before = LatencyCounts::default();
            }
            self.since = now;
        }
        self.now.add(latency);
        self.news += 1;
        if self.news >= MIN_SAMPLES {
            self.news = 0;
            self.known = Some(self.percentile(percent));
        }
    }

    /// Returns the percentile, or `None` if there are too few samples. The value may lag behind the
    /// latest samples.
    pub(crate) fn known(&self) -> Option<Duration> {
        self.known
    }

    fn percentile(&self, percent: f64) -> Duration {
        let all = u64::from(self.now.all) + u64::from(self.before.all);
        let wanted = (all as f64 * (percent / 100.0).clamp(0.0, 1.0)).ceil() as u64;
        let mut seen = 0;
        for (index, (now, before)) in self.now.of.iter().zip(&self.before.of).enumerate() {
            seen += u64::from(*now) + u64::from(*before);
            if seen >= wanted.max(1) {
                return upper(index);
            }
        }
        upper(BUCKETS - 1)
    }
}

#[derive(Debug)]
struct LatencyCounts {
    of: Box<[u32]>,
    all: u32,
}

impl Default for LatencyCounts {
    fn default() -> Self {
        Self {
            of: vec![0; BUCKETS].into(),
            all: 0,
        }
    }
}

impl LatencyCounts {
    fn add(&mut self, latency: Duration) {
        if let Some(count) = self.of.get_mut(bucket(latency)) {
            *count = count.saturating_add(1);
            self.all = self.all.saturating_add(1);
        }
    }
}

/// Returns the bucket of a latency: the first eight buckets cover a microsecond each, followed by
/// eight per power of two.
fn bucket(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    let micros = micros.min((1 << (MAX_BITS + 1)) - 1);
    if micros < STEPS {
        return micros as usize;
    }
    let bits = micros.ilog2();
    let step = (micros >> (bits - STEP_BITS)) & (STEPS - 1);
    ((bits - STEP_BITS + 1) as usize) * STEPS as usize + step as usize
}

/// Returns the upper bound of a bucket, which its latencies are below.
fn upper(bucket: usize) -> Duration {
    let (row, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    let micros = match row {
        0 => step + 1,
        row => (STEPS + step + 1) << (row - 1),
    };
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_said_of_a_few() {
        let now = Instant::now();
        let mut latencies = Latencies::new(now);
        for _ in 1..MIN_SAMPLES {
            latencies.add(Duration::from_millis(1), 95.0, now);
            assert_eq!(latencies.known(), None);
        }
        latencies.add(Duration::from_millis(1), 95.0, now);
        assert!(latencies.known().is_some());
    }

    #[test]
    fn old_times_are_forgotten() {
        let mut now = Instant::now();
        let mut latencies = Latencies::new(now);
        let (slow, fast) = (Duration::from_secs(1), Duration::from_millis(1));
        let add = |latencies: &mut Latencies, latency, now| {
            for _ in 0..MIN_SAMPLES {
                latencies.add(latency, 95.0, now);
            }
        };
        add(&mut latencies, slow, now);
        now += PERIOD;
        add(&mut latencies, fast, now);
        assert!(latencies.known().unwrap() >= slow);
        now += PERIOD;
        add(&mut latencies, fast, now);
        assert!(latencies.known().unwrap() < 2 * fast);
        add(&mut latencies, slow, now);
        now += 10 * PERIOD;
        add(&mut latencies, fast, now);
        assert!(latencies.known().unwrap() < 2 * fast);
    }

    proptest! {
        #[test]
        fn each_time_is_in_a_bucket_that_fits(micros in 0u64..1 << (MAX_BITS + 1)) {
            let latency = Duration::from_micros(micros);
            let bucket = bucket(latency);
            prop_assert!(bucket < BUCKETS);
            prop_assert!(latency < upper(bucket));
            prop_assert!(bucket == 0 || latency >= upper(bucket - 1));
            let widest = latency + latency / STEPS as u32 + Duration::from_micros(1);
            prop_assert!(upper(bucket) <= widest);
        }

        /// The percentile equals that of a sorted list, with a precision of an eighth.
        #[test]
        fn the_percentile_is_that_of_the_list(
            mut micros in proptest::collection::vec(0u64..10_000_000, MIN_SAMPLES as usize),
            percent in 1.0f64..100.0,
        ) {
            let now = Instant::now();
            let mut latencies = Latencies::new(now);
            for micros in &micros {
                latencies.add(Duration::from_micros(*micros), percent, now);
            }
            micros.sort_unstable();
            let nth = (f64::from(MIN_SAMPLES) * percent / 100.0).ceil() as usize - 1;
            let exact = Duration::from_micros(micros[nth.min(micros.len() - 1)]);
            let known = latencies.known().unwrap();
            prop_assert!(known > exact && known <= exact + exact / 8 + Duration::from_micros(1));
        }

        #[test]
        fn never_panics(nanos in any::<u64>(), percent in any::<f64>()) {
            let now = Instant::now();
            let mut latencies = Latencies::new(now);
            for _ in 0..MIN_SAMPLES {
                latencies.add(Duration::from_nanos(nanos), percent, now);
            }
            latencies.add(Duration::MAX, percent, now);
            prop_assert!(latencies.known().is_some());
        }
    }
}
