//! Stores a sealed upload: chunks in parallel and in any order, then the entry that makes them a blob.

use super::{
    BlobError, Entry, GridFsBlobs,
    chunk::{self, Fingerprint, Growing},
};
use crate::{
    ByteStream,
    blobs::{
        Source,
        source::{expect_digest, expect_size, refused, unreadable},
    },
    mongo::{LARGE, SMALL, Trouble, within},
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use mongodb::{
    Collection,
    bson::{DateTime, RawDocumentBuf, doc, rawdoc},
    error::{Error, ErrorKind},
};
use protocol::{FileId, Hasher};
use std::collections::HashMap;
use tokio::task::JoinSet;

/// Bytes of content sent in one insert: whole chunks. MongoDB takes 48 MB in a message; more makes nothing faster.
pub(super) const BATCH: usize = 4 * chunk::SIZE;

/// Bytes hashed and copied before other tasks have their turn: while they are still in the processor's cache.
const HASHED_AT_ONCE: usize = 256 << 10;

/// Inserts of one file under way at once.
const PARALLEL: usize = 4;

/// Chunks compared in one query; MongoDB reads each of them.
const COMPARED: usize = 100;

/// MongoDB's code for a second document with a unique key.
const DUPLICATE: i32 = 11000;

impl GridFsBlobs {
    pub(super) async fn store(&self, file: FileId, source: &Source) -> Result<(), BlobError> {
        // Asked at the same time: most files are not there yet.
        let (entry, held) = tokio::join!(self.entry(file), source.cache.stat(source.upload));
        if let Some(entry) = entry? {
            return entry.expect(file, source);
        }
        expect_size(source.size, held.map_err(refused)?.held)?;
        let content = source
            .cache
            .read(source.upload, 0..source.size)
            .await
            .map_err(refused)?;
        let put = Put {
            file,
            source,
            chunks: self.chunks().await?,
        };
        let found = put.send(self, content).await?;
        // The content is as announced from here on. What was there before is of another attempt, which may have read
        // something else and died before it knew.
        put.compare(&found).await?;
        put.count().await?;
        self.write_entry(file, source).await
    }

    async fn write_entry(&self, file: FileId, source: &Source) -> Result<(), BlobError> {
        let too_large = |_| BlobError::Failed("it is too large for MongoDB".to_owned());
        let entry = rawdoc! {
            "_id": file.to_string(),
            "length": i64::try_from(source.size).map_err(too_large)?,
            "chunkSize": i32::try_from(chunk::SIZE).map_err(too_large)?,
            "uploadDate": DateTime::now(),
            "filename": file.to_string(),
            "metadata": { "digest": source.digest.to_string() },
        };
        match within(SMALL, self.files().await?.insert_one(&entry)).await {
            Ok(_) => Ok(()),
            // Another attempt was faster.
            Err(Trouble::Duplicate(reason)) => match self.entry(file).await? {
                Some(entry) => entry.expect(file, source),
                None => Err(BlobError::Unreachable(reason)),
            },
            Err(trouble) => Err(trouble.into()),
        }
    }
}

impl Entry {
    /// What is stored under a file's id must be what is to be stored there.
    fn expect(&self, file: FileId, source: &Source) -> Result<(), BlobError> {
        let digest = source.digest.to_string();
        if self.size == source.size && self.digest.as_ref().is_none_or(|stored| *stored == digest) {
            return Ok(());
        }
        Err(BlobError::Failed(format!(
            "other content is stored as {file}, {} bytes with digest {}: the database was changed from outside",
            self.size,
            self.digest.as_deref().unwrap_or("not known")
        )))
    }
}

struct Put<'a> {
    file: FileId,
    source: &'a Source,
    chunks: Collection<RawDocumentBuf>,
}

/// Chunks ready to be sent.
#[derive(Default)]
struct Batch {
    documents: Vec<RawDocumentBuf>,
    fingerprints: Vec<Fingerprint>,
    bytes: usize,
}

/// Content on its way into chunks, which is hashed as it passes.
struct Cutting {
    file: FileId,
    size: u64,
    hasher: Hasher,
    /// Bytes that have passed.
    sent: u64,
    /// The number of the next chunk.
    next: i32,
    chunk: Option<Growing>,
    /// The chunks that are whole.
    batch: Batch,
}

