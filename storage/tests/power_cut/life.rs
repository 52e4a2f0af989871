//! What happens to a few uploads, and what was promised on the way.

use bytes::Bytes;
use protocol::{Digest, DigestAlgorithm, FileId, UploadId};
use std::{collections::BTreeMap, path::Path, sync::Arc};
use storage::{
    blobs::{BlobError, BlobStore, DiskBlobs, Source},
    chunks::{ChunkCache, ChunkError, ChunkOptions, DiskChunks, Hold},
    conformance::{digest, pattern},
    faults::FaultyChunks,
    fs::PowerCut,
};

/// An upload, and the file that it is to become.
pub(crate) struct Planned {
    pub(crate) upload: UploadId,
    pub(crate) file: FileId,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) struct Life {
    pub(crate) uploads: Vec<Planned>,
}

/// A step in the life of an upload, which is given by its number.
#[derive(Clone, Copy)]
enum Step {
    Open(usize),
    Resume(usize),
    /// So many bytes, in two parts.
    Append(usize, usize),
    Seal(usize),
    Put(usize),
    /// As from a cache on another machine.
    PutCopy(usize),
    /// Removes it from the cache.
    Free(usize),
    /// Removes the blob.
    Remove(usize),
}

use Step::{Append, Free, Open, Put, PutCopy, Remove, Resume, Seal};

const STEPS: &[Step] = &[
    Open(0),
    Append(0, 2_000),
    Open(1),
    Append(1, 30_000),
    Append(1, 30_000),
    Append(1, 30_000),
    Append(0, 3_000),
    Resume(1),
    Append(1, 9_999),
    Seal(0),
    Open(2),
    Append(2, 300),
    Put(0),
    Append(1, 1),
    Free(0),
    Resume(2),
    Seal(1),
    Append(2, 300),
    PutCopy(1),
    Open(3),
    Append(3, 7_000),
    Seal(3),
    Seal(3),
    Put(3),
    Put(3),
    Free(1),
    Remove(0),
    Append(2, 100),
    Free(2),
];

/// What a power cut must not take back.
#[derive(Default)]
pub(crate) struct Promises {
    /// Bytes acknowledged; these need only survive a kill.
    pub(crate) acknowledged: BTreeMap<UploadId, u64>,
    /// Uploads whose seal returned, until their removal begins.
    pub(crate) sealed: Vec<UploadId>,
    /// Blobs whose put returned, until their removal begins.
    pub(crate) stored: Vec<FileId>,
    /// Whether the whole life was lived.
    pub(crate) is_done: bool,
}

impl Life {
    pub(crate) fn new() -> Self {
        let planned = |(seed, len)| Planned {
            upload: UploadId::new(),
            file: FileId::new(),
            bytes: pattern(seed, len),
        };
        // One is larger than what a record covers, so that several records are written.
        Self {
            uploads: [(1, 5_000), (2, 100_000), (3, 900), (4, 7_000)]
                .into_iter()
                .map(planned)
                .collect(),
        }
    }
}

impl Planned {
    pub(crate) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn digest(&self) -> Digest {
        digest(DigestAlgorithm::Blake3, &self.bytes)
    }

    pub(crate) fn source(&self, cache: &Arc<dyn ChunkCache>) -> Source {
        Source {
            cache: Arc::clone(cache),
            upload: self.upload,
            size: self.size(),
            digest: self.digest(),
        }
    }
}

/// Both stores on one disk.
pub(crate) struct Stores {
    pub(crate) cache: Arc<dyn ChunkCache>,
    pub(crate) blobs: DiskBlobs,
}

impl Stores {
    pub(crate) async fn open(disk: &PowerCut, folder: &Path) -> std::io::Result<Self> {
        let options = ChunkOptions {
            min_free_bytes: 0,
            ..ChunkOptions::default()
        };
        let cache =
            DiskChunks::open(Arc::new(disk.clone()), &folder.join("chunks"), &options).await?;
        let blobs = DiskBlobs::open(Arc::new(disk.clone()), &folder.join("blobs")).await?;
        Ok(Self {
            cache: Arc::new(cache),
            blobs,
        })
    }
}

/// The power went.
pub(crate) struct Cut;

impl From<ChunkError> for Cut {
    fn from(error: ChunkError) -> Self {
        assert!(matches!(error, ChunkError::Unavailable(_)), "{error}");
        Self
    }
}

impl From<BlobError> for Cut {
    fn from(error: BlobError) -> Self {
        assert!(
            matches!(error, BlobError::Unreachable(_) | BlobError::Failed(_)),
            "{error}"
        );
        Self
    }
}

/// Lives until the end or until the power is cut.
pub(crate) async fn live(life: &Life, disk: &PowerCut, folder: &Path) -> Promises {
    let mut promises = Promises::default();
    if let Ok(stores) = Stores::open(disk, folder).await {
        let mut living = Living {
            life,
            stores,
            holds: BTreeMap::new(),
            promises: &mut promises,
        };
        let done = living.live().await.is_ok();
        promises.is_done = done;
    }
    promises
}

