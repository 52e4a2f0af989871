//! How long to wait before trying again: longer each time, and never all clients at once.

use rand::RngExt;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(30);

/// Exponential backoff with full jitter: a random time up to a bound that doubles with each failure.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The time to wait after one more failure; at least `told` if the server gave a time, spread over half of it more.
    pub(crate) fn next(&mut self, told: Option<Duration>) -> Duration {
        let bound = FIRST
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let told = told.unwrap_or_default();
        told + rand::rng().random_range(Duration::ZERO..=bound.max(told / 2))
    }

    /// It worked.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_within_its_bounds() {
        let mut backoff = Backoff::default();
        for n in 0..40 {
            let bound = Duration::from_millis(200 << n.min(20)).min(LONGEST);
            assert!(backoff.next(None) <= bound, "after {n} failures");
        }
        backoff.reset();
        let told = Duration::from_secs(4);
        let wait = backoff.next(Some(told));
        assert!((told..=told + told / 2).contains(&wait), "{wait:?}");
    }

    #[test]
    fn clients_do_not_come_back_together() {
        let waits: std::collections::BTreeSet<_> = (0..50)
            .map(|_| Backoff::default().next(Some(LONGEST)))
            .collect();
        assert!(waits.len() > 40);
    }
}
