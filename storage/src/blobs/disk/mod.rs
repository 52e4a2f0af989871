//! A blob store on a local disk.
//!
//! ```text
//! <root>/lock                  held while a process uses the folder
//! <root>/tmp/                  blobs being copied; emptied at start
//! <root>/<2 hex>/<file>        a blob, whole
//! ```
//!
//! A name below the hex folders is given only to content that is verified and synced.

mod put;
mod walk;

use super::{BlobError, BlobStore, Source, StoredBlob};
use crate::{
    ByteStream,
    fs::{
        Access, File, Folder, FolderLock, Fs, Stopped, Worker, is_full, make_root, remove_if_there,
    },
};
use async_trait::async_trait;
use futures::stream::BoxStream;
use protocol::FileId;
use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// File operations under way at once.
const DISK_THREADS: usize = 32;

/// A blob store on a local disk.
pub struct DiskBlobs {
    inner: Arc<Inner>,
    worker: Worker,
}

struct Inner {
    root: PathBuf,
    /// The hex folders.
    folders: Vec<Folder>,
    /// Tells the temporary files of one process apart.
    copies: AtomicU64,
    _lock: FolderLock,
}

impl From<Stopped> for BlobError {
    fn from(stopped: Stopped) -> Self {
        Self::Unreachable(stopped.to_string())
    }
}

impl DiskBlobs {
    /// Opens the store in the folder `root`, made if it is not there, and removes what a crash left half-copied.
    ///
    /// # Errors
    /// Those of the file system; [`io::ErrorKind::ResourceBusy`] when another process or adapter uses the folder.
    pub async fn open(fs: Arc<dyn Fs>, root: &Path) -> io::Result<Self> {
        let worker = Worker::new(fs, DISK_THREADS);
        let root = std::path::absolute(root)?;
        let inner = worker.run(move |fs| Inner::open(fs, root)).await?;
        Ok(Self {
            inner: Arc::new(inner),
            worker,
        })
    }

    /// Runs a file operation on a blob and tells what its failure means.
    async fn with<T: Send + 'static>(
        &self,
        file: FileId,
        work: impl FnOnce(&Inner, &dyn Fs) -> io::Result<T> + Send + 'static,
    ) -> Result<T, BlobError> {
        let inner = Arc::clone(&self.inner);
        self.worker
            .run(move |fs| work(&inner, fs).map_err(|error| inner.failure(fs, file, &error)))
            .await
    }
}

impl Inner {
    fn open(fs: &dyn Fs, root: PathBuf) -> io::Result<Self> {
        make_root(fs, &root)?;
        let lock = FolderLock::take(&root)?;
        let folder = |number| Folder::new(root.join(format!("{number:02x}")));
        let inner = Self {
            folders: (0..=u8::MAX).map(folder).collect(),
            root,
            copies: AtomicU64::new(0),
            _lock: lock,
        };
        match fs.create_folder(&inner.temporary_folder()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        for entry in fs.list(&inner.temporary_folder())? {
            remove_if_there(fs, &inner.temporary_folder().join(entry.name))?;
        }
        Ok(inner)
    }

    /// The folder of a blob. An id begins with the time in milliseconds, and this part of it changes about once a minute: files
    /// that come together are in one folder, whose sync makes all their names safe at once, and over time all folders fill alike.
    fn folder(&self, file: FileId) -> &Folder {
        &self.folders[usize::from(file.0.as_bytes()[3])]
    }

    /// Where a blob is.
    fn path(&self, file: FileId) -> PathBuf {
        self.folder(file).path().join(file.to_string())
    }

    fn temporary_folder(&self) -> PathBuf {
        self.root.join("tmp")
    }

    fn temporary(&self, file: FileId) -> PathBuf {
        let number = self.copies.fetch_add(1, Ordering::Relaxed);
        self.temporary_folder().join(format!("{file}.{number}"))
    }

    /// What an error with one file means: the file, the room, or the whole store.
    fn failure(&self, fs: &dyn Fs, file: FileId, error: &io::Error) -> BlobError {
        if is_full(error) {
            return BlobError::Full(error.to_string());
        }
        if error.kind() == io::ErrorKind::NotFound {
            // Asked for often, so this must be cheap: a store that is not mounted lacks this folder.
            return match fs.metadata(&self.temporary_folder()) {
                Ok(_) => BlobError::NotFound(file),
                Err(store) => unreachable(&store),
            };
        }
        match self.probe(fs) {
            Ok(()) => BlobError::Failed(error.to_string()),
            Err(store) => unreachable(&store),
        }
    }

    /// Proves that the store can be written to. Being full is no reason to call it unreachable.
    fn probe(&self, fs: &dyn Fs) -> io::Result<()> {
        let path = self.temporary_folder().join(format!(
            "probe.{}",
            self.copies.fetch_add(1, Ordering::Relaxed)
        ));
        let probed = fs
            .open(&path, Access::Create)
            .and_then(|file| file.write_at(&mut [io::IoSlice::new(b"probe")], 0))
            .and_then(|()| fs.remove(&path));
        match probed {
            Err(error) if is_full(&error) => remove_if_there(fs, &path),
            other => other,
        }
    }
}

fn unreachable(error: &io::Error) -> BlobError {
    BlobError::Unreachable(format!(
        "check that the folder is mounted and can be written to: {error}"
    ))
}

#[async_trait]
impl BlobStore for DiskBlobs {
    async fn put(&self, file: FileId, source: &Source) -> Result<(), BlobError> {
        match self.store(file, source).await {
            Err(BlobError::NotFound(_)) => Err(BlobError::Failed(
                "a file vanished while it was being stored".to_owned(),
            )),
            other => other,
        }
    }

    async fn size(&self, file: FileId) -> Result<u64, BlobError> {
        self.with(file, move |inner, fs| {
            Ok(fs.metadata(&inner.path(file))?.len)
        })
        .await
    }

    async fn read(&self, file: FileId, range: Range<u64>) -> Result<ByteStream, BlobError> {
        let opened = self.with(file, move |inner, fs| {
            let opened: Arc<dyn File> = fs.open(&inner.path(file), Access::Read)?.into();
            let len = opened.len()?;
            Ok((opened, len))
        });
        let (opened, len) = opened.await?;
        if range.end > len {
            return Err(BlobError::Failed(format!(
                "bytes up to {} were asked for of a file of {len}",
                range.end
            )));
        }
        Ok(self.worker.stream(opened, range))
    }

    async fn remove(&self, file: FileId) -> Result<(), BlobError> {
        let removed = self.with(file, move |inner, fs| {
            fs.remove(&inner.path(file))?;
            inner.folder(file).sync(fs)
        });
        match removed.await {
            Err(BlobError::NotFound(_)) => Ok(()),
            other => other,
        }
    }

    async fn list(&self) -> Result<BoxStream<'static, Result<StoredBlob, BlobError>>, BlobError> {
        walk::blobs(Arc::clone(&self.inner), self.worker.clone()).await
    }

    async fn ping(&self) -> Result<(), BlobError> {
        let inner = Arc::clone(&self.inner);
        self.worker
            .run(move |fs| inner.probe(fs).map_err(|error| unreachable(&error)))
            .await
    }
}
