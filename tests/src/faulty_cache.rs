//! A server in the test's own process whose chunk cache fails to order.

use crate::embedded::Embedded;
use sluice::{Settings, Stores};
use std::sync::Arc;
use storage::{
    chunks::{ChunkCache, ChunkError},
    faults::{ChunkCall, FaultyChunks, Script},
};
use tempfile::TempDir;

/// A running server and the hands on its chunk cache.
pub struct FaultyCache {
    /// The server.
    pub server: Embedded,
    /// Its settings.
    pub settings: Settings,
    /// What the cache is told to do.
    pub script: Script<ChunkCall, ChunkError>,
    /// The cache beneath, which does not fail.
    pub chunks: Arc<dyn ChunkCache>,
    _data: TempDir,
}

impl FaultyCache {
    /// Starts a server on a fresh data folder; nothing fails yet.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        let data = tempfile::tempdir().expect("a temporary folder can be made");
        let settings = Embedded::settings(data.path());
        let stores = Stores::new(&settings);
        let chunks = stores.chunks().await.expect("the chunk cache opens");
        let faulty = Arc::new(FaultyChunks::new(chunks.clone()));
        let script = faulty.script();
        let stores = stores.with_chunks(faulty);
        Self {
            server: Embedded::start(settings.clone(), stores).await,
            settings,
            script,
            chunks,
            _data: data,
        }
    }

    /// The address as a URL.
    #[must_use]
    pub fn url(&self) -> &str {
        self.server.url()
    }
}
