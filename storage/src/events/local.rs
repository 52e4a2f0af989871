//! Events within one process.
//!
//! Nothing here outlives the process, and nothing needs to: the sender's outbox publishes again what was not resolved.
//! The queue holds each attempt once, however often it is published, so the outbox also bounds its memory.

use super::{Delivery, EventError, Events, News, Shard, Work};
use async_trait::async_trait;
use protocol::{
    UploadId,
    upload::{PersistFile, Published},
};
use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

/// News that a listener may lag behind before it misses some.
const NEWS_KEPT: usize = 1024;

/// Events within one process.
pub struct LocalEvents {
    queue: Arc<Queue>,
    /// None once closed.
    news: Mutex<Option<broadcast::Sender<Arc<Published>>>>,
}

struct Queue {
    waiting: Mutex<Waiting>,
    /// One permit for each piece of work that waits.
    ready: Semaphore,
    closed: CancellationToken,
}

#[derive(Default)]
struct Waiting {
    work: VecDeque<PersistFile>,
    attempts: HashSet<(UploadId, u32)>,
}

impl LocalEvents {
    /// An engine with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        let queue = Queue {
            waiting: Mutex::default(),
            ready: Semaphore::new(0),
            closed: CancellationToken::new(),
        };
        Self {
            queue: Arc::new(queue),
            news: Mutex::new(Some(broadcast::channel(NEWS_KEPT).0)),
        }
    }

    fn news(&self) -> MutexGuard<'_, Option<broadcast::Sender<Arc<Published>>>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for LocalEvents {
    fn default() -> Self {
        Self::new()
    }
}

impl Queue {
    fn push(&self, work: PersistFile) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting
            .attempts
            .insert((work.upload.upload_id, work.attempt))
        {
            waiting.work.push_back(work);
            self.ready.add_permits(1);
        }
    }

    async fn pop(&self) -> Result<PersistFile, EventError> {
        loop {
            self.ready
                .acquire()
                .await
                .map_err(|_| EventError::Closed)?
                .forget();
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(work) = waiting.work.pop_front() {
                waiting
                    .attempts
                    .remove(&(work.upload.upload_id, work.attempt));
                return Ok(work);
            }
        }
    }
}

#[async_trait]
impl Events for LocalEvents {
    fn durable(&self) -> bool {
        false
    }

    async fn queue(&self, work: Vec<PersistFile>) -> Result<(), EventError> {
        if self.queue.closed.is_cancelled() {
            return Err(EventError::Closed);
        }
        work.into_iter().for_each(|work| self.queue.push(work));
        Ok(())
    }

    async fn consume(&self, prefetch: usize) -> Result<Box<dyn Work>, EventError> {
        let prefetch = Arc::new(Semaphore::new(prefetch.max(1)));
        Ok(Box::new(Consumer {
            queue: Arc::clone(&self.queue),
            prefetch,
        }))
    }

    async fn tell(&self, news: Vec<Published>) -> Result<(), EventError> {
        let sender = self.news().clone().ok_or(EventError::Closed)?;
        for news in news {
            // An error says that nobody listens.
            let _ = sender.send(Arc::new(news));
        }
        Ok(())
    }

    async fn listen(&self) -> Result<Box<dyn News>, EventError> {
        let receiver = self.news().as_ref().ok_or(EventError::Closed)?.subscribe();
        Ok(Box::new(Listener(receiver)))
    }

    /// Everything is heard: within a process, passing news on costs nothing.
    async fn bind(&self, _shard: Shard) -> Result<(), EventError> {
        Ok(())
    }

    async fn unbind(&self, _shard: Shard) -> Result<(), EventError> {
        Ok(())
    }

    async fn close(&self) {
        self.queue.closed.cancel();
        self.news().take();
    }
}

struct Consumer {
    queue: Arc<Queue>,
    prefetch: Arc<Semaphore>,
}

#[async_trait]
impl Work for Consumer {
    async fn next(&mut self) -> Result<Box<dyn Delivery>, EventError> {
        let taken = self.queue.closed.run_until_cancelled(async {
            let room = Arc::clone(&self.prefetch)
                .acquire_owned()
                .await
                .map_err(|_| EventError::Closed)?;
            Ok((room, self.queue.pop().await?))
        });
        let (room, work) = taken.await.unwrap_or(Err(EventError::Closed))?;
        Ok(Box::new(Taken {
            work: Some(work),
            queue: Arc::clone(&self.queue),
            _room: room,
        }))
    }
}

struct Taken {
    /// None once acknowledged.
    work: Option<PersistFile>,
    queue: Arc<Queue>,
    _room: OwnedSemaphorePermit,
}

#[async_trait]
impl Delivery for Taken {
    fn event(&self) -> &PersistFile {
        self.work
            .as_ref()
            .expect("work is there until it is acknowledged, which takes the delivery")
    }

    async fn ack(mut self: Box<Self>) -> Result<(), EventError> {
        self.work = None;
        Ok(())
    }

    async fn nack(self: Box<Self>) -> Result<(), EventError> {
        Ok(())
    }
}

/// Whatever was not acknowledged goes back.
impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.queue.push(work);
        }
    }
}

struct Listener(broadcast::Receiver<Arc<Published>>);

#[async_trait]
impl News for Listener {
    async fn next(&mut self) -> Result<Published, EventError> {
        loop {
            match self.0.recv().await {
                Ok(news) => return Ok(Arc::unwrap_or_clone(news)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return Err(EventError::Closed),
            }
        }
    }
}
