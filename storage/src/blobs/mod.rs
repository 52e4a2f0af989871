//! The blob store: the bytes of stored files.

mod disk;
mod gridfs;
mod source;

pub use disk::DiskBlobs;
pub use gridfs::GridFsBlobs;

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
    /// Its digest, which `put` verifies where it copies.
    pub digest: Digest,
}

/// A blob found in the store, for the sweeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredBlob {
    /// Which.
    pub file: FileId,
    /// Its size in bytes; of one that is not whole, about what there is.
    pub size: u64,
    /// When it was stored; of one that is not whole, when something of it was written last.
    pub stored: SystemTime,
    /// Whether it is whole. What is not can't be read: it is being put, or was left behind when a put broke off, which
    /// the next put of the same file makes use of, or [`BlobStore::remove`] takes away.
    pub whole: bool,
}

/// The port.
#[async_trait]
pub trait BlobStore: Send + Sync + 'static {
    /// Stores a sealed upload as `file`, verifying its size, and its digest where bytes are copied: a store that takes the
    /// cache's own file over does not read it, since the digest was computed over these bytes before they were sealed. When it
    /// returns, the blob is whole and
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

    /// Removes a blob, or what there is of it; removing what is not there is no error. Readers under way finish, or end with
    /// an error; they are never given less without one.
    ///
    /// # Errors
    /// [`BlobError::Unreachable`], [`BlobError::Failed`].
    async fn remove(&self, file: FileId) -> Result<(), BlobError>;

    /// Every blob, whole or not, for the sweeper, piece by piece: there may be millions.
    ///
    /// # Errors
    /// [`BlobError::Unreachable`].
    async fn list(
        &self,
    ) -> Result<futures::stream::BoxStream<'static, Result<StoredBlob, BlobError>>, BlobError>;

    /// Those of `files` that have no whole blob.
    ///
    /// # Errors
    /// [`BlobError::Unreachable`].
    async fn missing(&self, files: &[FileId]) -> Result<Vec<FileId>, BlobError> {
        let mut missing = Vec::new();
        for file in files {
            match self.size(*file).await {
                Ok(_) => {}
                Err(BlobError::NotFound(file)) => missing.push(file),
                Err(error) => return Err(error),
            }
        }
        Ok(missing)
    }

    /// Whether the store answers and takes writes; asked before work is tried again after [`BlobError::Unreachable`].
    ///
    /// # Errors
    /// [`BlobError::Unreachable`].
    async fn ping(&self) -> Result<(), BlobError>;
}
