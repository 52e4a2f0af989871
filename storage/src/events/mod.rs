//! Events between services: work that one of many takes, and news that all hear.
//!
//! Both are *hints*: what must not be lost is in the sender's outbox, which publishes again what was not resolved.

mod local;
mod rabbitmq;
mod shard;

pub use local::LocalEvents;
pub use rabbitmq::RabbitEvents;
pub use shard::Shard;

use async_trait::async_trait;
use protocol::upload::{PersistFile, Published};

/// Why an event could not be passed on.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The engine can't be reached; the outbox tries again.
    #[error("the event engine is unavailable: {0}")]
    Unavailable(String),
    /// The consumer is closed: the process is shutting down.
    #[error("the event engine is closed")]
    Closed,
}

/// Work taken from the queue. Dropping it unanswered puts it back.
#[async_trait]
pub trait Delivery: Send {
    /// What to store.
    fn event(&self) -> &PersistFile;

    /// The work is done (or found to be already done).
    async fn ack(self: Box<Self>) -> Result<(), EventError>;

    /// The work could not be done now: put it back.
    async fn nack(self: Box<Self>) -> Result<(), EventError>;
}

/// One consumer of work.
#[async_trait]
pub trait Work: Send {
    /// The next piece of work; waits for it. At most the consumer's prefetch are unanswered at once.
    ///
    /// # Errors
    /// [`EventError::Closed`] when there will be no more.
    async fn next(&mut self) -> Result<Box<dyn Delivery>, EventError>;
}

/// One listener to news.
#[async_trait]
pub trait News: Send {
    /// The next news; waits for it. News may be missed (a slow listener, a lost link): whoever needs all of them compares
    /// offsets and asks the log.
    ///
    /// # Errors
    /// [`EventError::Unavailable`] when the engine went away and news may have been missed: listen again, then compare.
    /// [`EventError::Closed`] when there will be no more.
    async fn next(&mut self) -> Result<Published, EventError>;
}

/// The port.
#[async_trait]
pub trait Events: Send + Sync + 'static {
    /// Whether queued work survives the end of this process. If not, the process must queue at its start whatever was queued
    /// before and not resolved; if so, queueing it again would only double it.
    fn durable(&self) -> bool;

    /// Queues work. When it returns, the engine has taken all of it.
    ///
    /// # Errors
    /// [`EventError::Unavailable`]; [`EventError::Closed`] after [`close`](Self::close).
    async fn queue(&self, work: Vec<PersistFile>) -> Result<(), EventError>;

    /// A consumer of work that holds at most `prefetch` unanswered pieces.
    ///
    /// # Errors
    /// [`EventError::Unavailable`]; [`EventError::Closed`] after [`close`](Self::close).
    async fn consume(&self, prefetch: usize) -> Result<Box<dyn Work>, EventError>;

    /// Tells all listeners.
    ///
    /// # Errors
    /// [`EventError::Unavailable`]; [`EventError::Closed`] after [`close`](Self::close).
    async fn tell(&self, news: Vec<Published>) -> Result<(), EventError>;

    /// A listener to news from now on, of the shards that are bound; an engine may pass on others, too.
    ///
    /// # Errors
    /// [`EventError::Unavailable`]; [`EventError::Closed`] after [`close`](Self::close).
    async fn listen(&self) -> Result<Box<dyn News>, EventError>;

    /// Has the listeners of this process, present and future ones, hear news of a shard. When it returns, they hear all that
    /// is told from then on.
    ///
    /// # Errors
    /// [`EventError::Unavailable`]: nothing is heard now, but will be without another call once the engine is back;
    /// [`EventError::Closed`] after [`close`](Self::close).
    async fn bind(&self, shard: Shard) -> Result<(), EventError>;

    /// Ends what [`bind`](Self::bind) began, however often it was called.
    ///
    /// # Errors
    /// As for [`bind`](Self::bind).
    async fn unbind(&self, shard: Shard) -> Result<(), EventError>;

    /// Ends every consumer and listener of this process, those that wait and those still to come: their `next` is
    /// [`EventError::Closed`]. Work in hand can still be answered.
    async fn close(&self);
}
