//! Publishing with confirms: many messages are on their way at once, and the batch is done when all are confirmed.

use super::{connection::Session, link::Link};
use crate::events::EventError;
use lapin::{
    BasicProperties, Channel,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

/// Messages of a batch that may be unconfirmed.
const WINDOW: usize = 256;

/// Channels that are kept for the next batch; more are open only while more batches are published at once.
const KEPT: usize = 4;

/// Publishes to one exchange.
pub(super) struct Publisher {
    link: Arc<Link>,
    exchange: ShortString,
    /// Whether a message that no queue takes is a failure.
    must_arrive: bool,
    idle: Mutex<Vec<Lane>>,
}

/// What is to be published.
pub(super) struct Message {
    pub(super) key: ShortString,
    pub(super) properties: BasicProperties,
    pub(super) body: Vec<u8>,
}

/// A channel in confirm mode. One batch at a time uses it; a batch that fails or is given up takes it along.
struct Lane {
    session: Arc<Session>,
    channel: Channel,
}

impl Publisher {
    pub(super) fn new(link: Arc<Link>, exchange: ShortString, must_arrive: bool) -> Self {
        Self {
            link,
            exchange,
            must_arrive,
            idle: Mutex::default(),
        }
    }

    /// Publishes a batch; when it returns, the broker has taken all of it.
    pub(super) async fn publish(
        &self,
        messages: impl Iterator<Item = Message>,
    ) -> Result<(), EventError> {
        let lane = self.lane().await?;
        let mut unconfirmed = VecDeque::with_capacity(WINDOW);
        for message in messages {
            if unconfirmed.len() == WINDOW
                && let Some(oldest) = unconfirmed.pop_front()
            {
                lane.session.confirmed(oldest).await?;
            }
            let options = BasicPublishOptions {
                mandatory: self.must_arrive,
                ..BasicPublishOptions::default()
            };
            let sent = lane.channel.basic_publish(
                self.exchange.clone(),
                message.key,
                options,
                &message.body,
                message.properties,
            );
            unconfirmed.push_back(lane.session.call("publishing", sent).await?);
        }
        for confirm in unconfirmed {
            lane.session.confirmed(confirm).await?;
        }
        self.keep(lane);
        Ok(())
    }

    async fn lane(&self) -> Result<Lane, EventError> {
        let session = self.link.session().await?;
        if session.is_blocked() {
            return Err(EventError::Unavailable(
                "the broker is short of memory or disk and takes nothing".to_owned(),
            ));
        }
        while let Some(lane) = self.idle().pop() {
            if Arc::ptr_eq(&lane.session, &session) && lane.channel.status().connected() {
                return Ok(lane);
            }
        }
        let channel = session.channel().await?;
        let options = ConfirmSelectOptions::default();
        session
            .call("asking for confirms", channel.confirm_select(options))
            .await?;
        Ok(Lane { session, channel })
    }

    fn keep(&self, lane: Lane) {
        let mut idle = self.idle();
        if idle.len() < KEPT {
            idle.push(lane);
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Lane>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
