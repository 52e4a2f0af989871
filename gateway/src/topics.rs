//! Notifications on their way to the sockets: who hears which topic, and how nothing of a topic is missed.
//!
//! News are hints. Each session keeps, per topic, the number of the last notification that it has sent to its client, and
//! takes the next one only; whenever there is a gap it reads the log. So a hint may be lost, doubled or late.
//!
//! All news come through one listener per gateway, which hears the shards that its sessions need.

mod cursor;
mod ear;
mod heads;
mod listeners;
mod shards;

use crate::{
    refusals,
    socket::{event::Feed, frames, outlet::Offer},
};
use bytes::Bytes;
pub(crate) use cursor::Cursor;
pub(crate) use ear::{Ear, Gap};
use heads::Heads;
use listeners::Listeners;
use protocol::{
    ErrorCode, Refusal, TenantId, Topic,
    event::Notification,
    message::ServerMessage,
    topic::{Position, TopicState},
    upload::{LogHead, LogPage, LogQuery, Published},
};
use serde::Serialize;
use service_kit::peer::{Peer, PeerError};
use shards::Shards;
use std::{
    convert::Infallible,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use storage::events::{EventError, Events, News};
use tokio::{
    sync::{Notify, mpsc},
    task::{coop::unconstrained, yield_now},
};

/// News that wait to be passed on at most.
const WAITING: usize = 1024;

/// News that are passed on together at most.
const BATCH: usize = 64;

/// Sockets that are written to before others get their turn.
const SLICE: usize = 256;

/// Time for news on their way to arrive, before a head that was read says that they are lost: else all who listen would read the
/// log for what they are about to hear.
const ON_THEIR_WAY: Duration = Duration::from_millis(250);

/// Notifications read from the log at once.
pub(crate) const PAGE: u32 = 200;

/// What is heard of a topic.
#[derive(Clone, Debug)]
struct Hint {
    log: Arc<str>,
    epoch: Arc<str>,
    /// How far the topic has come.
    offset: u64,
    /// The number of the first notification that comes with it.
    first: u64,
    /// The notifications from the first to the last, as frames one behind the other, encoded once for all who hear them; without
    /// them the hint only tells how far the topic has come.
    frames: Option<Bytes>,
}

impl Hint {
    /// A hint of notifications of a log, each of which follows the one before.
    fn of(run: &[(Arc<str>, Notification)]) -> Option<Self> {
        let ((log, first), (_, last)) = (run.first()?, run.last()?);
        let frames: Vec<Bytes> = run.iter().map(|(_, each)| encode(each.clone())).collect();
        let frames = match &frames[..] {
            [frame] => frame.clone(),
            several => several.concat().into(),
        };
        Some(Self {
            log: log.clone(),
            epoch: last.epoch.as_str().into(),
            offset: last.offset,
            first: first.offset,
            frames: Some(frames),
        })
    }
}

/// Who hears what, and where the log is.
pub(crate) struct Topics {
    uploader: Peer,
    heads: Heads,
    events: Arc<dyn Events>,
    replay_limit: u64,
    listeners: Arc<Mutex<Listeners>>,
    shards: Shards,
    /// Held while a hint is passed on, so that none overtakes another.
    passing: tokio::sync::Mutex<()>,
    /// News may have been missed: heads are to be compared at once.
    missed: Notify,
}

/// A session's ear, as the session holds it. Dropping it ends all of its subscriptions.
pub(crate) struct OwnEar {
    ear: Arc<Ear>,
    listeners: Arc<Mutex<Listeners>>,
}

impl Deref for OwnEar {
    type Target = Arc<Ear>;

    fn deref(&self) -> &Arc<Ear> {
        &self.ear
    }
}

impl Drop for OwnEar {
    fn drop(&mut self) {
        lock(&self.listeners).remove_all(&self.ear);
    }
}

fn lock(listeners: &Mutex<Listeners>) -> MutexGuard<'_, Listeners> {
    listeners.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Topics {
    pub(crate) fn new(uploader: Peer, events: Arc<dyn Events>, replay_limit: u64) -> Self {
        Self {
            heads: Heads::new(uploader.clone()),
            uploader,
            shards: Shards::new(Arc::clone(&events)),
            events,
            replay_limit,
            listeners: Arc::default(),
            passing: tokio::sync::Mutex::default(),
            missed: Notify::new(),
        }
    }

    /// The ear of a new session: it sends through `outlet`, where at most `bound` bytes shall wait, and tells `feed` of gaps.
    pub(crate) fn ear(&self, outlet: Arc<dyn Offer>, bound: usize, feed: Feed) -> OwnEar {
        OwnEar {
            ear: Arc::new(Ear::new(outlet, bound, feed)),
            listeners: self.listeners.clone(),
        }
    }

    /// Begins to hear a topic, then tells where it stands and from where the session goes on: from what the client knows, if
    /// all that it missed is still there, or else from the head. Nothing is sent before [`Ear::begin`].
    pub(crate) async fn subscribe(
        &self,
        ear: &Arc<Ear>,
        topic: Topic,
        tenant: &TenantId,
        since: Option<&Position>,
    ) -> Result<(Cursor, TopicState), Refusal> {
        // Hearing before reading: what happens between the two is then heard, and what was heard twice is dropped.
        let log = self.listeners().add(&topic.log_name(tenant), ear);
        self.shards.need(&log).await;
        let LogHead {
            epoch,
            head,
            oldest,
            ..
        } = self.heads.of(&log).await?;
        let recovered = since.is_some_and(|since| {
            since.epoch == epoch
                && since.offset <= head
                && since.offset + 1 >= oldest
                && head - since.offset <= self.replay_limit
        });
        let offset = since
            .filter(|_| recovered)
            .map_or(head, |since| since.offset);
        let shared = self.listeners().epoch(&log, &epoch);
        let cursor = Cursor::new(topic, log, shared, head, offset);
        Ok((
            cursor,
            TopicState {
                topic,
                epoch,
                offset: head,
                recovered,
            },
        ))
    }

    pub(crate) fn unsubscribe(&self, log: &str, ear: &Ear) {
        self.listeners().remove(log, ear);
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        lock(&self.listeners)
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
        let query = encoded(&self.uploader, &query)?;
        self.uploader
            .get_json(format!("/notifications?{query}"))
            .await
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

    /// Hears news while others are passed on: what waits together is sent together.
    async fn fan_out_from(&self, news: Box<dyn News>) -> Result<Infallible, EventError> {
        let (sender, mut waiting) = mpsc::channel(WAITING);
        let pass_on = async {
            let mut batch = Vec::new();
            while waiting.recv_many(&mut batch, BATCH).await > 0 {
                self.tell_all(&mut batch).await;
            }
        };
        // What was heard is passed on to the end.
        let (ended, ()) = tokio::join!(hear(news, sender), pass_on);
        ended
    }

    /// Tells news, those of each log in their order.
    async fn tell_all(&self, batch: &mut Vec<Published>) {
        let mut named: Vec<(Arc<str>, Notification)> = batch
            .drain(..)
            .filter_map(
                |Published {
                     notification,
                     tenant,
                 }| {
                    // Most of what happens is heard by nobody here.
                    let log = self
                        .listeners()
                        .name(&notification.topic.log_name(&tenant))?;
                    Some((log, notification))
                },
            )
            .collect();
        named.sort_by(|(log, _), (other, _)| log.cmp(other));
        let follows = |(log, one): &(Arc<str>, Notification),
                       (other, next): &(Arc<str>, Notification)| {
            log == other && one.epoch == next.epoch && one.offset + 1 == next.offset
        };
        for run in named.chunk_by(follows) {
            if let Some(hint) = Hint::of(run) {
                self.pass_on(&hint).await;
            }
        }
    }

    /// Passes a hint on to all who hear its log: straight to their sockets, some at a time.
    async fn pass_on(&self, hint: &Hint) {
        let _passing = self.passing.lock().await;
        let mut ears = Vec::new();
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.listeners().some(&hint.log, from, SLICE, &mut ears);
            unconstrained(async { ears.drain(..).for_each(|ear| ear.hear(hint)) }).await;
            if next.is_some() {
                yield_now().await;
            }
        }
    }

    /// Compares, again and again, how far the topics have come with what was heard: a lost last hint is otherwise never noticed.
    /// Also lets go of shards that nobody needs any more.
    pub(crate) async fn compare_heads(&self, every: Duration) {
        loop {
            // A timeout says that it is time again.
            let _ = tokio::time::timeout(every, self.missed.notified()).await;
            let logs = self.listeners().present();
            let mut news = Vec::new();
            for logs in logs.chunks(heads::AT_ONCE) {
                match self.heads.read(logs).await {
                    // Most often nothing was missed, of thousands of logs.
                    Ok(mut heads) => {
                        heads.retain(|head| self.listeners().lacks(head));
                        news.append(&mut heads);
                    }
                    Err(error) => tracing::debug!(%error, "can't compare topic heads now"),
                }
            }
            if !news.is_empty() {
                tokio::time::sleep(ON_THEIR_WAY).await;
            }
            for head in news {
                self.tell_head(head).await;
            }
            self.shards
                .release(|shard| self.listeners().need(shard))
                .await;
        }
    }

    async fn tell_head(&self, head: LogHead) {
        let Some(log) = self.listeners().name(&head.log) else {
            return;
        };
        let hint = Hint {
            log,
            epoch: head.epoch.as_str().into(),
            offset: head.head,
            first: head.head,
            frames: None,
        };
        self.pass_on(&hint).await;
    }
}

async fn hear(
    mut news: Box<dyn News>,
    sender: mpsc::Sender<Published>,
) -> Result<Infallible, EventError> {
    loop {
        // Where too much waits, sessions find a gap and read the log.
        let _ = sender.try_send(news.next().await?);
    }
}

/// A query to this peer.
fn encoded(peer: &Peer, query: impl Serialize) -> Result<String, PeerError> {
    serde_urlencoded::to_string(query).map_err(|error| PeerError::InvalidRequest {
        peer: peer.name().into(),
        reason: error.to_string(),
    })
}

fn encode(notification: Notification) -> Bytes {
    frames::text(&ServerMessage::Notification(notification).to_json())
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
mod testing;
#[cfg(test)]
mod tests;
