//! Whether a replica is given calls: no more after failures in a row, until it is found alive.

use std::time::Duration;

use tokio::time::Instant;

use crate::peer::PeerConfig;

/// The state of one replica, as its caller sees it. It reads no clock and rolls no dice: `jitter` is from 0 to 1.
#[derive(Debug)]
pub(super) struct Breaker {
    limits: Limits,
    state: State,
    /// Failures since the last success.
    failures: u32,
    /// Openings since it was last closed.
    openings: u32,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) failures: u32,
    pub(super) open_min: Duration,
    pub(super) open_max: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Calls pass.
    Closed,
    /// Calls go elsewhere; at this time it is looked at again.
    Open(Instant),
    /// It is being looked at.
    HalfOpen,
}

/// What counts as how much of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// One in a row.
    One,
    /// Enough: it was asked whether it lives, and did not answer.
    Enough,
}

impl Limits {
    pub(super) fn of(config: &PeerConfig) -> Self {
        Self {
            failures: config.breaker_failures.max(1),
            open_min: config.breaker_open_min.duration(),
            open_max: config.breaker_open_max.duration(),
        }
    }
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open(_) => "open",
        }
    }

    /// The value of the gauge.
    pub(super) fn number(self) -> f64 {
        match self {
            Self::Closed => 0.0,
            Self::HalfOpen => 1.0,
            Self::Open(_) => 2.0,
        }
    }
}

impl Breaker {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Closed,
            failures: 0,
            openings: 0,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Whether it should be given calls.
    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// A call failed. Late news of a replica that is left out already change nothing.
    pub(super) fn failed(&mut self, weight: Weight, now: Instant, jitter: f64) {
        if !self.is_closed() {
            return;
        }
        self.failures += 1;
        if weight == Weight::Enough || self.failures >= self.limits.failures {
            self.open(now, jitter);
        }
    }

    /// A call was answered. If calls should go elsewhere, it is looked at now.
    pub(super) fn answered(&mut self, now: Instant) {
        match self.state {
            State::Closed => self.failures = 0,
            State::Open(until) => self.state = State::Open(until.min(now)),
            State::HalfOpen => {}
        }
    }

