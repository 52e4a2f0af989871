//! News: one queue per listener, which goes with its connection, bound to the shards that this process wants.

use super::{
    bundle,
    connection::Session,
    link::Link,
    topology::{MAX_NEWS, MAX_NEWS_BYTES, Topology, text},
};
use crate::events::{EventError, News, Shard};
use async_trait::async_trait;
use futures::{StreamExt, future::try_join_all};
use lapin::{
    Acker, Channel,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use protocol::upload::Published;
use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};
use tokio_util::sync::CancellationToken;

/// Messages that are on their way to a listener, each with up to [`bundle::MAX_NEWS`]; further ones wait at the broker, where
/// they are bounded.
const PREFETCH: u16 = 64;

/// Messages taken before the broker is told so. It is not waited for, and never told more often: nothing of it survives the
/// connection.
const ACK_EVERY: usize = 16;

type Wanted = Arc<Mutex<BTreeSet<Shard>>>;

/// The shards that this process wants to hear of, and the queues that hear.
#[derive(Default)]
pub(super) struct Bindings {
    wanted: Wanted,
    queues: Mutex<Vec<Weak<Queue>>>,
    /// Held while bindings change, so that the last wish is the one that is in effect.
    changing: tokio::sync::Mutex<()>,
}

/// The queue of one listener.
struct Queue {
    session: Arc<Session>,
    channel: Channel,
    name: ShortString,
    exchange: ShortString,
}

impl Bindings {
    /// Wants a shard, or no longer.
    pub(super) async fn want(&self, shard: Shard, is_wanted: bool) -> Result<(), EventError> {
        if is_wanted {
            self.wanted().insert(shard);
        } else {
            self.wanted().remove(&shard);
        }
        let _changing = self.changing.lock().await;
        let is_wanted = self.wanted().contains(&shard);
        let queues: Vec<_> = self.queues().iter().filter_map(Weak::upgrade).collect();
        try_join_all(queues.iter().map(|queue| queue.set(shard, is_wanted))).await?;
        Ok(())
    }

    /// Binds a new queue to all that is wanted, and keeps it so.
    async fn adopt(&self, queue: &Arc<Queue>) -> Result<(), EventError> {
        let _changing = self.changing.lock().await;
        let wanted = self.wanted().clone();
        try_join_all(wanted.into_iter().map(|shard| queue.set(shard, true))).await?;
        let mut queues = self.queues();
        queues.retain(|queue| queue.strong_count() > 0);
        queues.push(Arc::downgrade(queue));
        Ok(())
    }

    fn wanted(&self) -> MutexGuard<'_, BTreeSet<Shard>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queues(&self) -> MutexGuard<'_, Vec<Weak<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Makes a queue that only this connection uses and that ends with it.
    async fn declare(link: &Link) -> Result<Self, EventError> {
        let session = link.session().await?;
        let channel = session.channel().await?;
        let exchange = link.topology().news.clone();
        // A name of its own: the queue of a connection that the broker has not yet missed may still be there.
        let name: ShortString = format!("{exchange}.{:016x}", rand::random::<u64>()).into();
        let options = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..QueueDeclareOptions::default()
        };
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(MAX_NEWS));
        arguments.insert(
            "x-max-length-bytes".into(),
            AMQPValue::LongLongInt(MAX_NEWS_BYTES),
        );
        arguments.insert("x-overflow".into(), text("drop-head"));
        let declared = channel.queue_declare(name.clone(), options, arguments);
        session.call("making a queue for news", declared).await?;
        Ok(Self {
            session,
            channel,
            name,
            exchange,
        })
    }

    async fn set(&self, shard: Shard, bound: bool) -> Result<(), EventError> {
        let (queue, exchange) = (self.name.clone(), self.exchange.clone());
        let (key, none) = (Topology::news_key(shard), FieldTable::default());
        if bound {
            let options = QueueBindOptions::default();
            let binding = self.channel.queue_bind(queue, exchange, key, options, none);
            self.session.call("binding a shard of news", binding).await
        } else {
            let unbinding = self.channel.queue_unbind(queue, exchange, key, none);
            self.session
                .call("unbinding a shard of news", unbinding)
                .await
        }
    }

    async fn consume(&self) -> Result<lapin::Consumer, EventError> {
        let qos = self.channel.basic_qos(PREFETCH, BasicQosOptions::default());
        self.session.call("setting the prefetch", qos).await?;
        let options = BasicConsumeOptions {
            exclusive: true,
            ..BasicConsumeOptions::default()
        };
        let consuming = self.channel.basic_consume(
            self.name.clone(),
            "".into(),
            options,
            FieldTable::default(),
        );
        self.session.call("hearing news", consuming).await
    }
}

/// One listener. It ends with its connection, since what was told meanwhile is missed.
pub(super) struct Listener {
    /// None once it is lost: then it takes part in no more bindings.
    queue: Option<Arc<Queue>>,
    messages: lapin::Consumer,
    closed: CancellationToken,
    wanted: Wanted,
    /// News of the last message that were not handed out yet.
    ready: VecDeque<Published>,
    /// The last message that the broker was not told about, and how many those are.
    taken: Option<Acker>,
    unanswered: usize,
}

impl Listener {
    /// Begins to listen.
    pub(super) async fn open(
        link: &Link,
        bindings: &Bindings,
        closed: CancellationToken,
    ) -> Result<Self, EventError> {
        let queue = Arc::new(Queue::declare(link).await?);
        bindings.adopt(&queue).await?;
        let messages = queue.consume().await?;
        Ok(Self {
            queue: Some(queue),
            messages,
            closed,
            wanted: Arc::clone(&bindings.wanted),
            ready: VecDeque::new(),
            taken: None,
            unanswered: 0,
        })
    }

    async fn wait(&mut self) -> Result<Published, EventError> {
        loop {
            if let Some(news) = self.ready.pop_front() {
                return Ok(news);
            }
            if self.unanswered >= ACK_EVERY {
                self.answer().await?;
            }
            let message = match self.messages.next().await {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(EventError::Unavailable(error.to_string())),
                None => return Err(gone()),
            };
            self.taken = Some(message.acker);
            self.unanswered += 1;
            // Shards of others come along, and are passed over.
            let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            self.ready = bundle::unpack(&message.data, &wanted);
        }
    }

    /// Tells the broker what was taken.
    async fn answer(&mut self) -> Result<(), EventError> {
        self.unanswered = 0;
        let Some(last) = self.taken.take() else {
            return Ok(());
        };
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        let taken = last.ack(BasicAckOptions { multiple: true });
        queue.session.call("taking news", taken).await?;
        Ok(())
    }
}

#[async_trait]
impl News for Listener {
    async fn next(&mut self) -> Result<Published, EventError> {
        let closed = self.closed.clone();
        let heard = closed.run_until_cancelled(self.wait()).await;
        let heard = heard.unwrap_or(Err(EventError::Closed));
        if heard.is_err() {
            self.queue = None;
        }
        heard
    }
}

fn gone() -> EventError {
    EventError::Unavailable("the queue for news is gone".to_owned())
}
