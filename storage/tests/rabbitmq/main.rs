//! The RabbitMQ adapter against real brokers: the one that `TEST_AMQP_URL` names, and nodes that are killed and frozen.

mod dead_letters;
mod lost_broker;
mod news;
mod node;
mod opening;

use async_trait::async_trait;
use lapin::{
    Channel, Connection, ConnectionProperties,
    options::{ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};
use protocol::UploadId;
use std::{sync::Arc, time::Duration};
use storage::{
    conformance::{self, EventFixture},
    events::Events,
    open_events,
};

/// What does not come about in this time does not come about.
const PATIENCE: Duration = Duration::from_secs(60);

/// The broker that all tests share.
fn broker() -> String {
    std::env::var("TEST_AMQP_URL").expect(
        "TEST_AMQP_URL is not set: it is set by `./dev test`; by hand: eval \"$(./dev stack env)\"",
    )
}

/// Exchanges and queues of a test's own, which go with it.
struct Namespace {
    broker: String,
    prefix: String,
}

impl Namespace {
    fn new() -> Self {
        Self {
            broker: broker(),
            prefix: format!("test-{}", UploadId::new()),
        }
    }

    fn url(&self) -> String {
        let separator = if self.broker.contains('?') { '&' } else { '?' };
        format!("{}{separator}prefix={}", self.broker, self.prefix)
    }

    async fn events(&self) -> Arc<dyn Events> {
        open_events(&self.url()).await.expect("the broker is there")
    }

    /// A channel to look behind the adapter's back.
    async fn channel(&self) -> Channel {
        channel(&self.broker).await
    }

    async fn remove(&self) {
        let channel = self.channel().await;
        for name in ["work", "dead", "news"] {
            let name = format!("{}.{name}", self.prefix);
            let queue = channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default());
            queue.await.expect("deleting what is not there is fine");
            let exchange = channel.exchange_delete(name.into(), ExchangeDeleteOptions::default());
            exchange.await.expect("deleting what is not there is fine");
        }
    }
}

async fn channel(url: &str) -> Channel {
    let connection = Connection::connect(url, ConnectionProperties::default())
        .await
        .expect("the broker is there");
    connection.create_channel().await.expect("it answers")
}

/// Messages that wait in a queue.
async fn waiting_in(channel: &Channel, queue: &str) -> u32 {
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(queue.into(), options, FieldTable::default());
    declared.await.expect("the queue is there").message_count()
}

/// Waits for something to become true.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, waiting).await.is_ok(),
        "not so within {PATIENCE:?}: {what}"
    );
}

/// Does something that must come to an end.
async fn within<T>(limit: Duration, what: &str, doing: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, doing)
        .await
        .unwrap_or_else(|_| panic!("not within {limit:?}: {what}"))
}

#[async_trait]
impl EventFixture for Namespace {
    async fn open(&self) -> Arc<dyn Events> {
        self.events().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance() {
    // The suite makes its fixtures itself: what they leave behind is removed by their common beginning.
    let made = std::sync::Mutex::new(Vec::new());
    conformance::events(|| {
        let namespace = Namespace::new();
        made.lock()
            .expect("no panic")
            .push(namespace.prefix.clone());
        namespace
    })
    .await;
    for prefix in made.into_inner().expect("no panic") {
        Namespace {
            broker: broker(),
            prefix,
        }
        .remove()
        .await;
    }
}