    /// When it is to be looked at, if it is.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Open(until) => Some(until),
            _ => None,
        }
    }

    /// Begins to look at it, if it is time. Who is told so must tell how it [ended](Self::probed).
    pub(super) fn begin_probe(&mut self, now: Instant) -> bool {
        let is_due = self.due().is_some_and(|due| due <= now);
        if is_due {
            self.state = State::HalfOpen;
        }
        is_due
    }

    /// It was looked at.
    pub(super) fn probed(&mut self, lives: bool, now: Instant, jitter: f64) {
        if self.state != State::HalfOpen {
            return;
        }
        if lives {
            self.state = State::Closed;
            (self.failures, self.openings) = (0, 0);
        } else {
            self.open(now, jitter);
        }
    }

    /// Leaves it out for a time that grows, and is not the same for all callers.
    fn open(&mut self, now: Instant, jitter: f64) {
        let doubled = 1_u32.checked_shl(self.openings).unwrap_or(u32::MAX);
        let time = self
            .limits
            .open_min
            .saturating_mul(doubled)
            .min(self.limits.open_max);
        self.state = State::Open(now + time.mul_f64(0.75 + jitter / 2.0));
        self.openings = (self.openings + 1).min(31);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIDDLE: f64 = 0.5;

    fn breaker() -> Breaker {
        Breaker::new(Limits::of(&PeerConfig::default()))
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = breaker();
        breaker.failed(Weight::Enough, now, MIDDLE);
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it() {
        let now = Instant::now();
        let mut breaker = breaker();
        for _ in 0..10 {
            breaker.failed(Weight::One, now, MIDDLE);
            breaker.failed(Weight::One, now, MIDDLE);
            assert!(breaker.is_closed());
            breaker.answered(now);
        }
        for state in [
            State::Closed,
            State::Closed,
            State::Open(now + Duration::from_secs(1)),
        ] {
            breaker.failed(Weight::One, now, MIDDLE);
            assert_eq!(breaker.state(), state);
        }
    }

    #[test]
    fn one_that_does_not_live_opens_at_once() {
        assert!(!opened(Instant::now()).is_closed());
    }

    #[test]
    fn it_is_looked_at_when_its_time_has_come_and_closed_when_it_lives() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let due = breaker.due().unwrap();
        assert!(!breaker.begin_probe(due - Duration::from_millis(1)));
        assert!(breaker.begin_probe(due));
        assert_eq!(breaker.state(), State::HalfOpen);
        assert!(!breaker.begin_probe(due), "one at a time");
        breaker.failed(Weight::Enough, due, MIDDLE);
        breaker.answered(due);
        assert_eq!(breaker.state(), State::HalfOpen, "only the look decides");
        breaker.probed(true, due, MIDDLE);
        assert!(breaker.is_closed());
        breaker.failed(Weight::One, due, MIDDLE);
        assert!(breaker.is_closed(), "failures are counted anew");
    }

    #[test]
    fn the_time_grows_to_its_bound_and_begins_again_after_closing() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for seconds in [1, 2, 4, 8, 15, 15, 15] {
            let due = breaker.due().unwrap();
            assert_eq!(due - now, Duration::from_secs(seconds));
            now = due;
            assert!(breaker.begin_probe(now));
            breaker.probed(false, now, MIDDLE);
        }
        now = breaker.due().unwrap();
        assert!(breaker.begin_probe(now));
        breaker.probed(true, now, MIDDLE);
        breaker.failed(Weight::Enough, now, MIDDLE);
        assert_eq!(breaker.due().unwrap() - now, Duration::from_secs(1));
    }

    #[test]
    fn callers_do_not_come_back_all_at_once() {
        let now = Instant::now();
        for (jitter, millis) in [(0.0, 750), (0.5, 1000), (1.0, 1250)] {
            let mut breaker = breaker();
            breaker.failed(Weight::Enough, now, jitter);
            assert_eq!(breaker.due().unwrap() - now, Duration::from_millis(millis));
        }
    }

    #[test]
    fn an_answer_while_open_is_a_reason_to_look_now() {
        let now = Instant::now();
        let mut breaker = opened(now);
        breaker.answered(now);
        assert!(!breaker.is_closed());
        assert!(breaker.begin_probe(now));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Failed(bool),
        Answered,
        Waited(u64),
        Probed(bool),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            any::<bool>().prop_map(Step::Failed),
            Just(Step::Answered),
            (0_u64..20_000).prop_map(Step::Waited),
            any::<bool>().prop_map(Step::Probed),
        ]
    }

    proptest! {
        /// Whatever happens: it goes closed → open → half-open → closed or open, and never stays open beyond its bound.
        #[test]
        fn it_moves_in_one_order_only(steps in proptest::collection::vec(any_step(), 0..80), jitter in 0.0..=1.0) {
            let mut now = Instant::now();
            let mut breaker = breaker();
            for step in steps {
                let before = breaker.state().name();
                match step {
                    Step::Failed(enough) => {
                        let weight = if enough { Weight::Enough } else { Weight::One };
                        breaker.failed(weight, now, jitter);
                    }
                    Step::Answered => breaker.answered(now),
                    Step::Waited(millis) => {
                        now += Duration::from_millis(millis);
                        breaker.begin_probe(now);
                    }
                    Step::Probed(lives) => breaker.probed(lives, now, jitter),
                }
                let after = breaker.state().name();
                let allowed = [("closed", "open"), ("open", "half-open"), ("half-open", "closed"), ("half-open", "open")];
                prop_assert!(before == after || allowed.contains(&(before, after)), "{before} → {after}");
                if let Some(due) = breaker.due() {
                    prop_assert!(due <= now + Duration::from_millis(18_750));
                }
            }
        }
    }
}
