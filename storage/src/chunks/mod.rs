//! The chunk cache: the bytes of an upload from its first chunk until the file is stored.

mod disk;
mod redis;

pub use self::redis::{RedisChunks, Refused};
pub use disk::DiskChunks;

use crate::ByteStream;
use async_trait::async_trait;
use bytes::{Buf, Bytes};
use protocol::UploadId;
use serde::{Deserialize, Serialize};
use std::{
    ops::{Deref, Range},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Why the chunk cache refused.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// No such upload; also after it was removed.
    #[error("the chunk cache holds no upload {0}")]
    NotFound(UploadId),
    /// A newer generation holds the upload: the caller's stream is over.
    #[error("upload {upload} is held by a newer generation")]
    Superseded {
        /// The upload.
        upload: UploadId,
    },
    /// The upload is sealed: nothing can be written to it any more.
    #[error("upload {0} is sealed")]
    Sealed(UploadId),
    /// The write does not begin where the held bytes end, or goes beyond the announced size.
    #[error("the write does not continue the upload, which stands at {expected}")]
    OutOfOrder {
        /// Bytes held.
        expected: u64,
    },
    /// Other uploads take all that the cache may hold. There is room again when their files are stored. What is held stays.
    #[error("the chunk cache is at its bound: {0}")]
    Busy(String),
    /// The upload is larger than all that the cache may hold, so that waiting would never end.
    #[error("too large for the chunk cache: {0}")]
    TooLarge(String),
    /// There is no room for the upload, or no longer, and waiting need not change that. What is held stays.
    #[error("no room in the chunk cache: {0}")]
    Full(String),
    /// The cache can't be reached now; the same call may succeed later.
    #[error("the chunk cache is unavailable: {0}")]
    Unavailable(String),
}

/// An upload that a caller holds for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Names this hold; every open and resume raises it, so that a late write of an older holder changes nothing. It rises also
    /// over a loss of everything that the cache held.
    pub generation: u64,
    /// Bytes held: writing continues there.
    pub held: u64,
}

/// Bytes to be added to an upload, with the checksum that whoever brings them has verified: it is not computed again.
#[derive(Clone, Debug, Default)]
pub struct Piece {
    bytes: Bytes,
    crc: u32,
}

impl Piece {
    /// Bytes whose CRC-32C is known.
    #[must_use]
    pub fn verified(bytes: Bytes, crc: u32) -> Self {
        Self { bytes, crc }
    }

    /// The CRC-32C of the bytes.
    #[must_use]
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// The bytes alone.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Drops the first `len` bytes, or all if there are fewer.
    pub fn skip(&mut self, len: usize) {
        if len > 0 {
            self.bytes.advance(len.min(self.bytes.len()));
            self.crc = crc32c::crc32c(&self.bytes);
        }
    }
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Self {
        let crc = crc32c::crc32c(&bytes);
        Self { bytes, crc }
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Batches are joined until they are so many bytes, in an adapter that has no way of its own to take several.
const JOINED: usize = 1 << 20;

/// Where the bytes to be added to an upload come from while they are being added.
pub trait Batches: Send + Sync {
    /// What is there to be added now; none when there is nothing.
    fn next(&self) -> Option<Vec<Piece>>;

    /// All batches taken so far were added: so many bytes are held now, with the promise of [`ChunkCache::append`].
    fn added(&self, held: u64);
}

/// Where the bytes of a sealed upload are, so that a blob store on the same file system need not copy them.
pub enum SealedContent {
    /// A file of exactly the upload's bytes, which may be linked and must not be changed.
    File(PathBuf),
    /// Elsewhere: read it with [`ChunkCache::read`].
    Remote,
}

/// An upload found in the cache, for the sweeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedUpload {
    /// Which.
    pub upload: UploadId,
    /// Bytes held.
    pub held: u64,
    /// Whether it is sealed.
    pub sealed: bool,
    /// When it was last written to.
    pub touched: SystemTime,
}

/// What the cache has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes held by uploads, open and sealed.
    pub held: u64,
    /// Bytes promised to open uploads and not yet written.
    pub reserved: u64,
    /// Bytes that could still be promised.
    pub available: u64,
}

/// How a cache on disk writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Writes {
    /// Past the page cache if the file system takes that, else through it.
    #[default]
    Auto,
    /// Past the page cache; a file system that refuses is an error at the start.
    Direct,
    /// Through the page cache.
    Buffered,
}

/// Limits of a chunk cache. An adapter heeds those that concern it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChunkOptions {
    /// Bytes that uploads may hold and reserve in all; unlimited if not given.
    pub max_bytes: Option<u64>,
    /// Bytes of the file system that uploads never take.
    pub min_free_bytes: u64,
    /// File operations under way at once.
    pub disk_threads: usize,
    /// Uploads whose file stays open between appends; the others' are opened for each append.
    pub kept_open: usize,
    /// On disk: whether the bytes of uploads go through the page cache. Those of small ones always do.
    pub writes: Writes,
    /// In Redis, uploads that are not sealed are dropped when nobody has written to them for so long: well beyond the lifetime
    /// that the uploader gives them.
    pub abandoned_after: Duration,
}

