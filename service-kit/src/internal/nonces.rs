//! Which calls were seen already, for as long as they could be taken again.

use std::collections::{BTreeMap, HashSet};

use super::signature::Nonce;

/// The nonces of calls within the accepted window. The time of a call is signed, so a repeated one comes with the same time:
/// it is looked for among the calls of that second only, and seconds are forgotten as a whole.
#[derive(Debug)]
pub(super) struct Nonces {
    window_ms: u64,
    room: usize,
    by_second: BTreeMap<u64, HashSet<Nonce>>,
    held: usize,
    /// Calls of this second and before were forgotten. They stay refused, even if the clock is set back.
    forgotten: Option<u64>,
}

/// Whether a call may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Yes; it is remembered.
    New,
    /// Its time is too far from now.
    Stale,
    /// It was taken before.
    Replayed,
    /// No more calls can be remembered, so none can be taken.
    NoRoom,
}

impl Nonces {
    /// Remembers at most `room` calls, which may be `window_ms` old or ahead.
    pub(super) fn new(window_ms: u64, room: usize) -> Self {
        Self {
            window_ms,
            room,
            by_second: BTreeMap::new(),
            held: 0,
            forgotten: None,
        }
    }

    /// Judges a call made at `time_ms`, when it is `now_ms`.
    pub(super) fn judge(&mut self, nonce: &Nonce, time_ms: u64, now_ms: u64) -> Verdict {
        self.forget(now_ms);
        let second = time_ms / 1000;
        let is_forgotten = self.forgotten.is_some_and(|forgotten| second <= forgotten);
        if time_ms.abs_diff(now_ms) > self.window_ms || is_forgotten {
            return Verdict::Stale;
        }
        if self
            .by_second
            .get(&second)
            .is_some_and(|seen| seen.contains(nonce))
        {
            return Verdict::Replayed;
        }
        if self.held >= self.room {
            return Verdict::NoRoom;
        }
        self.by_second.entry(second).or_default().insert(*nonce);
        self.held += 1;
        Verdict::New
    }

    /// Forgets the seconds whose last millisecond is out of the window.
    fn forget(&mut self, now_ms: u64) {
        while let Some(oldest) = self.by_second.first_entry() {
            let second = *oldest.key();
            if second * 1000 + 999 + self.window_ms >= now_ms {
                return;
            }
            self.held -= oldest.remove().len();
            self.forgotten = Some(second);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: u64 = 30_000;
    const NOW: u64 = 1_800_000_000_500;

    fn nonces() -> Nonces {
        Nonces::new(WINDOW, 3)
    }

    #[test]
    fn the_window_is_the_same_into_both_directions() {
        for (time, verdict) in [
            (NOW, Verdict::New),
            (NOW - WINDOW, Verdict::New),
            (NOW + WINDOW, Verdict::New),
            (NOW - WINDOW - 1, Verdict::Stale),
            (NOW + WINDOW + 1, Verdict::Stale),
            (0, Verdict::Stale),
            (u64::MAX, Verdict::Stale),
        ] {
            assert_eq!(nonces().judge(&[1; 16], time, NOW), verdict, "{time}");
        }
    }

    #[test]
    fn a_call_is_taken_once_as_long_as_it_is_fresh() {
        let mut nonces = nonces();
        assert_eq!(nonces.judge(&[1; 16], NOW, NOW), Verdict::New);
        for later in [0, 1, 1000, WINDOW] {
            assert_eq!(nonces.judge(&[1; 16], NOW, NOW + later), Verdict::Replayed);
        }
        assert_eq!(
            nonces.judge(&[1; 16], NOW, NOW + WINDOW + 1),
            Verdict::Stale
        );
        assert_eq!(
            nonces.judge(&[2; 16], NOW, NOW),
            Verdict::New,
            "another one of the same time"
        );
    }

    #[test]
    fn a_clock_that_is_set_back_lets_no_old_call_in_again() {
        let mut nonces = nonces();
        assert_eq!(nonces.judge(&[1; 16], NOW, NOW), Verdict::New);
        let later = NOW + 2 * WINDOW;
        assert_eq!(nonces.judge(&[2; 16], later, later), Verdict::New);
        assert_eq!(nonces.judge(&[1; 16], NOW, NOW), Verdict::Stale);
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let mut nonces = nonces();
        for nonce in 1..=3 {
            assert_eq!(nonces.judge(&[nonce; 16], NOW, NOW), Verdict::New);
        }
        assert_eq!(nonces.judge(&[4; 16], NOW, NOW), Verdict::NoRoom);
        assert_eq!(nonces.judge(&[1; 16], NOW, NOW), Verdict::Replayed);
        let later = NOW + WINDOW + 1000;
        assert_eq!(nonces.judge(&[4; 16], later, later), Verdict::New);
        assert_eq!((nonces.held, nonces.by_second.len()), (1, 1));
    }

    proptest! {
        #[test]
        fn no_call_is_ever_taken_twice(
            calls in proptest::collection::vec((0_u8..4, 0_u64..200_000), 0..60),
            clock in proptest::collection::vec(0_u64..200_000, 60),
        ) {
            let mut nonces = Nonces::new(WINDOW, 1000);
            let mut taken = HashSet::new();
            for (call, now) in calls.into_iter().zip(clock) {
                let (nonce, time) = call;
                if nonces.judge(&[nonce; 16], time, now) == Verdict::New {
                    prop_assert!(taken.insert(call), "{call:?} at {now}");
                }
            }
            let held: usize = nonces.by_second.values().map(HashSet::len).sum();
            prop_assert_eq!(held, nonces.held);
        }
    }
}
