//! `GET /auth/revocations?after=<seq>&wait_ms=<n>`: a long poll for ended tokens.

use crate::{error::AuthError, service::Auth};
use axum::extract::State;
use jiff::Timestamp;
use protocol::token::Revocations;
use serde::Deserialize;
use service_kit::problem::{Json, Query};
use std::time::Duration;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

/// The longest that a request is held.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// How often the table is looked at while waiting: another instance may have written to it. A logout there reaches those who
/// wait here in this time, of the second that it may take until sockets are closed.
const RECHECK: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Poll {
    /// The number up to which the caller knows all.
    #[serde(default)]
    after: u64,
    /// How long to wait if there is nothing new, in milliseconds.
    #[serde(default)]
    wait_ms: u64,
}

pub(crate) async fn handle(
    State(auth): State<Auth>,
    Query(poll): Query<Poll>,
) -> Result<Json<Revocations>, AuthError> {
    let wait = Duration::from_millis(poll.wait_ms).min(MAX_WAIT);
    auth.revocations(poll.after, Instant::now() + wait)
        .await
        .map(Json)
}

impl Auth {
    /// The revocations numbered above `after`, as soon as there are any, or none at the deadline.
    async fn revocations(&self, after: u64, deadline: Instant) -> Result<Revocations, AuthError> {
        // Subscribed before the table is read, so that no announcement falls between.
        let mut announced = self.feed.subscribe();
        loop {
            let since = self.outdated(Timestamp::now());
            // Reading may take long: what it answers is what was there when it began.
            let read_at = Instant::now();
            let revocations = self.users.revocations_after(after, since).await?;
            if revocations.seq != after || read_at >= deadline {
                return Ok(revocations);
            }
            let recheck = deadline.min(read_at + RECHECK);
            // Either way the table says whether there is something.
            let _ = timeout_at(recheck, announced.changed()).await;
        }
    }
}

/// Wakes those who wait for revocations. Clones wake the same.
#[derive(Clone, Default)]
pub(crate) struct Feed {
    head: watch::Sender<u64>,
}

impl Feed {
    /// Tells that the table has revocations up to this number.
    pub(crate) fn announce(&self, seq: u64) {
        self.head.send_modify(|head| *head = seq.max(*head));
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_wakes_who_has_subscribed_before() {
        let feed = Feed::default();
        let waiting = feed.subscribe();
        assert!(!waiting.has_changed().unwrap());
        feed.announce(2);
        assert!(waiting.has_changed().unwrap());
        feed.announce(1);
        assert_eq!(
            *waiting.borrow(),
            2,
            "a late announcement takes nothing back"
        );
    }
}
