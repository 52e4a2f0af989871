//! The service's state: what its routes and its background work share.

use crate::{
    Config,
    consumer::Gate,
    index::{self, Index, OpenError},
    sweeper::Round,
    uploader::Uploader,
};
use protocol::{FileId, UploadId};
use service_kit::peer::Peer;
use std::sync::Arc;
use storage::{
    blobs::BlobStore,
    chunks::{ChunkCache, ChunkError},
    events::Events,
};

/// The service. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct FileManager {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    index: Box<dyn Index>,
    chunks: Arc<dyn ChunkCache>,
    blobs: Arc<dyn BlobStore>,
    events: Arc<dyn Events>,
    uploader: Uploader,
    gate: Gate,
    round: tokio::sync::Mutex<Round>,
}

impl FileManager {
    /// Opens the service with the index of stored files that `index_url` names: `sqlite:<path>`, made if it is not there, or
    /// `mongodb://<host>:<port>/<database>`, where MongoDB may be away. `uploader` is asked for files that are not yet stored
    /// and told how storing them ended.
    ///
    /// # Errors
    /// When the index cannot be opened.
    pub async fn open(
        config: Config,
        index_url: &str,
        chunks: Arc<dyn ChunkCache>,
        blobs: Arc<dyn BlobStore>,
        events: Arc<dyn Events>,
        uploader: Peer,
    ) -> Result<Self, OpenError> {
        let index = index::open(index_url, config.index_readers).await?;
        let shared = Shared {
            config,
            index,
            chunks,
            blobs,
            events,
            uploader: Uploader::new(uploader),
            gate: Gate::open(),
            round: tokio::sync::Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Whether files can be stored and found: index and chunk cache answer, and storing does not pause.
    ///
    /// # Errors
    /// What is missing, to follow its name.
    pub async fn ready(&self) -> Result<(), String> {
        if let Some(reason) = self.paused() {
            return Err(reason.to_string());
        }
        let (file, upload) = ([FileId::new()], UploadId::new());
        let (indexed, cached) =
            tokio::join!(self.index().missing(&file), self.chunks().stat(upload));
        if let Err(error) = indexed {
            tracing::warn!(%error, "not ready");
            return Err("can't use its index".to_owned());
        }
        if let Err(error @ ChunkError::Unavailable(_)) = cached {
            tracing::warn!(%error, "not ready");
            return Err("can't use the chunk cache".to_owned());
        }
        Ok(())
    }

    /// Why storing pauses, if it does: a store can't be reached. For readiness.
    #[must_use]
    pub fn paused(&self) -> Option<Arc<str>> {
        self.shared.gate.reason()
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(crate) fn index(&self) -> &dyn Index {
        &*self.shared.index
    }

    pub(crate) fn chunks(&self) -> &Arc<dyn ChunkCache> {
        &self.shared.chunks
    }

    pub(crate) fn blobs(&self) -> &dyn BlobStore {
        &*self.shared.blobs
    }

    pub(crate) fn events(&self) -> &dyn Events {
        &*self.shared.events
    }

    pub(crate) fn uploader(&self) -> &Uploader {
        &self.shared.uploader
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.shared.gate
    }

    /// How far the sweeper has come.
    pub(crate) fn round(&self) -> &tokio::sync::Mutex<Round> {
        &self.shared.round
    }
}
