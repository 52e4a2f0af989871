//! The service's parts, and how they are put together.

use crate::{
    clock::Clock,
    config::Config,
    recent::Recent,
    store::{self, Signals, Store, StoreError},
};
use protocol::{UploadId, upload::Published};
use std::sync::Arc;
use storage::{
    chunks::{ChunkCache, ChunkError},
    events::Events,
};
use tokio::sync::{Mutex, mpsc};

/// The uploader. Clones are the same one.
#[derive(Clone)]
pub struct Uploader {
    pub(crate) config: Arc<Config>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) chunks: Arc<dyn ChunkCache>,
    pub(crate) events: Arc<dyn Events>,
    pub(crate) clock: Clock,
    pub(crate) signals: Arc<Signals>,
    pub(crate) news: Arc<Mutex<mpsc::Receiver<Vec<Published>>>>,
    pub(crate) recent: Arc<Recent>,
}

impl Uploader {
    /// An uploader that keeps its state in the database that `database_url` names, see [`store::open`].
    ///
    /// # Errors
    /// As for [`store::open`].
    pub async fn open(
        config: Config,
        database_url: &str,
        chunks: Arc<dyn ChunkCache>,
        events: Arc<dyn Events>,
    ) -> Result<Self, StoreError> {
        Self::open_with_clock(config, database_url, chunks, events, Clock::default()).await
    }

    /// As [`Uploader::open`], with a clock of one's own.
    ///
    /// # Errors
    /// As for [`Uploader::open`].
    pub async fn open_with_clock(
        config: Config,
        database_url: &str,
        chunks: Arc<dyn ChunkCache>,
        events: Arc<dyn Events>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let (signals, news) = Signals::new();
        let signals = Arc::new(signals);
        let store = store::open(database_url, config.readers, Arc::clone(&signals)).await?;
        let (config, news) = (Arc::new(config), Arc::new(Mutex::new(news)));
        Ok(Self {
            config,
            store,
            chunks,
            events,
            clock,
            signals,
            news,
            recent: Arc::default(),
        })
    }

    /// Whether the database and the chunk cache answer. What they say otherwise is in the log, not here: anybody may be told
    /// this. Without the event engine it works all the same, later.
    ///
    /// # Errors
    /// What keeps it from working, to follow its name.
    pub async fn ready(&self) -> Result<(), String> {
        let nobodys = UploadId::new();
        let (known, cached) = tokio::join!(self.store.upload(nobodys), self.chunks.stat(nobodys));
        if let Err(error) = known {
            tracing::warn!(%error, "not ready");
            return Err("can't use its database".to_owned());
        }
        if let Err(error @ ChunkError::Unavailable(_)) = cached {
            tracing::warn!(%error, "not ready");
            return Err("can't use the chunk cache".to_owned());
        }
        Ok(())
    }

    /// Frees an upload's bytes, which no state needs any more. A failure is the sweeper's to repair.
    pub(crate) async fn free(&self, upload: UploadId) {
        if let Err(error) = self.chunks.remove(upload).await {
            tracing::warn!(upload_id = %upload, %error, "bytes stay in the chunk cache until the next sweep");
        }
    }
}