impl Cutting {
    fn new(file: FileId, source: &Source) -> Self {
        Self {
            file,
            size: source.size,
            hasher: Hasher::new(source.digest.algorithm),
            sent: 0,
            next: 0,
            chunk: None,
            batch: Batch::default(),
        }
    }

    fn add(&mut self, mut part: &[u8]) -> Result<(), BlobError> {
        self.hasher.update(part);
        while !part.is_empty() {
            let (file, n) = (self.file, self.next);
            let left = usize::try_from(self.size.saturating_sub(self.sent)).unwrap_or(chunk::SIZE);
            let expected = left.min(chunk::SIZE);
            let chunk = self
                .chunk
                .get_or_insert_with(|| Growing::new(file, n, expected));
            let taken = chunk.add(part);
            self.sent += taken as u64;
            part = &part[taken..];
            if chunk.len() == chunk::SIZE {
                self.end()?;
            }
        }
        Ok(())
    }

    /// Ends the chunk in the making, if there is one.
    fn end(&mut self) -> Result<(), BlobError> {
        let Some(chunk) = self.chunk.take() else {
            return Ok(());
        };
        let (document, fingerprint) = chunk.finish().map_err(failed)?;
        self.batch.bytes += fingerprint.len;
        self.batch.documents.push(document);
        self.batch.fingerprints.push(fingerprint);
        let next = self.next.checked_add(1);
        self.next = next.ok_or_else(|| failed("it has more chunks than GridFS can count"))?;
        Ok(())
    }

    fn take(&mut self) -> Batch {
        std::mem::take(&mut self.batch)
    }
}

impl Put<'_> {
    /// Sends all chunks and verifies the content; answers those that were there already.
    async fn send(
        &self,
        store: &GridFsBlobs,
        mut content: ByteStream,
    ) -> Result<Vec<Fingerprint>, BlobError> {
        // An insert that is no longer waited for is given up.
        let mut inserts = JoinSet::new();
        let mut found = Vec::new();
        let mut cutting = Cutting::new(self.file, self.source);
        while let Some(piece) = content.next().await {
            let piece = piece.map_err(|error| unreadable(&error))?;
            for part in piece.chunks(HASHED_AT_ONCE) {
                cutting.add(part)?;
                // It was work for a while: others have their turn.
                tokio::task::yield_now().await;
            }
            if cutting.batch.bytes >= BATCH {
                self.insert(store, cutting.take(), &mut inserts, &mut found)
                    .await?;
            }
        }
        cutting.end()?;
        if cutting.batch.bytes > 0 {
            self.insert(store, cutting.take(), &mut inserts, &mut found)
                .await?;
        }
        while !inserts.is_empty() {
            collect(&mut inserts, &mut found).await?;
        }
        expect_size(self.source.size, cutting.sent)?;
        expect_digest(self.source.digest, cutting.hasher)?;
        if u64::from(cutting.next.cast_unsigned()) != self.wanted() {
            return Err(failed("it was not cut as its entry would say"));
        }
        Ok(found)
    }

    /// Begins to insert a batch as soon as there is room for it.
    async fn insert(
        &self,
        store: &GridFsBlobs,
        batch: Batch,
        inserts: &mut JoinSet<Result<Vec<Fingerprint>, Trouble>>,
        found: &mut Vec<Fingerprint>,
    ) -> Result<(), BlobError> {
        while inserts.len() >= PARALLEL {
            collect(inserts, found).await?;
        }
        let room = store.room.clone().acquire_owned().await.map_err(failed)?;
        let chunks = self.chunks.clone();
        inserts.spawn(async move {
            let inserted = insert(&chunks, batch).await;
            drop(room);
            inserted
        });
        Ok(())
    }

    /// How many chunks it has.
    fn wanted(&self) -> u64 {
        self.source.size.div_ceil(chunk::SIZE as u64)
    }

    /// Compares chunks that an earlier or another attempt wrote with the content verified, and replaces those that differ.
    async fn compare(&self, found: &[Fingerprint]) -> Result<(), BlobError> {
        for wanted in found.chunks(COMPARED) {
            let numbers: Vec<i32> = wanted.iter().map(|chunk| chunk.n).collect();
            let query = doc! { "files_id": self.file.to_string(), "n": { "$in": numbers } };
            let shape = doc! { "_id": 0, "n": 1, "crc32c": 1, "len": { "$binarySize": "$data" } };
            let there = async {
                self.chunks
                    .find(query)
                    .projection(shape)
                    .await?
                    .try_collect::<Vec<_>>()
                    .await
            };
            let there = within(LARGE, there).await?;
            let there: HashMap<_, _> = there
                .iter()
                .filter_map(fingerprint)
                .map(|chunk| (chunk.n, chunk))
                .collect();
            for chunk in wanted {
                if there.get(&chunk.n) != Some(chunk) {
                    self.replace(*chunk).await?;
                }
            }
        }
        Ok(())
    }

    /// Puts the verified content in the place of a chunk that differs.
    async fn replace(&self, wanted: Fingerprint) -> Result<(), BlobError> {
        tracing::warn!(file_id = %self.file, n = wanted.n, "a chunk of an earlier attempt differs and is replaced");
        let start = u64::from(wanted.n.cast_unsigned()) * chunk::SIZE as u64;
        let range = start..start + wanted.len as u64;
        let content = self
            .source
            .cache
            .read(self.source.upload, range)
            .await
            .map_err(refused)?;
        let pieces: Vec<Bytes> = content
            .try_collect()
            .await
            .map_err(|error| unreadable(&error))?;
        if Fingerprint::of(wanted.n, &pieces) != wanted {
            return Err(BlobError::Failed(
                "the upload reads differently each time".to_owned(),
            ));
        }
        let place = doc! { "files_id": self.file.to_string(), "n": wanted.n };
        let update = self
            .chunks
            .update_one(place, chunk::update(self.file, pieces.concat(), wanted));
        within(LARGE, update.upsert(true)).await?;
        Ok(())
    }

    /// Makes sure that all chunks are there, and no others.
    async fn count(&self) -> Result<(), BlobError> {
        let id = self.file.to_string();
        let wanted = self.wanted();
        let count =
            async || within(LARGE, self.chunks.count_documents(doc! { "files_id": &id })).await;
        let mut found = count().await?;
        if found > wanted {
            // Of a version of this program with smaller chunks.
            let beyond =
                doc! { "files_id": &id, "n": { "$gte": i64::try_from(wanted).map_err(failed)? } };
            within(LARGE, self.chunks.delete_many(beyond)).await?;
            found = count().await?;
        }
        if found != wanted {
            return Err(BlobError::Failed(format!(
                "{found} chunks are there instead of {wanted}: it is being removed meanwhile"
            )));
        }
        Ok(())
    }
}

