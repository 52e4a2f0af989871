//! Notifications on their way to the sockets: who hears which topic, and how nothing of a topic is missed.
//!
//! News are hints. Each session keeps, per topic, the number of the last notification that it has sent to its client, and
//! takes the next one only; whenever there is a gap it reads the log. So a hint may be lost, doubled or late.
//!
//! All news come through one listener per gateway, which hears the shards that its sessions need.

mod cursor;
mod listeners;
mod shards;

use crate::refusals;
pub(crate) use cursor::Cursor;
use listeners::Listeners;
use protocol::{
    ErrorCode, Refusal, TenantId, Topic,
    event::Notification,
    message::ServerMessage,
    topic::{Position, TopicState},
    upload::{LogHead, LogPage, LogQuery},
};
use serde::Serialize;
use service_kit::peer::{Peer, PeerError};
use shards::Shards;
use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use storage::events::{EventError, Events, News};
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// News waiting for one session; beyond it the session finds a gap and reads the log.
const QUEUE: usize = 64;

/// Notifications read from the log at once.
pub(crate) const PAGE: u32 = 200;

/// What a session is told.
#[derive(Clone, Debug)]
pub(crate) enum Hint {
    /// A notification, encoded once for all who hear it.
    Notification {
        log: Arc<str>,
        epoch: Arc<str>,
        offset: u64,
        text: Utf8Bytes,
    },
    /// How far a topic has come.
    Head {
        log: Arc<str>,
        epoch: Arc<str>,
        offset: u64,
    },
}

impl Hint {
    /// The log that it is about.
    pub(crate) fn log(&self) -> &str {
        match self {
            Self::Notification { log, .. } | Self::Head { log, .. } => log,
        }
    }
}

/// Who hears what, and where the log is.
pub(crate) struct Topics {
    uploader: Peer,
    events: Arc<dyn Events>,
    replay_limit: u64,
    listeners: Mutex<Listeners>,
    shards: Shards,
    /// News may have been missed: heads are to be compared at once.
    missed: Notify,
}

/// One session's ear. Dropping it ends all of its subscriptions.
pub(crate) struct Ear {
    sender: mpsc::Sender<Hint>,
    hints: mpsc::Receiver<Hint>,
}

impl Ear {
    pub(crate) fn new() -> Self {
        let (sender, hints) = mpsc::channel(QUEUE);
        Self { sender, hints }
    }

    pub(crate) fn sender(&self) -> mpsc::Sender<Hint> {
        self.sender.clone()
    }

    pub(crate) async fn next(&mut self) -> Option<Hint> {
        self.hints.recv().await
    }
}

impl Topics {
    pub(crate) fn new(uploader: Peer, events: Arc<dyn Events>, replay_limit: u64) -> Self {
        Self {
            uploader,
            shards: Shards::new(Arc::clone(&events)),
            events,
            replay_limit,
            listeners: Mutex::default(),
            missed: Notify::new(),
        }
    }

    /// Begins to hear a topic, then tells where it stands and from where the session goes on: from what the client knows, if
    /// all that it missed is still there, or else from the head.
    pub(crate) async fn subscribe(
        &self,
        ear: mpsc::Sender<Hint>,
        topic: Topic,
        tenant: &TenantId,
        since: Option<&Position>,
    ) -> Result<(Cursor, TopicState), Refusal> {
        let log: Arc<str> = topic.log_name(tenant).into();
        // Hearing before reading: what happens between the two is then heard, and what was heard twice is dropped.
        self.listeners().add(&log, ear);
        self.shards.need(&log).await;
        let page = self
            .read(topic, tenant, 0, 0)
            .await
            .map_err(refusals::from_peer)?;
        let recovered = since.is_some_and(|since| {
            since.epoch == page.epoch
                && since.offset <= page.head
                && since.offset + 1 >= page.oldest
                && page.head - since.offset <= self.replay_limit
        });
        let offset = since
            .filter(|_| recovered)
            .map_or(page.head, |since| since.offset);
        let cursor = Cursor::new(topic, log, &page, offset);
        Ok((
            cursor,
            TopicState {
                topic,
                epoch: page.epoch,
                offset: page.head,
                recovered,
            },
        ))
    }

