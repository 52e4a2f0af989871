//! The disk and in-process adapters pass the suites of their ports.

use async_trait::async_trait;
use std::sync::Arc;
use storage::{
    blobs::BlobStore,
    chunks::{ChunkCache, ChunkOptions, DiskChunks},
    conformance::{self, BlobFixture, ChunkFixture, EventFixture},
    events::Events,
    fs::Real,
    open_blobs, open_chunks, open_events,
};
use tempfile::TempDir;
use tokio::sync::OnceCell;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().expect("a temporary folder"))
    }

    fn url(&self, name: &str) -> String {
        format!("disk:{}", self.0.path().join(name).display())
    }
}

#[async_trait]
impl ChunkFixture for Folder {
    async fn open(&self, options: &ChunkOptions) -> Arc<dyn ChunkCache> {
        open_chunks(&self.url("data/chunks"), options)
            .await
            .expect("the folder is free")
    }
}

/// Keeps no file open between appends.
struct OpensEachTime(Folder);

#[async_trait]
impl ChunkFixture for OpensEachTime {
    async fn open(&self, options: &ChunkOptions) -> Arc<dyn ChunkCache> {
        let options = ChunkOptions {
            kept_open: 0,
            disk_threads: 2,
            ..options.clone()
        };
        let root = self.0.0.path().join("chunks");
        Arc::new(
            DiskChunks::open(Arc::new(Real), &root, &options)
                .await
                .expect("the folder is free"),
        )
    }
}

struct Blobs {
    folder: Folder,
    cache: OnceCell<Arc<dyn ChunkCache>>,
}

#[async_trait]
impl BlobFixture for Blobs {
    async fn open(&self) -> Arc<dyn BlobStore> {
        open_blobs(&self.folder.url("blobs"))
            .await
            .expect("the folder is free")
    }

    async fn cache(&self) -> Arc<dyn ChunkCache> {
        let open = async || ChunkFixture::open(&self.folder, &ChunkOptions::default()).await;
        Arc::clone(self.cache.get_or_init(open).await)
    }

    fn links(&self) -> bool {
        true
    }
}

struct Local;

#[async_trait]
impl EventFixture for Local {
    async fn open(&self) -> Arc<dyn Events> {
        open_events("local:").await.expect("it needs nothing")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disk_chunks() {
    conformance::chunks(Folder::new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disk_chunks_without_kept_files() {
    conformance::chunks(|| OpensEachTime(Folder::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disk_blobs() {
    conformance::blobs(|| Blobs {
        folder: Folder::new(),
        cache: OnceCell::new(),
    })
    .await;
}

#[tokio::test]
async fn local_events() {
    conformance::events(|| Local).await;
}
