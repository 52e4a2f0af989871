//! Events through RabbitMQ.
//!
//! Work is in a quorum queue and survives brokers and processes. A message is published again rather than lost: it counts as
//! queued when the broker has confirmed it, and as taken when the consumer has acknowledged it. News go through a queue per
//! listening process, bound to the shards that its sockets need; it is bounded and goes with its connection. What is told
//! together goes in one message (`bundle`).
//!
//! Publishers have a connection of their own, so that a broker that takes nothing from them (it is short of memory) still
//! hears of the work that was done.

mod address;
mod bundle;
mod connection;
mod consumer;
mod link;
mod listener;
mod publisher;
mod topology;

use super::{EventError, Events, News, Shard, Work};
use address::Address;
use async_trait::async_trait;
use connection::Session;
use consumer::Consumer;
use lapin::BasicProperties;
use link::Link;
use listener::{Bindings, Listener};
use protocol::upload::{PersistFile, Published};
use publisher::{Message, Publisher};
use serde::Serialize;
use std::{io, sync::Arc};
use tokio_util::sync::CancellationToken;
use topology::Topology;

/// AMQP's number for messages that survive the broker.
const PERSISTENT: u8 = 2;

/// Events through a RabbitMQ broker (3.10 or newer) or a cluster of them.
pub struct RabbitEvents {
    work: Publisher,
    news: Publisher,
    topology: Arc<Topology>,
    consuming: Arc<Link>,
    bindings: Bindings,
    closed: CancellationToken,
}

impl RabbitEvents {
    /// Uses the broker at `amqp[s]://user:password@host:port/vhost?prefix=name`. One that is away is waited for later on.
    ///
    /// # Errors
    /// `InvalidInput` for a URL that is none; `PermissionDenied` when the broker refuses for a reason that stays: wrong
    /// password, no such virtual host, queues of these names that are not ours.
    pub async fn open(url: &str) -> io::Result<Self> {
        let address = Address::parse(url)
            .map_err(|reason| io::Error::new(io::ErrorKind::InvalidInput, reason))?;
        let (address, topology) = (
            Arc::new(address.clone()),
            Arc::new(Topology::new(&address.prefix)),
        );
        match Session::open(&address, &topology, "check").await {
            Ok(_) => {}
            Err(failure) if failure.is_permanent => {
                let reason = format!("{} refuses: {}", address.shown(), failure.reason);
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
            }
            Err(failure) => {
                tracing::warn!(
                    broker = address.shown(),
                    reason = failure.reason,
                    "the broker can't be reached yet, going on without it until it comes"
                );
            }
        }
        let closed = CancellationToken::new();
        let link = |purpose| {
            let (address, topology) = (Arc::clone(&address), Arc::clone(&topology));
            Arc::new(Link::new(address, topology, purpose, &closed))
        };
        let publishing = link("publishing");
        Ok(Self {
            work: Publisher::new(Arc::clone(&publishing), topology.work.clone(), true),
            news: Publisher::new(publishing, topology.news.clone(), false),
            consuming: link("consuming"),
            topology,
            bindings: Bindings::default(),
            closed,
        })
    }

    fn check_open(&self) -> Result<(), EventError> {
        if self.closed.is_cancelled() {
            return Err(EventError::Closed);
        }
        Ok(())
    }
}

#[async_trait]
impl Events for RabbitEvents {
    fn durable(&self) -> bool {
        true
    }

    async fn queue(&self, work: Vec<PersistFile>) -> Result<(), EventError> {
        self.check_open()?;
        let key = &self.topology.work;
        let messages = work.iter().map(|work| Message {
            key: key.clone(),
            properties: properties(PERSISTENT)
                .with_message_id(format!("{}/{}", work.upload.upload_id, work.attempt).into()),
            body: json(work),
        });
        self.work.publish(messages).await
    }

    async fn consume(&self, prefetch: usize) -> Result<Box<dyn Work>, EventError> {
        self.check_open()?;
        let link = Arc::clone(&self.consuming);
        let consumer = Consumer::open(link, self.closed.clone(), prefetch).await?;
        Ok(Box::new(consumer))
    }

    async fn tell(&self, news: Vec<Published>) -> Result<(), EventError> {
        self.check_open()?;
        self.news.publish(bundle::pack(news)).await
    }

    async fn listen(&self) -> Result<Box<dyn News>, EventError> {
        self.check_open()?;
        let listener = Listener::open(&self.consuming, &self.bindings, self.closed.clone()).await?;
        Ok(Box::new(listener))
    }

    async fn bind(&self, shard: Shard) -> Result<(), EventError> {
        self.check_open()?;
        self.bindings.want(shard, true).await
    }

    async fn unbind(&self, shard: Shard) -> Result<(), EventError> {
        self.check_open()?;
        self.bindings.want(shard, false).await
    }

    async fn close(&self) {
        self.closed.cancel();
    }
}

fn properties(delivery_mode: u8) -> BasicProperties {
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(delivery_mode)
}

fn json(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("events are plain data, which can always be written")
}