    pub(crate) fn unsubscribe(&self, log: &str, ear: &mpsc::Sender<Hint>) {
        self.listeners().remove(log, ear);
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a stretch of a topic's log.
    pub(crate) async fn read(
        &self,
        topic: Topic,
        tenant: &TenantId,
        after: u64,
        limit: u32,
    ) -> Result<LogPage, PeerError> {
        let query = LogQuery {
            topic,
            tenant: tenant.clone(),
            after,
            limit,
        };
        let query = self.encoded(&query)?;
        self.uploader
            .get_json(format!("/notifications?{query}"))
            .await
    }

    fn encoded(&self, query: impl Serialize) -> Result<String, PeerError> {
        serde_urlencoded::to_string(query).map_err(|error| PeerError::InvalidRequest {
            peer: self.uploader.name().into(),
            reason: error.to_string(),
        })
    }

    /// Passes news on until the engine is closed.
    pub(crate) async fn fan_out(&self) {
        loop {
            match self.events.listen().await {
                Ok(news) => {
                    // What was told before is not heard any more.
                    self.missed.notify_one();
                    match self.fan_out_from(news).await {
                        Err(EventError::Closed) => return,
                        Err(EventError::Unavailable(reason)) => {
                            tracing::warn!(
                                reason,
                                "notifications are heard no more; listening again"
                            );
                        }
                        Ok(never) => match never {},
                    }
                }
                Err(EventError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "can't hear notifications; sessions read the log instead");
                    tokio::time::sleep(refusals::RETRY_AFTER).await;
                }
            }
        }
    }

    async fn fan_out_from(&self, mut news: Box<dyn News>) -> Result<Infallible, EventError> {
        loop {
            let published = news.next().await?;
            self.tell(published.notification, &published.tenant);
        }
    }

    fn tell(&self, notification: Notification, tenant: &TenantId) {
        let log = notification.topic.log_name(tenant);
        self.listeners().tell(&log, |log| Hint::Notification {
            log: log.clone(),
            epoch: notification.epoch.as_str().into(),
            offset: notification.offset,
            text: encode(notification),
        });
    }

    /// Compares, again and again, how far the topics have come with what was heard: a lost last hint is otherwise never noticed.
    /// Also lets go of shards that nobody needs any more.
    pub(crate) async fn compare_heads(&self, every: Duration) {
        loop {
            // A timeout says that it is time again.
            let _ = tokio::time::timeout(every, self.missed.notified()).await;
            let logs = self.listeners().present();
            for logs in logs.chunks(100) {
                match self.heads(logs).await {
                    Ok(heads) => heads.into_iter().for_each(|head| self.tell_head(&head)),
                    Err(error) => tracing::debug!(%error, "can't compare topic heads now"),
                }
            }
            self.shards
                .release(|shard| self.listeners().need(shard))
                .await;
        }
    }

    async fn heads(&self, logs: &[Arc<str>]) -> Result<Vec<LogHead>, PeerError> {
        let names: Vec<(&str, &str)> = logs.iter().map(|log| ("log", &**log)).collect();
        let query = self.encoded(names)?;
        self.uploader
            .get_json(format!("/notifications/heads?{query}"))
            .await
    }

    fn tell_head(&self, head: &LogHead) {
        self.listeners().tell(&head.log, |log| Hint::Head {
            log: log.clone(),
            epoch: head.epoch.as_str().into(),
            offset: head.head,
        });
    }
}

pub(crate) fn encode(notification: Notification) -> Utf8Bytes {
    ServerMessage::Notification(notification).to_json().into()
}

/// Whether a caller may hear a topic.
pub(crate) fn check_topic(
    topic: Topic,
    caller: &protocol::identity::Caller,
) -> Result<(), Refusal> {
    match topic {
        Topic::User(user) if user == caller.user_id => Ok(()),
        Topic::Admin if caller.is_admin() => Ok(()),
        Topic::Admin => Err(Refusal::new(
            ErrorCode::Forbidden,
            "the topic admin is for admins",
        )),
        Topic::User(_) | Topic::Pool(_) => Err(Refusal::new(
            ErrorCode::NotFound,
            "there is no such topic for you",
        )),
    }
}

#[cfg(test)]
mod tests;
