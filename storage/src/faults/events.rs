//! An event engine that fails to order: it loses, doubles and delays, and its listeners are cut off.

use super::Script;
use crate::events::{EventError, Events, News, Shard, Work};
use async_trait::async_trait;
use protocol::upload::{PersistFile, Published};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use tokio::sync::watch;

/// The calls of [`Events`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventCall {
    /// [`Events::queue`].
    Queue,
    /// [`Events::consume`].
    Consume,
    /// [`Events::tell`].
    Tell,
    /// [`Events::listen`].
    Listen,
    /// [`Events::bind`].
    Bind,
    /// [`Events::unbind`].
    Unbind,
}

/// An event engine that fails to order; a call that fails never reaches the engine beneath.
pub struct FaultyEvents {
    inner: Arc<dyn Events>,
    script: Script<EventCall, EventError>,
    lose_work: AtomicUsize,
    lose_news: AtomicUsize,
    doubles: AtomicBool,
    cuts: watch::Sender<()>,
}

impl FaultyEvents {
    /// Decorates an engine, without any fault yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Events>) -> Self {
        Self {
            inner,
            script: Script::default(),
            lose_work: AtomicUsize::new(0),
            lose_news: AtomicUsize::new(0),
            doubles: AtomicBool::new(false),
            cuts: watch::Sender::new(()),
        }
    }

    /// What is to fail or wait and what was called.
    #[must_use]
    pub fn script(&self) -> Script<EventCall, EventError> {
        self.script.clone()
    }

    /// Loses the next `n` pieces of work, after saying that they are queued.
    pub fn lose_next_work(&self, n: usize) {
        self.lose_work.store(n, Ordering::SeqCst);
    }

    /// Loses the next `n` news.
    pub fn lose_next_news(&self, n: usize) {
        self.lose_news.store(n, Ordering::SeqCst);
    }

    /// Passes everything on twice from now on, or no longer.
    pub fn double(&self, doubles: bool) {
        self.doubles.store(doubles, Ordering::SeqCst);
    }

    /// Cuts off all present listeners: their next call is [`EventError::Unavailable`].
    pub fn cut_listeners(&self) {
        self.cuts.send_replace(());
    }

    /// What is left of a batch after its losses, and twice if that was ordered.
    fn pass_on<T: Clone>(&self, all: Vec<T>, losses: &AtomicUsize) -> Vec<T> {
        let is_lost = |left: usize| left.checked_sub(1);
        let mut kept = Vec::with_capacity(all.len());
        for one in all {
            if losses
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_lost)
                .is_ok()
            {
                continue;
            }
            if self.doubles.load(Ordering::SeqCst) {
                kept.push(one.clone());
            }
            kept.push(one);
        }
        kept
    }
}

impl Script<EventCall, EventError> {
    /// Makes the whole engine unavailable until [`heal`](Self::heal). Consumers and listeners that are open stay.
    pub fn unavailable(&self) {
        self.fail_everything(|| EventError::Unavailable("by order of the test".to_owned()));
    }
}

#[async_trait]
impl Events for FaultyEvents {
    fn durable(&self) -> bool {
        self.inner.durable()
    }

    async fn queue(&self, work: Vec<PersistFile>) -> Result<(), EventError> {
        self.script.enter(EventCall::Queue).await?;
        self.inner.queue(self.pass_on(work, &self.lose_work)).await
    }

    async fn consume(&self, prefetch: usize) -> Result<Box<dyn Work>, EventError> {
        self.script.enter(EventCall::Consume).await?;
        self.inner.consume(prefetch).await
    }

    async fn tell(&self, news: Vec<Published>) -> Result<(), EventError> {
        self.script.enter(EventCall::Tell).await?;
        self.inner.tell(self.pass_on(news, &self.lose_news)).await
    }

    async fn listen(&self) -> Result<Box<dyn News>, EventError> {
        self.script.enter(EventCall::Listen).await?;
        Ok(Box::new(Listener {
            inner: self.inner.listen().await?,
            cuts: self.cuts.subscribe(),
        }))
    }

    async fn bind(&self, shard: Shard) -> Result<(), EventError> {
        self.script.enter(EventCall::Bind).await?;
        self.inner.bind(shard).await
    }

    async fn unbind(&self, shard: Shard) -> Result<(), EventError> {
        self.script.enter(EventCall::Unbind).await?;
        self.inner.unbind(shard).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

struct Listener {
    inner: Box<dyn News>,
    cuts: watch::Receiver<()>,
}

#[async_trait]
impl News for Listener {
    async fn next(&mut self) -> Result<Published, EventError> {
        tokio::select! {
            biased;
            Ok(()) = self.cuts.changed() => {
                Err(EventError::Unavailable("by order of the test".to_owned()))
            }
            news = self.inner.next() => news,
        }
    }
}
