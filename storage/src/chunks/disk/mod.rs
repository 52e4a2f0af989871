//! A chunk cache on a local disk.
//!
//! ```text
//! <root>/lock                   held while a process uses the folder
//! <root>/records                which bytes of the uploads being written are held: see `records`
//! <root>/<2 hex>/<upload>.part    bytes of an upload being written, once there are any
//! <root>/<2 hex>/<upload>.sealed  bytes of a sealed upload
//! ```
//!
//! What is held is never read off a file's length: after a crash it is the longest prefix whose checksums are right.

mod direct;
mod part;
mod records;
mod room;
mod shards;
mod state;

use super::{
    Batches, CachedUpload, ChunkCache, ChunkError, ChunkOptions, Hold, Piece, SealedContent, Usage,
    Writes,
};
use crate::{
    ByteStream,
    buffers::Buffers,
    fs::{Access, BLOCK, FolderLock, Fs, Stopped, Worker, is_full, make_root, remove_if_there},
};
use async_trait::async_trait;
use part::Means;
use protocol::UploadId;
use records::Records;
use room::Room;
use shards::{Found, Shards};
use state::{Locked, State, refusal};
use std::{
    collections::HashMap,
    io::{self, IoSlice},
    iter,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use tokio::sync::Semaphore;

/// Bytes put in order at once for a write past the page cache.
const STAGED: usize = 256 * 1024;

/// Batches added to one upload before others have their turn on the thread, and with the upload.
const MOST_BATCHES: usize = 4;

/// A chunk cache on a local disk.
pub struct DiskChunks {
    inner: Arc<Inner>,
    worker: Worker,
}

struct Inner {
    root: PathBuf,
    shards: Shards,
    room: Room,
    uploads: Mutex<HashMap<UploadId, Slot>>,
    records: Arc<Records>,
    means: Means,
    /// Above every generation that an earlier process gave.
    era: u64,
    _lock: FolderLock,
}

type Slot = Arc<tokio::sync::Mutex<State>>;

impl From<Stopped> for ChunkError {
    fn from(stopped: Stopped) -> Self {
        Self::Unavailable(stopped.to_string())
    }
}

impl DiskChunks {
    /// Opens the cache in the folder `root`, made if it is not there, and finds what is in it.
    ///
    /// # Errors
    /// Those of the file system; [`io::ErrorKind::ResourceBusy`] when another process or adapter uses the folder.
    pub async fn open(fs: Arc<dyn Fs>, root: &Path, options: &ChunkOptions) -> io::Result<Self> {
        let worker = Worker::new(fs, options.disk_threads);
        let (root, options) = (std::path::absolute(root)?, options.clone());
        let inner = worker
            .run(move |fs| Inner::open(fs, root, &options))
            .await?;
        Ok(Self {
            inner: Arc::new(inner),
            worker,
        })
    }

    /// The upload under its lock; [`ChunkError::NotFound`] if there is none.
    async fn lock(&self, upload: UploadId) -> Result<Locked, ChunkError> {
        let slot = self
            .inner
            .uploads()
            .get(&upload)
            .cloned()
            .ok_or(ChunkError::NotFound(upload))?;
        Ok(Locked::new(
            Arc::clone(&self.inner),
            upload,
            slot.lock_owned().await,
        ))
    }

    /// The upload under its lock, absent if there is none.
    async fn lock_or_make(&self, upload: UploadId) -> Locked {
        loop {
            let slot = {
                let absent = || Arc::new(tokio::sync::Mutex::new(State::Absent));
                Arc::clone(self.inner.uploads().entry(upload).or_insert_with(absent))
            };
            let locked = Locked::new(Arc::clone(&self.inner), upload, slot.lock_owned().await);
            // While this waited, the upload may have been removed and its slot with it.
            let current = self
                .inner
                .uploads()
                .get(&upload)
                .is_some_and(|slot| Arc::ptr_eq(slot, locked.slot()));
            if current {
                return locked;
            }
        }
    }

    async fn with<T: Send + 'static>(
        &self,
        upload: UploadId,
        work: impl FnOnce(&mut Locked, &dyn Fs) -> Result<T, ChunkError> + Send + 'static,
    ) -> Result<T, ChunkError> {
        let mut locked = self.lock(upload).await?;
        self.worker.run(move |fs| work(&mut locked, fs)).await
    }
}

impl Inner {
    fn open(fs: &dyn Fs, root: PathBuf, options: &ChunkOptions) -> io::Result<Self> {
        make_root(fs, &root)?;
        let lock = FolderLock::take(&root)?;
        let era = era();
        let (records, known) = Records::open(fs, &root.join("records"), era)?;
        let shards = Shards::new(&root);
        let room = Room::new(options.max_bytes, options.min_free_bytes);
        let mut uploads = HashMap::new();
        for (upload, found) in shards.scan(fs, known)? {
            let state = match found {
                Found::Open {
                    size,
                    claimed,
                    slot,
                } => {
                    room.found(claimed, size - claimed);
                    State::Found {
                        size,
                        claimed,
                        slot,
                    }
                }
                Found::Sealed { size, touched } => {
                    room.found(size, 0);
                    State::Sealed {
                        size,
                        touched,
                        durable: true,
                    }
                }
            };
            uploads.insert(upload, Arc::new(tokio::sync::Mutex::new(state)));
        }
        records.shrink()?;
        let means = Means {
            kept_open: Arc::new(Semaphore::new(options.kept_open)),
            buffers: goes_direct(fs, &root, options.writes)?.then(|| Buffers::new(STAGED, BLOCK)),
        };
        Ok(Self {
            root,
            shards,
            room,
            uploads: Mutex::new(uploads),
            records,
            means,
            era,
            _lock: lock,
        })
    }

