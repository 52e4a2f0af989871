//! Failed logins per user name, counted over a sliding window.

use crate::config::LoginLimits;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How many names are watched at a time. When that is reached and every failure is recent, logins are refused: an
/// attacker who tries many names must not push the name out that it attacks.
const MAX_NAMES: usize = 16_384;

/// Counts failed logins.
pub(crate) struct Throttle {
    limits: LoginLimits,
    failures: Mutex<HashMap<String, VecDeque<Instant>>>,
}

/// A login that counts as failed until it is [forgiven](Attempt::forgive): else those that run at the same time could
/// pass the limit together.
#[must_use]
pub(crate) struct Attempt<'a> {
    throttle: &'a Throttle,
    key: &'a str,
    at: Instant,
}

impl Throttle {
    pub(crate) fn new(limits: LoginLimits) -> Self {
        Self {
            limits,
            failures: Mutex::default(),
        }
    }

    /// Begins a login under this name.
    ///
    /// # Errors
    /// The time to wait, if too many have failed.
    pub(crate) fn attempt<'a>(
        &'a self,
        key: &'a str,
        now: Instant,
    ) -> Result<Attempt<'a>, Duration> {
        let window = self.limits.window.duration();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MAX_NAMES && !failures.contains_key(key) {
            failures.retain(|_, times| times.back().is_some_and(|last| counts(*last, now, window)));
            if failures.len() >= MAX_NAMES {
                return Err(window);
            }
        }
        let times = failures.entry(key.to_owned()).or_default();
        while times
            .front()
            .is_some_and(|first| !counts(*first, now, window))
        {
            times.pop_front();
        }
        if times.len() >= self.limits.max_failures {
            let oldest = times.front().copied().unwrap_or(now);
            return Err((oldest + window).saturating_duration_since(now));
        }
        times.push_back(now);
        Ok(Attempt {
            throttle: self,
            key,
            at: now,
        })
    }
}

impl Attempt<'_> {
    /// The login did not fail, or not by the fault of who tried: it no longer counts.
    pub(crate) fn forgive(self) {
        let mut failures = self
            .throttle
            .failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(times) = failures.get_mut(self.key) else {
            return;
        };
        if let Some(index) = times.iter().position(|at| *at == self.at) {
            times.remove(index);
        }
        if times.is_empty() {
            failures.remove(self.key);
        }
    }
}

fn counts(failure: Instant, now: Instant, window: Duration) -> bool {
    now.saturating_duration_since(failure) < window
}

#[cfg(test)]
mod tests {
    use super::*;
    use service_kit::config::Millis;

    const SECOND: Duration = Duration::from_secs(1);

    fn throttle() -> Throttle {
        Throttle::new(LoginLimits {
            max_failures: 3,
            window: Millis::secs(60),
        })
    }

    #[test]
    fn the_window_slides() {
        let (throttle, start) = (throttle(), Instant::now());
        for second in 0..3 {
            assert!(throttle.attempt("ada", start + SECOND * second).is_ok());
        }
        assert_eq!(
            throttle.attempt("ada", start + SECOND * 10).err(),
            Some(SECOND * 50)
        );
        assert!(
            throttle.attempt("ada", start + SECOND * 60).is_ok(),
            "the first failure no longer counts"
        );
        assert_eq!(
            throttle.attempt("ada", start + SECOND * 60).err(),
            Some(SECOND)
        );
    }

    #[test]
    fn names_do_not_share_their_failures() {
        let (throttle, now) = (throttle(), Instant::now());
        for _ in 0..3 {
            assert!(throttle.attempt("ada", now).is_ok());
        }
        assert!(throttle.attempt("ada", now).is_err());
        assert!(throttle.attempt("bob", now).is_ok());
    }

    #[test]
    fn logins_that_do_not_fail_do_not_count() {
        let (throttle, now) = (throttle(), Instant::now());
        for _ in 0..10 {
            let Ok(attempt) = throttle.attempt("ada", now) else {
                panic!("nothing has failed")
            };
            attempt.forgive();
        }
        assert!(
            throttle.failures.lock().unwrap().is_empty(),
            "and cost no memory"
        );
    }

    #[test]
    fn the_number_of_names_is_bounded_and_old_ones_make_room() {
        let (throttle, start) = (throttle(), Instant::now());
        for name in 0..MAX_NAMES {
            assert!(throttle.attempt(&name.to_string(), start).is_ok());
        }
        assert!(throttle.attempt("ada", start).is_err());
        assert!(
            throttle.attempt("0", start).is_ok(),
            "names that are watched go on"
        );
        assert!(throttle.attempt("ada", start + SECOND * 60).is_ok());
    }
}
