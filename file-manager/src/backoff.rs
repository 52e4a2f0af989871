//! Waiting between attempts: longer each time, up to a cap, and never in step with others.

use rand::RngExt;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);

/// The longest wait.
pub(crate) const CAP: Duration = Duration::from_secs(5);

/// The waits of one series of attempts.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    /// A series that begins with the shortest wait.
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    /// How long to wait before the next attempt: between half of the present step and all of it.
    pub(crate) fn step(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(CAP);
        step.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_cap() {
        let mut backoff = Backoff::new();
        assert!((FIRST / 2..=FIRST).contains(&backoff.step()));
        let waits: Vec<_> = (0..20).map(|_| backoff.step()).collect();
        assert!(waits[0] >= FIRST);
        assert!(waits.iter().all(|wait| *wait <= CAP));
        assert!(waits[19] >= CAP / 2);
    }
}
