//! The exchanges and queues that all processes of an installation share.

use super::connection::Failure;
use crate::events::Shard;
use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

/// Work that the broker holds at most; then publishers wait. The outbox bounds what is in flight; this bounds what is queued
/// again and again while nobody takes any.
const MAX_WORK: i64 = 100_000;

/// Rejected messages that are kept for whoever looks into them; the oldest go first.
const MAX_DEAD: i64 = 10_000;

/// How often a message may come back before it counts as poison. High, since processes that stop, and links that are lost,
/// put healthy work back; what is buried nevertheless is queued again by the outbox.
const DELIVERY_LIMIT: i64 = 100;

/// Messages of news that the broker keeps for one listener, and bytes of them; the oldest go first.
pub(super) const MAX_NEWS: i64 = 4096;
pub(super) const MAX_NEWS_BYTES: i64 = 2 << 20;

/// The names of everything, which begin with the installation's prefix.
#[derive(Clone, Debug)]
pub(super) struct Topology {
    /// The exchange and the queue of work.
    pub(super) work: ShortString,
    /// The exchange and the queue of what nobody could read.
    pub(super) dead: ShortString,
    /// The exchange of news.
    pub(super) news: ShortString,
}

impl Topology {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            work: format!("{prefix}.work").into(),
            dead: format!("{prefix}.dead").into(),
            news: format!("{prefix}.news").into(),
        }
    }

    /// The routing key of news of a shard.
    pub(super) fn news_key(shard: Shard) -> ShortString {
        format!("news.{shard}").into()
    }

    /// Makes what is not there yet.
    pub(super) async fn declare(&self, channel: &Channel) -> Result<(), Failure> {
        self.exchange(channel, &self.dead, ExchangeKind::Fanout)
            .await?;
        self.exchange(channel, &self.work, ExchangeKind::Direct)
            .await?;
        self.exchange(channel, &self.news, ExchangeKind::Direct)
            .await?;
        let dead = [
            ("x-max-length", AMQPValue::LongLongInt(MAX_DEAD)),
            ("x-overflow", text("drop-head")),
        ];
        self.queue(channel, &self.dead, dead).await?;
        let work = [
            ("x-max-length", AMQPValue::LongLongInt(MAX_WORK)),
            ("x-overflow", text("reject-publish")),
            ("x-delivery-limit", AMQPValue::LongLongInt(DELIVERY_LIMIT)),
            ("x-dead-letter-exchange", text(self.dead.as_str())),
        ];
        self.queue(channel, &self.work, work).await
    }

    async fn exchange(
        &self,
        channel: &Channel,
        name: &ShortString,
        kind: ExchangeKind,
    ) -> Result<(), Failure> {
        let options = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        channel
            .exchange_declare(name.clone(), kind, options, FieldTable::default())
            .await?;
        Ok(())
    }

    /// A quorum queue, bound to the exchange of the same name by that name.
    async fn queue<const N: usize>(
        &self,
        channel: &Channel,
        name: &ShortString,
        arguments: [(&str, AMQPValue); N],
    ) -> Result<(), Failure> {
        let mut table = FieldTable::default();
        table.insert("x-queue-type".into(), text("quorum"));
        for (key, value) in arguments {
            table.insert(key.into(), value);
        }
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        channel.queue_declare(name.clone(), options, table).await?;
        channel
            .queue_bind(
                name.clone(),
                name.clone(),
                name.clone(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
        Ok(())
    }
}

pub(super) fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
