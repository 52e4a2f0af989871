//! The service's state: what its routes and its background work share.

use crate::{
    Config,
    consumer::Gate,
    index::{Index, IndexError, sqlite::SqliteIndex},
    uploader::Uploader,
};
use service_kit::peer::Peer;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use storage::{blobs::BlobStore, chunks::ChunkCache, events::Events};

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
}

/// The service cannot start.
#[derive(Debug, thiserror::Error)]
#[error("the index of files {} cannot be opened: {source}", path.display())]
pub struct OpenError {
    /// The index's file.
    path: PathBuf,
    source: IndexError,
}

impl FileManager {
    /// Opens the service with its index in the SQLite file `path`, which is made if it is not there. `uploader` is asked
    /// for files that are not yet stored and told how storing them ended.
    ///
    /// # Errors
    /// When the index cannot be opened.
    pub async fn open(
        config: Config,
        path: &Path,
        chunks: Arc<dyn ChunkCache>,
        blobs: Arc<dyn BlobStore>,
        events: Arc<dyn Events>,
        uploader: Peer,
    ) -> Result<Self, OpenError> {
        let index = SqliteIndex::open(path, config.index_readers)
            .await
            .map_err(|source| OpenError {
                path: path.to_owned(),
                source,
            })?;
        let shared = Shared {
            config,
            index: Box::new(index),
            chunks,
            blobs,
            events,
            uploader: Uploader::new(uploader),
            gate: Gate::open(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
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
}
