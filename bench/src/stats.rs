//! Medians, ranges, percentiles and ratios of rounds.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A figure over several rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Half of the rounds were below.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Summary {
    /// Of these rounds; nothing of none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (first, last) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self {
            median,
            min: *first,
            max: *last,
        })
    }

    /// The ratios of `values` to `others`, round by round: a round counts if both have it. What the machine did to one round it did
    /// to both.
    #[must_use]
    pub fn of_ratios(values: &[Option<f64>], others: &[Option<f64>]) -> Option<Self> {
        let pairs = values.iter().zip(others);
        let ratios: Vec<f64> = pairs
            .filter_map(|(value, other)| Some((*value)? / (*other)?))
            .filter(|ratio| ratio.is_finite())
            .collect();
        Self::of(&ratios)
    }
}

/// The value below which `part` (0 to 1) of these lie, by nearest rank; zero of none.
#[must_use]
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank among far fewer than 2^52 values"
)]
pub fn percentile(sorted: &[Duration], part: f64) -> Duration {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    let last = sorted.len().saturating_sub(1);
    let found = sorted.get(rank.saturating_sub(1).min(last));
    found.copied().unwrap_or_default()
}

/// In milliseconds.
#[must_use]
pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A number of things, to be divided by or into.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn count(number: usize) -> f64 {
    number as f64
}

/// Bytes in KiB.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
pub fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}

/// Bytes in MiB.
#[must_use]
pub fn mib(bytes: u64) -> f64 {
    kib(bytes) / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let summary = |values: &[f64]| Summary::of(values).map(|s| (s.median, s.min, s.max));
        assert_eq!(summary(&[]), None);
        assert_eq!(summary(&[3.0]), Some((3.0, 3.0, 3.0)));
        assert_eq!(summary(&[9.0, 1.0, 2.0]), Some((2.0, 1.0, 9.0)));
        assert_eq!(summary(&[4.0, 1.0, 2.0, 9.0]), Some((3.0, 1.0, 9.0)));
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let subject = [Some(2.0), Some(9.0), None, Some(4.0)];
        let other = [Some(1.0), Some(3.0), Some(7.0), Some(0.0)];
        let ratios = Summary::of_ratios(&subject, &other).unwrap();
        assert_eq!((ratios.median, ratios.min, ratios.max), (2.5, 2.0, 3.0));
        assert_eq!(Summary::of_ratios(&[None], &[Some(1.0)]), None);
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let times: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 0.5), Duration::from_millis(100));
        assert_eq!(percentile(&times, 0.99), Duration::from_millis(198));
        assert_eq!(percentile(&times, 1.0), Duration::from_millis(200));
        assert_eq!(percentile(&times[..1], 0.99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }
}
