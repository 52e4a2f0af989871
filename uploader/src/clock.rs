//! The time of day, which tests set.

use jiff::Timestamp;
use std::{fmt, sync::Arc, time::Duration};

/// Tells the time in whole microseconds, which is what the database keeps.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that asks `now` each time.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        whole_micros((self.0)())
    }
}

impl Default for Clock {
    /// The system's clock.
    fn default() -> Self {
        Self::new(Timestamp::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

/// The time as the database keeps it: what is answered at once then equals what is read later.
pub(crate) fn whole_micros(time: Timestamp) -> Timestamp {
    // Only the last second of all has microseconds that can't be read back.
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or_else(|_| last())
}

/// The time `wait` after `time`, or the last there is.
pub(crate) fn after(time: Timestamp, wait: Duration) -> Timestamp {
    time.checked_add(wait).map_or_else(|_| last(), whole_micros)
}

/// The time `wait` before `time`, or the first there is.
pub(crate) fn before(time: Timestamp, wait: Duration) -> Timestamp {
    time.checked_sub(wait).map_or(Timestamp::MIN, whole_micros)
}

/// The last whole second.
fn last() -> Timestamp {
    Timestamp::from_second(Timestamp::MAX.as_second()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_read_back_as_it_was_kept() {
        let now: Timestamp = "2026-05-04T03:02:01.123456789Z".parse().unwrap();
        let forever = Duration::from_millis(u64::MAX);
        for time in [
            whole_micros(now),
            whole_micros(Timestamp::MIN),
            whole_micros(Timestamp::MAX),
            after(now, Duration::from_nanos(1)),
            after(now, forever),
            before(now, forever),
        ] {
            assert_eq!(
                Timestamp::from_microsecond(time.as_microsecond()).unwrap(),
                time
            );
        }
        assert_eq!(whole_micros(now).to_string(), "2026-05-04T03:02:01.123456Z");
        assert_eq!(
            after(now, Duration::from_secs(1)).to_string(),
            "2026-05-04T03:02:02.123456Z"
        );
    }
}
