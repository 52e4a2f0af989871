//! What a store says to the background tasks after each commit.
//!
//! The store says it, and not the one who asked for the change: a caller that goes away between commit and answer must
//! not leave work lying, and news keep the order in which they were committed.

use protocol::upload::Published;
use tokio::sync::{Notify, mpsc};

/// How many commits' news may wait for being told. News are hints: what does not fit is found in the log.
const MAX_NEWS: usize = 1024;

/// What a transaction brought about for others.
#[derive(Debug, Default)]
pub struct Effects {
    /// Notifications committed, in order.
    pub news: Vec<Published>,
    /// Whether attempts were put into the outbox.
    pub outbox: bool,
    /// Whether attempts were resolved, so that others may be dispatched.
    pub room: bool,
}

/// The store's end of the signals.
#[derive(Debug)]
pub struct Signals {
    news: mpsc::Sender<Vec<Published>>,
    /// Told when there is more in the outbox.
    pub outbox: Notify,
    /// Told when fewer attempts are under way.
    pub room: Notify,
}

impl Signals {
    /// Signals, and where the news come out.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Vec<Published>>) {
        let (news, told) = mpsc::channel(MAX_NEWS);
        (
            Self {
                news,
                outbox: Notify::new(),
                room: Notify::new(),
            },
            told,
        )
    }

    /// To be called after every commit, in the order of commits.
    pub fn committed(&self, effects: Effects) {
        if effects.outbox {
            self.outbox.notify_one();
        }
        if effects.room {
            self.room.notify_one();
        }
        if !effects.news.is_empty() && self.news.try_send(effects.news).is_err() {
            metrics::counter!(crate::metric::NEWS_DROPPED).increment(1);
        }
    }
}