    fn uploads(&self) -> MutexGuard<'_, HashMap<UploadId, Slot>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether to write past the page cache: tried out, since a file system may refuse it only when it is written to.
fn goes_direct(fs: &dyn Fs, root: &Path, writes: Writes) -> io::Result<bool> {
    let path = root.join("probe");
    remove_if_there(fs, &path)?;
    if writes == Writes::Buffered {
        return Ok(false);
    }
    let block = Buffers::new(BLOCK, BLOCK).take();
    let tried = fs
        .open(&path, Access::CreateDirect)
        .and_then(|file| file.write_at(&mut [IoSlice::new(&block)], 0));
    remove_if_there(fs, &path)?;
    match tried {
        Ok(()) => Ok(true),
        // There is no room to try it now.
        Err(error) if is_full(&error) => Ok(true),
        Err(error) if writes == Writes::Auto => {
            tracing::info!(%error, root = %root.display(), "uploads are written through the page cache: the file system takes no direct writes");
            Ok(false)
        }
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("the file system takes no direct writes, set `chunks.writes` to auto: {error}"),
        )),
    }
}

/// Microseconds since the epoch: more than any process before this one can have counted to.
fn era() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX / 2)
}

#[async_trait]
impl ChunkCache for DiskChunks {
    async fn open(&self, upload: UploadId, size: u64) -> Result<Hold, ChunkError> {
        let mut locked = self.lock_or_make(upload).await;
        match locked.open_at_once(size) {
            Some(hold) => Ok(hold),
            None => self.worker.run(move |fs| locked.open(fs, size)).await,
        }
    }

    async fn resume(&self, upload: UploadId) -> Result<Hold, ChunkError> {
        self.with(upload, Locked::resume).await
    }

    async fn append(
        &self,
        upload: UploadId,
        generation: u64,
        offset: u64,
        parts: Vec<Piece>,
    ) -> Result<u64, ChunkError> {
        self.with(upload, move |locked, fs| {
            locked.append(fs, generation, offset, &parts)
        })
        .await
    }

    async fn append_all(
        &self,
        upload: UploadId,
        generation: u64,
        offset: u64,
        batches: Arc<dyn Batches>,
    ) -> Result<u64, ChunkError> {
        self.with(upload, move |locked, fs| {
            let mut held = offset;
            for batch in iter::from_fn(|| batches.next()).take(MOST_BATCHES) {
                held = locked.append(fs, generation, held, &batch)?;
                drop(batch);
                batches.added(held);
            }
            Ok(held)
        })
        .await
    }

    async fn seal(&self, upload: UploadId, generation: u64) -> Result<(), ChunkError> {
        self.with(upload, move |locked, fs| locked.seal(fs, generation))
            .await
    }

    async fn sealed(&self, upload: UploadId) -> Result<SealedContent, ChunkError> {
        let mut locked = self.lock(upload).await?;
        let path = match locked.known() {
            Some(CachedUpload { sealed: true, .. }) => locked.path(),
            _ => self.worker.run(move |fs| locked.sealed(fs)).await?,
        };
        Ok(SealedContent::File(path))
    }

    async fn stat(&self, upload: UploadId) -> Result<CachedUpload, ChunkError> {
        let mut locked = self.lock(upload).await?;
        match locked.known() {
            Some(stat) => Ok(stat),
            None => self.worker.run(move |fs| locked.stat(fs)).await,
        }
    }

    async fn read(&self, upload: UploadId, range: Range<u64>) -> Result<ByteStream, ChunkError> {
        let wanted = range.clone();
        let file = self
            .with(upload, move |locked, fs| locked.read(fs, &wanted))
            .await?;
        Ok(self.worker.stream(file, range))
    }

    async fn remove(&self, upload: UploadId) -> Result<(), ChunkError> {
        match self.with(upload, Locked::remove).await {
            Err(ChunkError::NotFound(_)) => Ok(()),
            other => other,
        }
    }

    async fn list(&self) -> Result<Vec<CachedUpload>, ChunkError> {
        let uploads: Vec<_> = self.inner.uploads().keys().copied().collect();
        let mut found = Vec::with_capacity(uploads.len());
        for upload in uploads {
            match self.with(upload, Locked::glance).await {
                Ok(glance) => found.push(glance),
                Err(ChunkError::NotFound(_)) => {}
                // One bad place on the disk must not keep the sweeper from all the others.
                Err(error) => {
                    tracing::warn!(%upload, %error, "an upload in the chunk cache can't be looked at");
                }
            }
        }
        Ok(found)
    }

    async fn usage(&self) -> Result<Usage, ChunkError> {
        let inner = Arc::clone(&self.inner);
        self.worker
            .run(move |fs| {
                Ok(inner
                    .room
                    .usage(fs.free_bytes(&inner.root).map_err(refusal)?))
            })
            .await
    }
}
