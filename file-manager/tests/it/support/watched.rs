//! A blob store that counts what runs at once, and cuts content off when a test says so.

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use protocol::FileId;
use std::{
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};
use storage::{
    ByteStream,
    blobs::{BlobError, BlobStore, Source, StoredBlob},
};

pub(crate) struct Watched {
    inner: Arc<dyn BlobStore>,
    running: AtomicUsize,
    most_running: AtomicUsize,
    cuts_reads: AtomicBool,
}

impl Watched {
    pub(crate) fn new(inner: Arc<dyn BlobStore>) -> Self {
        Self {
            inner,
            running: AtomicUsize::new(0),
            most_running: AtomicUsize::new(0),
            cuts_reads: AtomicBool::new(false),
        }
    }

    /// How many `put` were under way at once, at most.
    pub(crate) fn most_running(&self) -> usize {
        self.most_running.load(SeqCst)
    }

    /// From now on content breaks off after its first piece.
    pub(crate) fn cut_reads(&self) {
        self.cuts_reads.store(true, SeqCst);
    }
}

#[async_trait]
impl BlobStore for Watched {
    async fn put(&self, file: FileId, source: &Source) -> Result<(), BlobError> {
        let running = self.running.fetch_add(1, SeqCst) + 1;
        self.most_running.fetch_max(running, SeqCst);
        let stored = self.inner.put(file, source).await;
        self.running.fetch_sub(1, SeqCst);
        stored
    }

    async fn size(&self, file: FileId) -> Result<u64, BlobError> {
        self.inner.size(file).await
    }

    async fn read(&self, file: FileId, range: Range<u64>) -> Result<ByteStream, BlobError> {
        let content = self.inner.read(file, range).await?;
        if !self.cuts_reads.load(SeqCst) {
            return Ok(content);
        }
        let cut = futures::stream::iter([Err(io::Error::other("by order of the test"))]);
        Ok(content.take(1).chain(cut).boxed())
    }

    async fn remove(&self, file: FileId) -> Result<(), BlobError> {
        self.inner.remove(file).await
    }

    async fn list(&self) -> Result<BoxStream<'static, Result<StoredBlob, BlobError>>, BlobError> {
        self.inner.list().await
    }

    async fn missing(&self, files: &[FileId]) -> Result<Vec<FileId>, BlobError> {
        self.inner.missing(files).await
    }

    async fn ping(&self) -> Result<(), BlobError> {
        self.inner.ping().await
    }
}
