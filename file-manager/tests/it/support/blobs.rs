//! A blob store that fails when a test says so.

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use protocol::FileId;
use std::{
    collections::VecDeque,
    io,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};
use storage::{
    ByteStream,
    blobs::{BlobError, BlobStore, Source, StoredBlob},
};
use tokio::sync::watch;

/// How a `put` fails.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Damaged,
    Failed,
    Full,
    NotFound,
}

pub(crate) struct Blobs {
    inner: Arc<dyn BlobStore>,
    faults: Mutex<VecDeque<Fault>>,
    held: watch::Sender<bool>,
    unreachable: AtomicBool,
    cut_reads: AtomicBool,
    pub(crate) puts: AtomicUsize,
    pub(crate) pings: AtomicUsize,
    pub(crate) reads: AtomicUsize,
    pub(crate) running: AtomicUsize,
    pub(crate) most_running: AtomicUsize,
}

impl Blobs {
    pub(crate) fn new(inner: Arc<dyn BlobStore>) -> Self {
        Self {
            inner,
            faults: Mutex::default(),
            held: watch::Sender::new(false),
            unreachable: AtomicBool::default(),
            cut_reads: AtomicBool::default(),
            puts: AtomicUsize::default(),
            pings: AtomicUsize::default(),
            reads: AtomicUsize::default(),
            running: AtomicUsize::default(),
            most_running: AtomicUsize::default(),
        }
    }

    /// The next `put` fails so.
    pub(crate) fn fail(&self, fault: Fault) {
        self.faults.lock().unwrap().push_back(fault);
    }

    /// From now on nothing reaches the store, or everything does again.
    pub(crate) fn set_unreachable(&self, unreachable: bool) {
        self.unreachable.store(unreachable, SeqCst);
    }

    /// From now on every `put` waits before it begins, or goes on.
    pub(crate) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// From now on content breaks off after its first piece.
    pub(crate) fn cut_reads(&self) {
        self.cut_reads.store(true, SeqCst);
    }

    fn reach(&self) -> Result<(), BlobError> {
        if self.unreachable.load(SeqCst) {
            return Err(BlobError::Unreachable(
                "the test has cut the line".to_owned(),
            ));
        }
        Ok(())
    }
}

#[async_trait]
impl BlobStore for Blobs {
    async fn put(&self, file: FileId, source: &Source) -> Result<(), BlobError> {
        self.puts.fetch_add(1, SeqCst);
        let running = self.running.fetch_add(1, SeqCst) + 1;
        self.most_running.fetch_max(running, SeqCst);
        self.held.subscribe().wait_for(|held| !held).await.unwrap();
        self.running.fetch_sub(1, SeqCst);
        self.reach()?;
        let fault = self.faults.lock().unwrap().pop_front();
        let why = || "the test says so".to_owned();
        match fault {
            None => self.inner.put(file, source).await,
            Some(Fault::Damaged) => Err(BlobError::Damaged(why())),
            Some(Fault::Failed) => Err(BlobError::Failed(why())),
            Some(Fault::Full) => Err(BlobError::Full(why())),
            Some(Fault::NotFound) => Err(BlobError::NotFound(file)),
        }
    }

    async fn size(&self, file: FileId) -> Result<u64, BlobError> {
        self.reach()?;
        self.inner.size(file).await
    }

    async fn read(&self, file: FileId, range: Range<u64>) -> Result<ByteStream, BlobError> {
        self.reach()?;
        self.reads.fetch_add(1, SeqCst);
        let content = self.inner.read(file, range).await?;
        if !self.cut_reads.load(SeqCst) {
            return Ok(content);
        }
        let cut = futures::stream::iter([Err(io::Error::other("the test has cut the line"))]);
        Ok(content.take(1).chain(cut).boxed())
    }

    async fn remove(&self, file: FileId) -> Result<(), BlobError> {
        self.reach()?;
        self.inner.remove(file).await
    }

    async fn list(&self) -> Result<BoxStream<'static, Result<StoredBlob, BlobError>>, BlobError> {
        self.reach()?;
        self.inner.list().await
    }

    async fn ping(&self) -> Result<(), BlobError> {
        self.pings.fetch_add(1, SeqCst);
        self.reach()?;
        self.inner.ping().await
    }
}
