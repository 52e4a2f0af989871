//! When a writer that commits for many at once begins its next commit.
//!
//! A commit costs the same whatever it commits. While few ask, each is served at once. While many do, it pays to begin commits
//! only every few milliseconds, so that more of them share one. Which of both it is shows by trying: a pause that has brought
//! nobody else is not made again for a while.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// The time between the beginnings of two commits while many ask.
const INTERVAL: Duration = Duration::from_millis(4);

/// How many must share a commit for the pause before it to be worth it.
const MANY: usize = 4;

/// How long no pause is made after one that was not worth it.
const RESPITE: Duration = Duration::from_millis(200);

/// The pace of one writer.
#[derive(Debug)]
pub struct Pace {
    /// When the commit before began.
    began: Instant,
    /// Until when no pause is made.
    respite: Instant,
    paused: bool,
}

impl Default for Pace {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            respite: now,
            paused: false,
        }
    }
}

impl Pace {
    /// Waits until somebody asks and the next commit is to begin, and takes those who ask for it into `group`, which is empty: at
    /// most so many. Answers whether there are any; there are none once nobody can ask any more.
    pub async fn gather<T>(
        &mut self,
        asking: &mut mpsc::Receiver<T>,
        group: &mut Vec<T>,
        most: usize,
    ) -> bool {
        if asking.recv_many(group, most).await == 0 {
            return false;
        }
        self.pause(group.len()).await;
        while group.len() < most
            && let Ok(one) = asking.try_recv()
        {
            group.push(one);
        }
        self.begin(group.len());
        true
    }

    /// Waits until the next commit is to begin, for which `waiting` ask so far.
    async fn pause(&mut self, waiting: usize) {
        let next = self.began + INTERVAL;
        let now = Instant::now();
        self.paused = waiting < MANY && now < next && now >= self.respite;
        if self.paused {
            sleep_until(next).await;
        }
    }

    /// Notes that a commit begins, for which `together` have asked.
    fn begin(&mut self, together: usize) {
        self.began = Instant::now();
        if self.paused && together < MANY {
            self.respite = self.began + RESPITE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a writer at this pace pauses before a commit for which one asks, if `together` share it in the end.
    async fn pause(pace: &mut Pace, together: usize) -> Duration {
        let before = Instant::now();
        pace.pause(1).await;
        pace.begin(together);
        before.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn many_share_a_commit_every_few_milliseconds() {
        let mut pace = Pace::default();
        for _ in 0..3 {
            assert_eq!(pause(&mut pace, MANY).await, INTERVAL);
        }
        tokio::time::advance(INTERVAL).await;
        assert_eq!(
            pause(&mut pace, MANY).await,
            Duration::ZERO,
            "the first after a rest is served at once"
        );
        pace.pause(MANY).await;
        assert!(!pace.paused, "enough are there");
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_during_the_pause_are_taken_along_up_to_a_bound() {
        let mut pace = Pace::default();
        let (ask, mut asking) = mpsc::channel(8);
        ask.send(1).await.unwrap();
        let later = async {
            tokio::time::sleep(INTERVAL / 2).await;
            for number in 2..=4 {
                ask.send(number).await.unwrap();
            }
            drop(ask);
        };
        let mut group = Vec::new();
        let (any, ()) = tokio::join!(pace.gather(&mut asking, &mut group, 3), later);
        assert!(any);
        assert_eq!(group, [1, 2, 3]);
        group.clear();
        assert!(pace.gather(&mut asking, &mut group, 3).await);
        assert_eq!(group, [4]);
        group.clear();
        assert!(!pace.gather(&mut asking, &mut group, 3).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_alone_is_not_kept_waiting_but_now_and_then() {
        let mut pace = Pace::default();
        assert_eq!(pause(&mut pace, MANY - 1).await, INTERVAL);
        let tried = Instant::now();
        while tried.elapsed() < RESPITE {
            assert_eq!(pause(&mut pace, 1).await, Duration::ZERO);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        pace.begin(1);
        assert_eq!(
            pause(&mut pace, 1).await,
            INTERVAL,
            "it may be different now"
        );
    }
}
