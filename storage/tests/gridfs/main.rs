//! GridFS as a blob store: the suite of the port, other clients of GridFS, and what faults of MongoDB do.

mod attempts;
mod clients;
mod engine;
mod faults;
mod support;

use async_trait::async_trait;
use std::sync::Arc;
use storage::{
    blobs::BlobStore,
    chunks::ChunkCache,
    conformance::{self, BlobFixture},
    open_blobs,
};
use support::{Cache, Database};

struct Fixture {
    database: Database,
    cache: Cache,
}

#[async_trait]
impl BlobFixture for Fixture {
    async fn open(&self) -> Arc<dyn BlobStore> {
        open_blobs(&self.database.url)
            .await
            .expect("the URL is good")
    }

    async fn cache(&self) -> Arc<dyn ChunkCache> {
        self.cache.open().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let namespace = Database::new();
    conformance::blobs(|| Fixture {
        database: namespace.another(),
        cache: Cache::new(),
    })
    .await;
    namespace.drop_all().await;
}
