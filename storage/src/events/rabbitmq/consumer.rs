//! A consumer of work on a channel of its own, which comes back with the connection.

use super::{
    connection::{DEADLINE, Session},
    link::{Backoff, Link},
};
use crate::events::{Delivery, EventError, Work};
use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use lapin::{
    Acker, Channel,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions,
        BasicQosOptions, BasicRejectOptions,
    },
    types::FieldTable,
};
use protocol::upload::PersistFile;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

const REQUEUE: BasicNackOptions = BasicNackOptions {
    multiple: false,
    requeue: true,
};

/// One consumer of work.
pub(super) struct Consumer {
    link: Arc<Link>,
    closed: CancellationToken,
    prefetch: u16,
    feed: Option<Feed>,
}

/// Work as it comes through one channel.
struct Feed {
    session: Arc<Session>,
    channel: Channel,
    deliveries: lapin::Consumer,
}

impl Consumer {
    /// Begins to consume.
    pub(super) async fn open(
        link: Arc<Link>,
        closed: CancellationToken,
        prefetch: usize,
    ) -> Result<Self, EventError> {
        let prefetch = u16::try_from(prefetch.max(1)).unwrap_or(u16::MAX);
        let feed = Some(Feed::open(&link, link.session().await?, prefetch).await?);
        Ok(Self {
            link,
            closed,
            prefetch,
            feed,
        })
    }

    /// Waits for work, on one connection after the other.
    async fn wait(&mut self) -> Result<Taken, EventError> {
        let mut backoff = Backoff::new();
        loop {
            let Some(feed) = &mut self.feed else {
                match self.reopen().await {
                    Err(EventError::Unavailable(reason)) => {
                        tracing::warn!(reason, "can't consume work now, trying again");
                        tokio::time::sleep(backoff.step()).await;
                    }
                    reopened => reopened?,
                }
                continue;
            };
            match feed.deliveries.next().await {
                Some(Ok(delivery)) => {
                    if let Some(taken) = feed.take(delivery).await {
                        return Ok(taken);
                    }
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "consuming work is interrupted");
                    self.feed = None;
                }
                None => {
                    // The broker ended it: the queue was deleted, and is declared again with the next connection.
                    feed.session.give_up();
                    self.feed = None;
                }
            }
        }
    }

    async fn reopen(&mut self) -> Result<(), EventError> {
        let session = self.link.next_session().await?;
        self.feed = Some(Feed::open(&self.link, session, self.prefetch).await?);
        Ok(())
    }
}

#[async_trait]
impl Work for Consumer {
    async fn next(&mut self) -> Result<Box<dyn Delivery>, EventError> {
        let closed = self.closed.clone();
        let taken = closed.run_until_cancelled(self.wait()).await;
        Ok(Box::new(taken.unwrap_or(Err(EventError::Closed))?))
    }
}

/// What was sent here and not handed out goes to other consumers at once, also while work in hand keeps the channel open.
impl Drop for Consumer {
    fn drop(&mut self) {
        if let (Some(feed), Ok(runtime)) = (self.feed.take(), Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(DEADLINE, feed.release()));
        }
    }
}

impl Feed {
    async fn open(link: &Link, session: Arc<Session>, prefetch: u16) -> Result<Self, EventError> {
        let channel = session.channel().await?;
        let qos = channel.basic_qos(prefetch, BasicQosOptions::default());
        session.call("setting the prefetch", qos).await?;
        let consuming = channel.basic_consume(
            link.topology().work.clone(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let deliveries = session.call("consuming work", consuming).await?;
        Ok(Self {
            session,
            channel,
            deliveries,
        })
    }

    /// The work in a message. One that can't be read is no work for anybody: it goes to the dead letters.
    async fn take(&self, message: lapin::message::Delivery) -> Option<Taken> {
        let acker = message.acker;
        match serde_json::from_slice(&message.data) {
            Ok(work) => Some(Taken {
                work,
                acker: Some(acker),
                session: Arc::clone(&self.session),
                channel: self.channel.clone(),
                runtime: Handle::current(),
            }),
            Err(error) => {
                let id = message.properties.message_id().as_ref();
                tracing::error!(%error, message_id = id.map(|id| id.as_str()), bytes = message.data.len(),
                    "unreadable work is put among the dead letters");
                let rejected = acker.reject(BasicRejectOptions::default());
                if let Err(error) = self.session.call("rejecting a message", rejected).await {
                    tracing::debug!(%error, "the message comes again");
                }
                None
            }
        }
    }

    async fn release(mut self) {
        let tag = self.deliveries.tag();
        let cancelled = self
            .channel
            .basic_cancel(tag, BasicCancelOptions::default());
        // Whatever fails here fails because the channel is gone, and then the broker has put everything back.
        let _ = self.session.call("ending a consumer", cancelled).await;
        while let Some(Some(Ok(message))) = self.deliveries.next().now_or_never() {
            let _ = message.acker.nack(REQUEUE).await;
        }
    }
}

/// Work in hand. It keeps its channel, and with it the connection, open until it is answered.
struct Taken {
    work: PersistFile,
    /// None once answered.
    acker: Option<Acker>,
    session: Arc<Session>,
    channel: Channel,
    runtime: Handle,
}

impl Taken {
    async fn answer(
        &self,
        what: &str,
        answer: impl Future<Output = lapin::Result<bool>>,
    ) -> Result<(), EventError> {
        if self.session.call(what, answer).await? {
            return Ok(());
        }
        Err(EventError::Unavailable(format!(
            "{what}: the channel is gone, and the work is somebody else's"
        )))
    }
}

#[async_trait]
impl Delivery for Taken {
    fn event(&self) -> &PersistFile {
        &self.work
    }

    async fn ack(mut self: Box<Self>) -> Result<(), EventError> {
        let Some(acker) = self.acker.take() else {
            return Ok(());
        };
        self.answer("acknowledging work", acker.ack(BasicAckOptions::default()))
            .await
    }

    async fn nack(mut self: Box<Self>) -> Result<(), EventError> {
        let Some(acker) = self.acker.take() else {
            return Ok(());
        };
        self.answer("putting work back", acker.nack(REQUEUE)).await
    }
}

/// Whatever was not answered goes back.
impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(acker) = self.acker.take() {
            let channel = self.channel.clone();
            self.runtime.spawn(async move {
                // On a lost channel the broker has put it back already.
                let _ = tokio::time::timeout(DEADLINE, acker.nack(REQUEUE)).await;
                drop(channel);
            });
        }
    }
}
