//! How many calls are repeated at most, so that a service in trouble does not get more of them than in good times.

use std::time::Duration;

use tokio::time::Instant;

use crate::peer::PeerConfig;

/// How much of the floor is saved up, in seconds.
const SAVED_SECONDS: f64 = 10.0;

/// How many calls' share is saved up.
const SAVED_CALLS: f64 = 100.0;

/// A bucket of repetitions: each call adds its share, each second the floor, each repetition takes one.
#[derive(Debug)]
pub(super) struct Budget {
    per_call: f64,
    per_second: f64,
    balance: f64,
    at: Instant,
}

impl Budget {
    pub(super) fn new(config: &PeerConfig, now: Instant) -> Self {
        let per_second = f64::from(config.retries_per_second);
        Self {
            per_call: f64::from(config.retry_percent) / 100.0,
            per_second,
            balance: per_second * SAVED_SECONDS,
            at: now,
        }
    }

    /// A call is made.
    pub(super) fn earn(&mut self) {
        self.add(self.per_call);
    }

    /// Takes a repetition, if there is one.
    pub(super) fn spend(&mut self, now: Instant) -> bool {
        let passed: Duration = now.saturating_duration_since(self.at);
        self.at = self.at.max(now);
        self.add(passed.as_secs_f64() * self.per_second);
        let is_there = self.balance >= 1.0;
        if is_there {
            self.balance -= 1.0;
        }
        is_there
    }

    fn add(&mut self, more: f64) {
        let most = self.per_second * SAVED_SECONDS + self.per_call * SAVED_CALLS;
        self.balance = (self.balance + more).min(most);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn budget(retry_percent: u32, retries_per_second: u32, now: Instant) -> Budget {
        let config = PeerConfig {
            retry_percent,
            retries_per_second,
            ..PeerConfig::default()
        };
        Budget::new(&config, now)
    }

    fn spent(budget: &mut Budget, now: Instant) -> usize {
        (0..1000).take_while(|_| budget.spend(now)).count()
    }

    #[test]
    fn a_share_of_the_calls_and_a_floor() {
        let now = Instant::now();
        let mut budget = budget(20, 5, now);
        assert_eq!(spent(&mut budget, now), 50, "saved up at start");
        for _ in 0..5 {
            budget.earn();
        }
        // Five times a fifth is one, but for what binary fractions lose.
        budget.earn();
        assert_eq!(spent(&mut budget, now), 1);
        assert_eq!(spent(&mut budget, now + Duration::from_secs(2)), 10);
        for _ in 0..1000 {
            budget.earn();
        }
        assert_eq!(
            spent(&mut budget, now + Duration::from_secs(3600)),
            70,
            "not saved for ever"
        );
    }

    #[test]
    fn none_means_none() {
        let now = Instant::now();
        let mut budget = budget(0, 0, now);
        budget.earn();
        assert!(!budget.spend(now + Duration::from_secs(3600)));
    }

    proptest! {
        #[test]
        fn repetitions_never_exceed_the_share(
            steps in proptest::collection::vec((0_u64..50, any::<bool>()), 0..300),
            percent in 0_u32..100,
            floor in 0_u32..20,
        ) {
            let begun = Instant::now();
            let (mut now, mut calls, mut repeated) = (begun, 0.0, 0.0);
            let mut budget = budget(percent, floor, begun);
            for (millis, repeat) in steps {
                now += Duration::from_millis(millis);
                budget.earn();
                calls += 1.0;
                if repeat && budget.spend(now) {
                    repeated += 1.0;
                }
                let time = (now - begun).as_secs_f64() + SAVED_SECONDS;
                let most = calls * f64::from(percent) / 100.0 + time * f64::from(floor);
                prop_assert!(repeated <= most + 1e-6, "{repeated} of {calls} calls");
            }
        }
    }
}
