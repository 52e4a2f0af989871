//! The blob store: the bytes of stored files.

mod disk;

pub use disk::DiskBlobs;

use crate::{ByteStream, chunks::ChunkCache};
use async_trait::async_trait;
use protocol::{Digest, FileId, UploadId};
use std::{ops::Range, sync::Arc, time::SystemTime};

/// Why the blob store refused.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// No such file.
    #[error("the blob store holds no file {0}")]
    NotFound(FileId),
    /// The content is not what it should be: trying again can't help.
    #[error("the content is damaged: {0}")]
    Damaged(String),
    /// The store answered with a failure for this file; another attempt may succeed.
    #[error("the blob store failed: {0}")]
    Failed(String),
    /// The store has no room: like unreachability, this says nothing about the file, and must not count as an attempt.
    #[error("the blob store is full: {0}")]
    Full(String),
    /// The store can't be reached: this says nothing about the file, and must not count as an attempt.
    #[error("the blob store is unreachable: {0}")]
    Unreachable(String),
}

/// A sealed upload that is to become a blob.
#[derive(Clone)]
pub struct Source {
    /// The cache that holds it.
    pub cache: Arc<dyn ChunkCache>,
    /// The upload.
    pub upload: UploadId,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest, which `put` verifies.
    pub digest: Digest,
}

/// A blob found in the store, for the sweeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredBlob {
    /// Which.
    pub file: FileId,
    /// Its size in bytes.
    pub size: u64,
    /// When it was stored.
    pub stored: SystemTime,
}

/// The port.
#[async_trait]
pub trait BlobStore: Send + Sync + 'static {
    /// Stores a sealed upload as `file`, verifying its size and digest on the way. When it returns, the blob is whole and
    /// survives a power cut; before, nothing of it can be read. Storing what is already stored is no error and costs little.
    ///
    /// # Errors
    /// [`BlobError::Damaged`] when size or digest are not the announced ones, and as the store's own failures are.
    async fn put(&self, file: FileId, source: &Source) -> Result<(), BlobError>;

    /// The size of a blob in bytes.
    ///
    /// # Errors
    /// [`BlobError::NotFound`].
    async fn size(&self, file: FileId) -> Result<u64, BlobError>;

    /// Reads a range of a blob.
    ///
    /// # Errors
    /// [`BlobError::NotFound`]; [`BlobError::Failed`] when the range ends beyond the blob.
    async fn read(&self, file: FileId, range: Range<u64>) -> Result<ByteStream, BlobError>;

    /// Removes a blob; removing what is not there is no error. Readers under way finish.
    ///
    /// # Errors
    /// [`BlobError::Unreachable`], [`BlobError::Failed`].
    async fn remove(&self, file: FileId) -> Result<(), BlobError>;

    /// Every blob, for the sweeper, piece by piece: there may be millions.
    ///
    /// # Errors
    /// [`BlobError::Unreachable`].
    async fn list(
        &self,
    ) -> Result<futures::stream::BoxStream<'static, Result<StoredBlob, BlobError>>, BlobError>;

    /// Whether the store answers at all; asked before work is tried again after [`BlobError::Unreachable`].
    ///
    /// # Errors
    /// [`BlobError::Unreachable`].
    async fn ping(&self) -> Result<(), BlobError>;
}
