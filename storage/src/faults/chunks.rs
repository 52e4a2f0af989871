//! A chunk cache that fails to order.

use super::Script;
use crate::{
    ByteStream,
    chunks::{CachedUpload, ChunkCache, ChunkError, Hold, Piece, SealedContent, Usage},
};
use async_trait::async_trait;
use protocol::UploadId;
use std::{ops::Range, sync::Arc};

/// The calls of [`ChunkCache`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChunkCall {
    /// [`ChunkCache::open`].
    Open,
    /// [`ChunkCache::resume`].
    Resume,
    /// [`ChunkCache::append`].
    Append,
    /// [`ChunkCache::seal`].
    Seal,
    /// [`ChunkCache::sealed`].
    Sealed,
    /// [`ChunkCache::stat`].
    Stat,
    /// [`ChunkCache::read`].
    Read,
    /// [`ChunkCache::remove`].
    Remove,
    /// [`ChunkCache::list`].
    List,
    /// [`ChunkCache::usage`].
    Usage,
}

/// A chunk cache that fails to order; a call that fails never reaches the cache beneath.
pub struct FaultyChunks {
    inner: Arc<dyn ChunkCache>,
    script: Script<ChunkCall, ChunkError>,
    is_elsewhere: bool,
}

impl FaultyChunks {
    /// Decorates a cache, without any fault yet.
    #[must_use]
    pub fn new(inner: Arc<dyn ChunkCache>) -> Self {
        Self {
            inner,
            script: Script::default(),
            is_elsewhere: false,
        }
    }

    /// Makes sealed uploads be [`SealedContent::Remote`], as those of a cache on another machine are.
    #[must_use]
    pub fn elsewhere(mut self) -> Self {
        self.is_elsewhere = true;
        self
    }

    /// What is to fail and what was called.
    #[must_use]
    pub fn script(&self) -> Script<ChunkCall, ChunkError> {
        self.script.clone()
    }
}

impl Script<ChunkCall, ChunkError> {
    /// Makes the whole cache unavailable until [`heal`](Self::heal).
    pub fn unavailable(&self) {
        self.fail_everything(|| ChunkError::Unavailable("by order of the test".to_owned()));
    }
}

#[async_trait]
impl ChunkCache for FaultyChunks {
    async fn open(&self, upload: UploadId, size: u64) -> Result<Hold, ChunkError> {
        self.script.enter(ChunkCall::Open).await?;
        self.inner.open(upload, size).await
    }

    async fn resume(&self, upload: UploadId) -> Result<Hold, ChunkError> {
        self.script.enter(ChunkCall::Resume).await?;
        self.inner.resume(upload).await
    }

    async fn append(
        &self,
        upload: UploadId,
        generation: u64,
        offset: u64,
        parts: Vec<Piece>,
    ) -> Result<u64, ChunkError> {
        self.script.enter(ChunkCall::Append).await?;
        self.inner.append(upload, generation, offset, parts).await
    }

    async fn seal(&self, upload: UploadId, generation: u64) -> Result<(), ChunkError> {
        self.script.enter(ChunkCall::Seal).await?;
        self.inner.seal(upload, generation).await
    }

    async fn sealed(&self, upload: UploadId) -> Result<SealedContent, ChunkError> {
        self.script.enter(ChunkCall::Sealed).await?;
        let content = self.inner.sealed(upload).await?;
        Ok(if self.is_elsewhere {
            SealedContent::Remote
        } else {
            content
        })
    }

    async fn stat(&self, upload: UploadId) -> Result<CachedUpload, ChunkError> {
        self.script.enter(ChunkCall::Stat).await?;
        self.inner.stat(upload).await
    }

    async fn read(&self, upload: UploadId, range: Range<u64>) -> Result<ByteStream, ChunkError> {
        self.script.enter(ChunkCall::Read).await?;
        self.inner.read(upload, range).await
    }

    async fn remove(&self, upload: UploadId) -> Result<(), ChunkError> {
        self.script.enter(ChunkCall::Remove).await?;
        self.inner.remove(upload).await
    }

    async fn list(&self) -> Result<Vec<CachedUpload>, ChunkError> {
        self.script.enter(ChunkCall::List).await?;
        self.inner.list().await
    }

    async fn usage(&self) -> Result<Usage, ChunkError> {
        self.script.enter(ChunkCall::Usage).await?;
        self.inner.usage().await
    }
}
