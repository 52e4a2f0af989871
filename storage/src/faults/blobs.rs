//! A blob store that fails to order.

use super::Script;
use crate::{
    ByteStream,
    blobs::{BlobError, BlobStore, Source, StoredBlob},
};
use async_trait::async_trait;
use futures::stream::BoxStream;
use protocol::FileId;
use std::{ops::Range, sync::Arc};

/// The calls of [`BlobStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlobCall {
    /// [`BlobStore::put`].
    Put,
    /// [`BlobStore::size`].
    Size,
    /// [`BlobStore::read`].
    Read,
    /// [`BlobStore::remove`].
    Remove,
    /// [`BlobStore::list`].
    List,
    /// [`BlobStore::missing`].
    Missing,
    /// [`BlobStore::ping`].
    Ping,
}

/// A blob store that fails to order; a call that fails never reaches the store beneath.
pub struct FaultyBlobs {
    inner: Arc<dyn BlobStore>,
    script: Script<BlobCall, BlobError>,
}

impl FaultyBlobs {
    /// Decorates a store, without any fault yet.
    #[must_use]
    pub fn new(inner: Arc<dyn BlobStore>) -> Self {
        Self {
            inner,
            script: Script::default(),
        }
    }

    /// What is to fail and what was called.
    #[must_use]
    pub fn script(&self) -> Script<BlobCall, BlobError> {
        self.script.clone()
    }
}

impl Script<BlobCall, BlobError> {
    /// Makes the whole store unreachable until [`heal`](Self::heal).
    pub fn unreachable(&self) {
        self.fail_everything(|| BlobError::Unreachable("by order of the test".to_owned()));
    }
}

#[async_trait]
impl BlobStore for FaultyBlobs {
    async fn put(&self, file: FileId, source: &Source) -> Result<(), BlobError> {
        self.script.enter(BlobCall::Put).await?;
        self.inner.put(file, source).await
    }

    async fn size(&self, file: FileId) -> Result<u64, BlobError> {
        self.script.enter(BlobCall::Size).await?;
        self.inner.size(file).await
    }

    async fn read(&self, file: FileId, range: Range<u64>) -> Result<ByteStream, BlobError> {
        self.script.enter(BlobCall::Read).await?;
        self.inner.read(file, range).await
    }

    async fn remove(&self, file: FileId) -> Result<(), BlobError> {
        self.script.enter(BlobCall::Remove).await?;
        self.inner.remove(file).await
    }

    async fn list(&self) -> Result<BoxStream<'static, Result<StoredBlob, BlobError>>, BlobError> {
        self.script.enter(BlobCall::List).await?;
        self.inner.list().await
    }

    async fn missing(&self, files: &[FileId]) -> Result<Vec<FileId>, BlobError> {
        self.script.enter(BlobCall::Missing).await?;
        self.inner.missing(files).await
    }

    async fn ping(&self) -> Result<(), BlobError> {
        self.script.enter(BlobCall::Ping).await?;
        self.inner.ping().await
    }
}
