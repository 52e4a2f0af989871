//! Stores a sealed upload: chunks in parallel and in any order, then the entry that makes them a blob.

use super::{
    BlobError, Entry, GridFsBlobs,
    chunk::{self, Cutter, Fingerprint},
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
use tokio::task::{JoinSet, spawn_blocking};

/// Bytes of content sent in one insert: whole chunks. MongoDB takes 48 MB in a message; more makes nothing faster.
pub(super) const BATCH: usize = 4 * chunk::SIZE;

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
struct Batch {
    documents: Vec<RawDocumentBuf>,
    fingerprints: Vec<Fingerprint>,
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
        let mut hasher = Hasher::new(self.source.digest.algorithm);
        let mut cutter = Cutter::default();
        let (mut sent, mut next) = (0, 0);
        loop {
            let pieces = fill(&mut cutter, &mut content).await?;
            if pieces.is_empty() {
                break;
            }
            let file = self.file;
            let built = spawn_blocking(move || build(file, next, &pieces, hasher));
            let (batch, len, after) = built.await.map_err(failed)??;
            hasher = after;
            sent += len as u64;
            next += i32::try_from(batch.documents.len()).map_err(failed)?;
            while inserts.len() >= PARALLEL {
                collect(&mut inserts, &mut found).await?;
            }
            let room = store.room.clone().acquire_owned().await.map_err(failed)?;
            let chunks = self.chunks.clone();
            inserts.spawn(async move {
                let inserted = insert(&chunks, batch).await;
                drop(room);
                inserted
            });
        }
        while !inserts.is_empty() {
            collect(&mut inserts, &mut found).await?;
        }
        expect_size(self.source.size, sent)?;
        expect_digest(self.source.digest, hasher)?;
        if u64::from(next.cast_unsigned()) != self.wanted() {
            return Err(failed("it was not cut as its entry would say"));
        }
        Ok(found)
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

/// Reads the content of one batch; nothing at its end.
async fn fill(cutter: &mut Cutter, content: &mut ByteStream) -> Result<Vec<Bytes>, BlobError> {
    while cutter.len() < BATCH {
        match content.next().await {
            Some(piece) => cutter.add(piece.map_err(|error| unreadable(&error))?),
            None => break,
        }
    }
    Ok(cutter.take(BATCH))
}

/// Makes chunks of the content from chunk number `first` on, hashing it as it passes; answers its length, too.
fn build(
    file: FileId,
    first: i32,
    pieces: &[Bytes],
    mut hasher: Hasher,
) -> Result<(Batch, usize, Hasher), BlobError> {
    let mut cutter = Cutter::default();
    pieces.iter().for_each(|piece| cutter.add(piece.clone()));
    let len = cutter.len();
    let mut batch = Batch {
        documents: Vec::new(),
        fingerprints: Vec::new(),
    };
    while cutter.len() > 0 {
        let parts = cutter.take(chunk::SIZE);
        parts.iter().for_each(|part| hasher.update(part));
        let n = i32::try_from(batch.documents.len())
            .ok()
            .and_then(|n| first.checked_add(n));
        let n = n.ok_or_else(|| failed("it has more chunks than GridFS can count"))?;
        let fingerprint = Fingerprint::of(n, &parts);
        let document = chunk::document(file, &parts, fingerprint).map_err(failed)?;
        batch.documents.push(document);
        batch.fingerprints.push(fingerprint);
    }
    Ok((batch, len, hasher))
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