/// Opens the stores and verifies what is in them; whether that was done before the power was cut.
pub(crate) async fn recover(life: &Life, disk: &PowerCut, folder: &Path) -> bool {
    let Ok(stores) = Stores::open(disk, folder).await else {
        return false;
    };
    for planned in &life.uploads {
        if let Err(ChunkError::Unavailable(_)) = stores.cache.resume(planned.upload).await {
            return false;
        }
    }
    true
}

/// Finishes every upload in a second process. What it is told, sealed and stored, counts as promised to it too.
pub(crate) async fn finish(life: &Life, promises: &mut Promises, disk: &PowerCut, folder: &Path) {
    let stores = Stores::open(disk, folder)
        .await
        .expect("what a kill left can be opened");
    for planned in &life.uploads {
        let stat = stores.cache.stat(planned.upload).await;
        if !stat.is_ok_and(|stat| stat.sealed) {
            let hold = stores
                .cache
                .open(planned.upload, planned.size())
                .await
                .expect("there is room");
            let rest = &planned.bytes[usize::try_from(hold.held).expect("it is in memory")..];
            let rest = vec![Bytes::copy_from_slice(rest).into()];
            stores
                .cache
                .append(planned.upload, hold.generation, hold.held, rest)
                .await
                .expect("it continues");
            stores
                .cache
                .seal(planned.upload, hold.generation)
                .await
                .expect("all is held");
        }
        promises.sealed.push(planned.upload);
        stores
            .blobs
            .put(planned.file, &planned.source(&stores.cache))
            .await
            .expect("it can be stored");
        promises.stored.push(planned.file);
    }
}

struct Living<'a> {
    life: &'a Life,
    stores: Stores,
    holds: BTreeMap<UploadId, Hold>,
    promises: &'a mut Promises,
}

impl Living<'_> {
    async fn live(&mut self) -> Result<(), Cut> {
        for step in STEPS {
            match *step {
                Open(number) => self.open(number).await?,
                Resume(number) => self.resume(number).await?,
                Append(number, len) => self.append(number, len).await?,
                Seal(number) => self.seal(number).await?,
                Put(number) => self.put(number).await?,
                PutCopy(number) => self.put_copy(number).await?,
                Free(number) => self.free(number).await?,
                Remove(number) => self.remove(number).await?,
            }
        }
        Ok(())
    }

    fn planned(&self, number: usize) -> &Planned {
        &self.life.uploads[number]
    }

    async fn open(&mut self, number: usize) -> Result<(), Cut> {
        let (upload, size) = (self.planned(number).upload, self.planned(number).size());
        self.holds
            .insert(upload, self.stores.cache.open(upload, size).await?);
        self.promises.acknowledged.insert(upload, 0);
        Ok(())
    }

    async fn resume(&mut self, number: usize) -> Result<(), Cut> {
        let upload = self.planned(number).upload;
        let hold = self.stores.cache.resume(upload).await?;
        assert_eq!(hold.held, self.promises.acknowledged[&upload]);
        self.holds.insert(upload, hold);
        Ok(())
    }

    async fn append(&mut self, number: usize, len: usize) -> Result<(), Cut> {
        let planned = &self.life.uploads[number];
        let hold = self.holds[&planned.upload];
        let start = usize::try_from(hold.held).expect("it is in memory");
        let (middle, end) = (start + len / 3, start + len);
        let parts = [start..middle, middle..end]
            .map(|range| Bytes::copy_from_slice(&planned.bytes[range]).into())
            .to_vec();
        let held = self
            .stores
            .cache
            .append(planned.upload, hold.generation, hold.held, parts)
            .await?;
        self.holds.insert(planned.upload, Hold { held, ..hold });
        self.promises.acknowledged.insert(planned.upload, held);
        Ok(())
    }

    async fn seal(&mut self, number: usize) -> Result<(), Cut> {
        let upload = self.planned(number).upload;
        self.stores
            .cache
            .seal(upload, self.holds[&upload].generation)
            .await?;
        self.promises.sealed.push(upload);
        Ok(())
    }

    async fn put(&mut self, number: usize) -> Result<(), Cut> {
        let planned = self.planned(number);
        let file = planned.file;
        self.stores
            .blobs
            .put(file, &planned.source(&self.stores.cache))
            .await?;
        self.promises.stored.push(file);
        Ok(())
    }

    async fn put_copy(&mut self, number: usize) -> Result<(), Cut> {
        let remote: Arc<dyn ChunkCache> =
            Arc::new(FaultyChunks::new(Arc::clone(&self.stores.cache)).elsewhere());
        let planned = self.planned(number);
        let file = planned.file;
        self.stores
            .blobs
            .put(file, &planned.source(&remote))
            .await?;
        self.promises.stored.push(file);
        Ok(())
    }

    async fn free(&mut self, number: usize) -> Result<(), Cut> {
        let upload = self.planned(number).upload;
        self.promises.sealed.retain(|sealed| *sealed != upload);
        self.promises.acknowledged.remove(&upload);
        Ok(self.stores.cache.remove(upload).await?)
    }

    async fn remove(&mut self, number: usize) -> Result<(), Cut> {
        let file = self.planned(number).file;
        self.promises.stored.retain(|stored| *stored != file);
        Ok(self.stores.blobs.remove(file).await?)
    }
}