impl Default for ChunkOptions {
    fn default() -> Self {
        Self {
            max_bytes: None,
            min_free_bytes: 256 << 20,
            disk_threads: 32,
            kept_open: 256,
            writes: Writes::Auto,
            abandoned_after: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// The port. All calls are safe to repeat; a call cut off half-way leaves the upload as before or as after it.
#[async_trait]
pub trait ChunkCache: Send + Sync + 'static {
    /// Makes an upload of `size` bytes exist, reserves room for it and holds it, with nothing held yet. Opening one that exists
    /// is a [`resume`](Self::resume). An upload of which nothing is held may be forgotten when the process ends.
    ///
    /// # Errors
    /// [`ChunkError::Busy`] when uploads take the room that `size` more bytes need, [`ChunkError::Full`] when something else
    /// does, [`ChunkError::TooLarge`] when there would be none in an empty cache.
    async fn open(&self, upload: UploadId, size: u64) -> Result<Hold, ChunkError>;

    /// Holds an existing upload under a new generation. What is said to be held is really there: after a crash the adapter
    /// verifies it first.
    ///
    /// # Errors
    /// [`ChunkError::NotFound`], [`ChunkError::Sealed`].
    async fn resume(&self, upload: UploadId) -> Result<Hold, ChunkError>;

    /// Adds `parts`, one after the other, at `offset`, which must be where the held bytes end; answers the bytes held then.
    /// When it returns, the bytes survive the death of this process (not a power cut). After [`ChunkError::Unavailable`] they
    /// may be held all the same; the same call then finds [`ChunkError::OutOfOrder`].
    ///
    /// # Errors
    /// [`ChunkError::Superseded`], [`ChunkError::OutOfOrder`], [`ChunkError::Sealed`], [`ChunkError::Busy`],
    /// [`ChunkError::Full`].
    async fn append(
        &self,
        upload: UploadId,
        generation: u64,
        offset: u64,
        parts: Vec<Piece>,
    ) -> Result<u64, ChunkError>;

    /// Adds what `batches` has, one after the other as by [`append`](Self::append), until it has nothing, or for a while; answers
    /// the bytes held then. What comes while a batch is being added is added without the way to the caller and back.
    ///
    /// # Errors
    /// Those of [`append`](Self::append), for what was taken and of which it was not said that it is added.
    async fn append_all(
        &self,
        upload: UploadId,
        generation: u64,
        offset: u64,
        batches: Arc<dyn Batches>,
    ) -> Result<u64, ChunkError> {
        let mut held = offset;
        while let Some(mut parts) = batches.next() {
            // Where a call costs a round trip, few are better.
            while parts.iter().map(|part| part.len()).sum::<usize>() < JOINED
                && let Some(more) = batches.next()
            {
                parts.extend(more);
            }
            held = self.append(upload, generation, held, parts).await?;
            batches.added(held);
        }
        Ok(held)
    }

    /// Closes the upload for writing. When it returns, the content survives a power cut (in Redis: if it syncs its append-only
    /// file always; with a replica, also the loss of the server). Sealing again is no error, whatever the generation.
    ///
    /// # Errors
    /// [`ChunkError::Superseded`], [`ChunkError::OutOfOrder`] when not all bytes are held. After
    /// [`ChunkError::Unavailable`] fewer bytes may be held than before: those that could not be synced are not.
    async fn seal(&self, upload: UploadId, generation: u64) -> Result<(), ChunkError>;

    /// Where a sealed upload's bytes are.
    ///
    /// # Errors
    /// [`ChunkError::NotFound`] also when it is not sealed.
    async fn sealed(&self, upload: UploadId) -> Result<SealedContent, ChunkError>;

    /// Bytes held and whether the upload is sealed, without holding it.
    ///
    /// # Errors
    /// [`ChunkError::NotFound`].
    async fn stat(&self, upload: UploadId) -> Result<CachedUpload, ChunkError>;

    /// Reads a range of the held bytes, of an open or a sealed upload.
    ///
    /// # Errors
    /// [`ChunkError::NotFound`]; [`ChunkError::OutOfOrder`] when the range ends beyond what is held.
    async fn read(&self, upload: UploadId, range: Range<u64>) -> Result<ByteStream, ChunkError>;

    /// Frees everything of an upload. Removing what is not there is no error. Readers under way finish, those that ask for
    /// nothing for a minute excepted.
    ///
    /// # Errors
    /// [`ChunkError::Unavailable`].
    async fn remove(&self, upload: UploadId) -> Result<(), ChunkError>;

    /// Every upload in the cache, for the sweeper. What an upload is said to hold need not be verified.
    ///
    /// # Errors
    /// [`ChunkError::Unavailable`].
    async fn list(&self) -> Result<Vec<CachedUpload>, ChunkError>;

    /// Room taken and left.
    ///
    /// # Errors
    /// [`ChunkError::Unavailable`].
    async fn usage(&self) -> Result<Usage, ChunkError>;
}
