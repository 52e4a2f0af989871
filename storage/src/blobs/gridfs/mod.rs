//! A blob store in MongoDB's GridFS: <https://www.mongodb.com/docs/manual/core/gridfs/>.
//!
//! ```text
//! fs.files   {_id, length, chunkSize, uploadDate, filename, metadata: {digest}}
//! fs.chunks  {_id, files_id, n, data, crc32c, written}           unique on (files_id, n)
//! ```
//!
//! `_id`, `files_id` and `filename` are the file's id as text, so that any client of GridFS finds it by name as by id. A
//! chunk's `crc32c` and `written` are ours; clients pay no heed to them.
//!
//! The entry in `fs.files` makes a blob: it is written last, when all chunks are known to be there and to be of the content
//! that was verified, and removed first. Chunks can be written by several processes and attempts at once: whose comes first
//! stays, and each attempt checks those that it did not write itself.

mod chunk;
mod list;
mod put;
mod read;

use super::{BlobError, BlobStore, Source, StoredBlob};
use crate::{
    ByteStream,
    mongo::{self, LARGE, Mongo, Refused, SMALL, Trouble, within},
};
use async_trait::async_trait;
use futures::stream::BoxStream;
use mongodb::{
    Collection,
    bson::{RawDocumentBuf, doc},
};
use protocol::FileId;
use std::{ops::Range, sync::Arc, time::SystemTime};
use tokio::sync::Semaphore;

const FILES: &str = "fs.files";
const CHUNKS: &str = "fs.chunks";

/// Batches of chunks on their way to MongoDB at once, of all files together. The driver copies a batch, so each takes about
/// three times [`put::BATCH`] of memory.
const IN_FLIGHT: usize = 3;

/// A blob store in GridFS.
#[derive(Clone)]
pub struct GridFsBlobs {
    mongo: Arc<Mongo>,
    room: Arc<Semaphore>,
}

/// What `fs.files` says of a blob.
struct Entry {
    size: u64,
    chunk_size: u64,
    stored: SystemTime,
    digest: Option<String>,
}

impl GridFsBlobs {
    /// The store in the database that `url` names: `mongodb://host:port/<database>`. MongoDB may be away.
    ///
    /// # Errors
    /// When the URL makes no sense, or MongoDB refuses for good.
    pub async fn open(url: &str) -> Result<Self, Refused> {
        // The indexes are those of the GridFS specification.
        let indexes = vec![
            (
                FILES,
                vec![mongo::index(
                    "filename_1_uploadDate_1",
                    &["filename", "uploadDate"],
                    false,
                )],
            ),
            (
                CHUNKS,
                vec![mongo::index("files_id_1_n_1", &["files_id", "n"], true)],
            ),
        ];
        Ok(Self {
            mongo: Arc::new(Mongo::open(url, indexes).await?),
            room: Arc::new(Semaphore::new(IN_FLIGHT)),
        })
    }

    async fn files(&self) -> Result<Collection<RawDocumentBuf>, Trouble> {
        Ok(self.mongo.database().await?.collection(FILES))
    }

    async fn chunks(&self) -> Result<Collection<RawDocumentBuf>, Trouble> {
        Ok(self.mongo.database().await?.collection(CHUNKS))
    }

    /// The entry of a blob, if it is whole.
    async fn entry(&self, file: FileId) -> Result<Option<Entry>, BlobError> {
        let files = self.files().await?;
        let found = within(SMALL, files.find_one(doc! { "_id": file.to_string() })).await?;
        found.map(|found| Entry::read(file, &found)).transpose()
    }
}

impl Entry {
    fn read(file: FileId, found: &RawDocumentBuf) -> Result<Self, BlobError> {
        let strange = |what: &str| {
            BlobError::Failed(format!(
                "the entry of {file} in fs.files has no {what} that makes sense"
            ))
        };
        // Clients write numbers as 32 or 64 bits.
        let number = |name| match found.get(name) {
            Ok(Some(value)) => value.as_i64().or_else(|| value.as_i32().map(i64::from)),
            _ => None,
        };
        let unsigned = |name| number(name).and_then(|number| u64::try_from(number).ok());
        let digest = found
            .get_document("metadata")
            .and_then(|metadata| metadata.get_str("digest"));
        Ok(Self {
            size: unsigned("length").ok_or_else(|| strange("length"))?,
            chunk_size: unsigned("chunkSize")
                .filter(|size| *size > 0)
                .ok_or_else(|| strange("chunkSize"))?,
            stored: found
                .get_datetime("uploadDate")
                .map(|date| date.to_system_time())
                .map_err(|_| strange("uploadDate"))?,
            digest: digest.ok().map(str::to_owned),
        })
    }
}

/// What trouble with MongoDB means for a file: a failure only when MongoDB could have done it for another.
impl From<Trouble> for BlobError {
    fn from(trouble: Trouble) -> Self {
        let reason = trouble.to_string();
        match trouble {
            Trouble::Unreachable(_) | Trouble::Denied(_) => Self::Unreachable(reason),
            Trouble::Full(_) => Self::Full(reason),
            Trouble::Duplicate(_) | Trouble::Other(_) => Self::Failed(reason),
        }
    }
}

#[async_trait]
impl BlobStore for GridFsBlobs {
    async fn put(&self, file: FileId, source: &Source) -> Result<(), BlobError> {
        self.store(file, source).await
    }

    async fn size(&self, file: FileId) -> Result<u64, BlobError> {
        let entry = self.entry(file).await?;
        entry
            .map(|entry| entry.size)
            .ok_or(BlobError::NotFound(file))
    }

    async fn read(&self, file: FileId, range: Range<u64>) -> Result<ByteStream, BlobError> {
        let entry = self.entry(file).await?.ok_or(BlobError::NotFound(file))?;
        if range.end > entry.size {
            return Err(BlobError::Failed(format!(
                "bytes up to {} were asked for of a file of {}",
                range.end, entry.size
            )));
        }
        Ok(read::stream(self.chunks().await?, file, &entry, range))
    }

    async fn remove(&self, file: FileId) -> Result<(), BlobError> {
        let (files, chunks) = (self.files().await?, self.chunks().await?);
        let id = file.to_string();
        within(SMALL, files.delete_one(doc! { "_id": &id })).await?;
        within(LARGE, chunks.delete_many(doc! { "files_id": &id })).await?;
        // A put that had counted its chunks before they went may have written the entry since.
        within(SMALL, files.delete_one(doc! { "_id": &id })).await?;
        Ok(())
    }

    async fn list(&self) -> Result<BoxStream<'static, Result<StoredBlob, BlobError>>, BlobError> {
        // To be told here rather than by the first item, if it is away.
        self.mongo.database().await?;
        Ok(list::everything(self.clone()))
    }

    async fn missing(&self, files: &[FileId]) -> Result<Vec<FileId>, BlobError> {
        list::missing(self, files).await
    }

    async fn ping(&self) -> Result<(), BlobError> {
        Ok(self.mongo.ping().await?)
    }
}