/// Inserts a batch; answers the chunks that were there already.
async fn insert(
    chunks: &Collection<RawDocumentBuf>,
    batch: Batch,
) -> Result<Vec<Fingerprint>, Trouble> {
    let call = chunks.insert_many(batch.documents).ordered(false);
    let Ok(inserted) = tokio::time::timeout(LARGE, call.into_future()).await else {
        return Err(Trouble::silent(LARGE));
    };
    match inserted {
        Ok(_) => Ok(Vec::new()),
        Err(error) => {
            let there = duplicates(&error).ok_or_else(|| Trouble::from(&error))?;
            Ok(there
                .into_iter()
                .filter_map(|index| batch.fingerprints.get(index).copied())
                .collect())
        }
    }
}

/// The places in the batch of what was there already, if that is all that was wrong.
fn duplicates(error: &Error) -> Option<Vec<usize>> {
    match &*error.kind {
        ErrorKind::InsertMany(error) if error.write_concern_error.is_none() => {
            let errors = error.write_errors.as_ref()?;
            errors
                .iter()
                .map(|error| (error.code == DUPLICATE).then_some(error.index))
                .collect()
        }
        _ => None,
    }
}

/// Waits for an insert to end.
async fn collect(
    inserts: &mut JoinSet<Result<Vec<Fingerprint>, Trouble>>,
    found: &mut Vec<Fingerprint>,
) -> Result<(), BlobError> {
    if let Some(ended) = inserts.join_next().await {
        found.extend(ended.map_err(failed)??);
    }
    Ok(())
}

fn fingerprint(found: &RawDocumentBuf) -> Option<Fingerprint> {
    Some(Fingerprint {
        n: found.get_i32("n").ok()?,
        len: usize::try_from(found.get_i32("len").ok()?).ok()?,
        crc32c: u32::try_from(found.get_i64("crc32c").ok()?).ok()?,
    })
}

fn failed(error: impl std::fmt::Display) -> BlobError {
    BlobError::Failed(error.to_string())
}
