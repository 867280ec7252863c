//! Statistics over rounds.

use serde::Serialize;

/// The measurements of one round.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    /// CPU time per call in microseconds.
    pub(crate) client_us: f64,
    pub(crate) server_us: f64,
    pub(crate) broker_us: f64,
    /// Number of cores used by other processes.
    pub(crate) others: f64,
}

/// Medians over rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) per_second: f64,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) client_us: f64,
    pub(crate) server_us: f64,
    pub(crate) broker_us: f64,
    pub(crate) rounds: usize,
    /// Spread of the rounds: the difference between the largest and smallest `per_second`, divided
    /// by the median.
    pub(crate) spread: f64,
}

impl Summary {
    /// Returns `None` without rounds.
    pub(crate) fn of(samples: &[Sample]) -> Option<Self> {
        let all = |field: fn(&Sample) -> f64| -> Vec<f64> { samples.iter().map(field).collect() };
        let known = |field: fn(&Sample) -> Option<f64>| -> Option<f64> {
            median(&samples.iter().filter_map(field).collect::<Vec<_>>())
        };
        let rates = all(|sample| sample.per_second);
        Some(Self {
            per_second: median(&rates)?,
            p50_us: known(|sample| sample.p50_us),
            p99_us: known(|sample| sample.p99_us),
            client_us: median(&all(|sample| sample.client_us))?,
            server_us: median(&all(|sample| sample.server_us))?,
            broker_us: median(&all(|sample| sample.broker_us))?,
            rounds: samples.len(),
            spread: spread(&rates)?,
        })
    }
}

/// Returns the middle value, or the mean of the two middle values.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// Returns the range divided by the median; 0 if that is 0.
pub(crate) fn spread(values: &[f64]) -> Option<f64> {
    let middle = median(values)?;
    let largest = values.iter().copied().fold(f64::MIN, f64::max);
    let smallest = values.iter().copied().fold(f64::MAX, f64::min);
    Some(if middle == 0.0 {
        0.0
    } else {
        (largest - smallest) / middle
    })
}

/// Returns the median of the per-round ratios. A disturbance affects both sides of a round, so this
/// is more stable than a ratio of medians.
pub(crate) fn ratio(of: &[Option<f64>], to: &[Option<f64>]) -> Option<f64> {
    let ratios: Vec<f64> = of
        .iter()
        .zip(to)
        .filter_map(|(of, to)| Some((*of)? / (*to)?))
        .filter(|ratio| ratio.is_finite())
        .collect();
    median(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: Option<f64>, expected: f64) {
        assert!(
            (value.unwrap() - expected).abs() < 1e-9,
            "{value:?} {expected}"
        );
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        near(median(&[3.0]), 3.0);
        near(median(&[9.0, 1.0, 2.0]), 2.0);
        near(median(&[9.0, 1.0, 2.0, 4.0]), 3.0);
    }

    #[test]
    fn spreads() {
        assert_eq!(spread(&[]), None);
        near(spread(&[5.0]), 0.0);
        near(spread(&[90.0, 100.0, 120.0]), 0.3);
        near(spread(&[0.0, 0.0]), 0.0);
    }

    #[test]
    fn ratios_are_within_rounds() {
        // Twice as fast in each round, although the machine was slow in the second.
        let of = [Some(200.0), Some(20.0), Some(240.0), None];
        let to = [Some(100.0), Some(10.0), Some(120.0), Some(1.0)];
        near(ratio(&of, &to), 2.0);
        assert_eq!(ratio(&[None], &[Some(1.0)]), None);
        assert_eq!(ratio(&[Some(1.0)], &[Some(0.0)]), None);
    }

    #[test]
    fn a_summary_takes_medians_of_each_field() {
        let sample = |per_second, p50_us| Sample {
            per_second,
            p50_us,
            client_us: per_second / 10.0,
            ..Sample::default()
        };
        let summary = Summary::of(&[
            sample(100.0, Some(3.0)),
            sample(300.0, None),
            sample(200.0, Some(1.0)),
        ])
        .unwrap();
        near(Some(summary.per_second), 200.0);
        near(summary.p50_us, 2.0);
        assert_eq!(summary.p99_us, None);
        near(Some(summary.client_us), 20.0);
        assert_eq!(summary.rounds, 3);
        near(Some(summary.spread), 1.0);
        assert_eq!(Summary::of(&[]), None);
    }
}
