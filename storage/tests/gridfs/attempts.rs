//! Several attempts at one file: at once, broken off, or of other content.

use crate::support::{Cache, Database, content, listed, until};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, future::join_all, stream};
use mongodb::{
    Collection,
    bson::{Document, doc},
};
use protocol::{FileId, UploadId};
use std::{io, ops::Range, sync::Arc, time::Duration};
use storage::{
    ByteStream,
    blobs::{BlobError, Source},
    chunks::{CachedUpload, ChunkCache, ChunkError, Hold, Piece, SealedContent, Usage},
    conformance::pattern,
    open_blobs,
};

const LEN: usize = 11_000_001;
const CHUNKS: usize = LEN.div_ceil(1 << 20);

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_put_one_file_at_once() {
    let (database, cache) = (Database::new(), Cache::new());
    let bytes = pattern(1, LEN);
    let (file, source) = (FileId::new(), cache.sealed(&bytes).await);
    // Opened at once as well, so that both make the indexes.
    let stores = join_all((0..4).map(|_| open_blobs(&database.url))).await;
    let stores: Vec<_> = stores
        .into_iter()
        .map(|store| store.expect("the URL is good"))
        .collect();
    for put in join_all(stores.iter().map(|store| store.put(file, &source))).await {
        put.expect("it can be stored");
    }
    assert!(content(&*stores[0], file).await == bytes);
    assert_eq!(count(&database, "fs.files").await, 1);
    assert_eq!(count(&database, "fs.chunks").await, CHUNKS as u64);
    assert_eq!(listed(&*stores[1]).await.len(), 1);
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_broke_off_is_gone_on_with() {
    let (database, cache) = (Database::new(), Cache::new());
    let store = open_blobs(&database.url).await.expect("the URL is good");
    let bytes = pattern(2, LEN);
    let (file, source) = (FileId::new(), cache.sealed(&bytes).await);
    let mut broken = Reads::new(&source, bytes.clone());
    broken.breaks_after = 9_000_000;
    let chunks = database.collection("fs.chunks").await;
    broken.not_before = Some(chunks);
    let broken = broken.source(&source);
    let refused = store.put(file, &broken).await;
    assert!(
        matches!(refused, Err(BlobError::Unreachable(_))),
        "{refused:?}"
    );
    assert!(matches!(
        store.size(file).await,
        Err(BlobError::NotFound(_))
    ));

    // What is there can be seen, with its age, once a majority has it.
    until("what is left", async || !listed(&*store).await.is_empty()).await;
    let [left] = listed(&*store).await[..] else {
        panic!("there is one")
    };
    assert_eq!((left.file, left.whole), (file, false));
    assert!(left.size > 0 && left.size < LEN as u64, "{}", left.size);
    assert!(left.stored.elapsed().expect("it is past").as_secs() < 60);
    let before = ids(&database).await;

    store.put(file, &source).await.expect("it can be stored");
    assert!(content(&*store, file).await == bytes);
    let after = ids(&database).await;
    assert_eq!(after.len(), CHUNKS);
    assert!(
        before.iter().all(|id| after.contains(id)),
        "what was there is not written again"
    );
    assert!(listed(&*store).await.iter().all(|blob| blob.whole));
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_of_damaged_content_are_replaced() {
    let (database, cache) = (Database::new(), Cache::new());
    let store = open_blobs(&database.url).await.expect("the URL is good");
    let bytes = pattern(3, LEN);
    let (file, source) = (FileId::new(), cache.sealed(&bytes).await);
    let mut damaged = bytes.clone();
    damaged[3 << 20] ^= 1;
    damaged[LEN - 1] ^= 1;
    let refused = store
        .put(file, &Reads::new(&source, damaged).source(&source))
        .await;
    assert!(matches!(refused, Err(BlobError::Damaged(_))), "{refused:?}");
    assert_eq!(count(&database, "fs.files").await, 0);
    assert_eq!(count(&database, "fs.chunks").await, CHUNKS as u64);

    store.put(file, &source).await.expect("it can be stored");
    assert!(content(&*store, file).await == bytes);
    assert_eq!(count(&database, "fs.chunks").await, CHUNKS as u64);
    database.drop_all().await;
}

/// What reads wrong content never replaces what is right, whichever comes first.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_content_replaces_nothing() {
    let (database, cache) = (Database::new(), Cache::new());
    let store = open_blobs(&database.url).await.expect("the URL is good");
    let bytes = pattern(4, LEN);
    let (file, source) = (FileId::new(), cache.sealed(&bytes).await);
    let mut damaged = bytes.clone();
    damaged[0] ^= 1;
    let damaged = Reads::new(&source, damaged).source(&source);
    let (good, bad) = tokio::join!(store.put(file, &source), store.put(file, &damaged));
    good.expect("it can be stored");
    // It may have found the other done.
    assert!(
        matches!(bad, Ok(()) | Err(BlobError::Damaged(_))),
        "{bad:?}"
    );
    assert!(content(&*store, file).await == bytes);
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_beyond_the_end_go() {
    let (database, cache) = (Database::new(), Cache::new());
    let store = open_blobs(&database.url).await.expect("the URL is good");
    let (file, source) = (FileId::new(), cache.sealed(b"short").await);
    let chunks = database.collection("fs.chunks").await;
    for n in [0, 1, 7] {
        let chunk = doc! { "files_id": file.to_string(), "n": n, "data": binary(b"left over") };
        chunks.insert_one(chunk).await.expect("it can be inserted");
    }
    store.put(file, &source).await.expect("it can be stored");
    assert_eq!(content(&*store, file).await, b"short");
    assert_eq!(count(&database, "fs.chunks").await, 1);
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_files_id_is_never_given_other_content() {
    let (database, cache) = (Database::new(), Cache::new());
    let store = open_blobs(&database.url).await.expect("the URL is good");
    let file = FileId::new();
    store
        .put(file, &cache.sealed(b"first").await)
        .await
        .expect("it can be stored");
    let refused = store.put(file, &cache.sealed(b"other").await).await;
    assert!(matches!(refused, Err(BlobError::Failed(_))), "{refused:?}");
    assert_eq!(content(&*store, file).await, b"first");
    database.drop_all().await;
}

/// A blob whose chunks were taken from it is an error to its reader, not a short content.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_chunk_is_an_error() {
    let (database, cache) = (Database::new(), Cache::new());
    let store = open_blobs(&database.url).await.expect("the URL is good");
    let (file, source) = (FileId::new(), cache.sealed(&pattern(5, LEN)).await);
    store.put(file, &source).await.expect("it can be stored");
    let chunks = database.collection("fs.chunks").await;
    chunks
        .delete_one(doc! { "n": 4 })
        .await
        .expect("it can be deleted");
    let read = store.read(file, 0..LEN as u64).await.expect("it is there");
    let pieces: Vec<_> = read.collect().await;
    assert!(pieces.iter().any(Result::is_err));
    database.drop_all().await;
}

/// The search for chunks without an entry takes one step in the index per file.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_without_an_entry_are_found_by_the_index() {
    let (database, cache) = (Database::new(), Cache::new());
    let store = open_blobs(&database.url).await.expect("the URL is good");
    for _ in 0..3 {
        let source = cache.sealed(&pattern(6, LEN)).await;
        store
            .put(FileId::new(), &source)
            .await
            .expect("it can be stored");
    }
    let aggregate = doc! {
        "aggregate": "fs.chunks",
        "pipeline": [
            { "$sort": { "files_id": 1, "n": 1 } },
            { "$group": { "_id": "$files_id", "n": { "$first": "$n" } } },
        ],
        "cursor": {},
    };
    let explain = doc! { "explain": aggregate, "verbosity": "executionStats" };
    let database_of_test = database.client().await.database(&database.name);
    let plan = database_of_test
        .run_command(explain)
        .await
        .expect("it explains")
        .to_string();
    assert!(plan.contains("DISTINCT_SCAN"), "{plan}");
    assert!(!plan.contains("COLLSCAN"), "{plan}");
    database.drop_all().await;
}

fn binary(bytes: &[u8]) -> mongodb::bson::Binary {
    mongodb::bson::Binary {
        subtype: mongodb::bson::spec::BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    }
}

async fn count(database: &Database, collection: &str) -> u64 {
    let collection = database.collection(collection).await;
    collection
        .count_documents(doc! {})
        .await
        .expect("it answers")
}

/// Which chunks are there, and when each was written.
async fn ids(database: &Database) -> Vec<Document> {
    let chunks = database.collection("fs.chunks").await;
    let found = chunks
        .find(doc! {})
        .projection(doc! { "_id": 1, "written": 1 })
        .await;
    let found: Vec<_> = found.expect("it answers").collect().await;
    found
        .into_iter()
        .map(|chunk| chunk.expect("it answers"))
        .collect()
}

/// A cache that gives this content for any upload.
struct Reads {
    inner: Arc<dyn ChunkCache>,
    content: Bytes,
    /// After so many bytes reading breaks off.
    breaks_after: usize,
    /// And not before the chunks of two batches are there.
    not_before: Option<Collection<Document>>,
}

impl Reads {
    fn new(source: &Source, content: Vec<u8>) -> Self {
        Self {
            inner: source.cache.clone(),
            breaks_after: content.len(),
            content: content.into(),
            not_before: None,
        }
    }

    /// The same upload, of this content.
    fn source(self, source: &Source) -> Source {
        Source {
            cache: Arc::new(self),
            ..source.clone()
        }
    }
}

#[async_trait]
impl ChunkCache for Reads {
    async fn open(&self, upload: UploadId, size: u64) -> Result<Hold, ChunkError> {
        self.inner.open(upload, size).await
    }

    async fn resume(&self, upload: UploadId) -> Result<Hold, ChunkError> {
        self.inner.resume(upload).await
    }

    async fn append(
        &self,
        upload: UploadId,
        generation: u64,
        offset: u64,
        parts: Vec<Piece>,
    ) -> Result<u64, ChunkError> {
        self.inner.append(upload, generation, offset, parts).await
    }

    async fn seal(&self, upload: UploadId, generation: u64) -> Result<(), ChunkError> {
        self.inner.seal(upload, generation).await
    }

    async fn sealed(&self, upload: UploadId) -> Result<SealedContent, ChunkError> {
        self.inner.sealed(upload).await
    }

    async fn stat(&self, upload: UploadId) -> Result<CachedUpload, ChunkError> {
        self.inner.stat(upload).await
    }

    async fn read(&self, _: UploadId, range: Range<u64>) -> Result<ByteStream, ChunkError> {
        let end = usize::try_from(range.end)
            .expect("it is small")
            .min(self.breaks_after);
        let start = usize::try_from(range.start).expect("it is small").min(end);
        let pieces = self.content[start..end].chunks(77_777);
        let pieces: Vec<_> = pieces
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        let (is_short, chunks) = ((end as u64) < range.end, self.not_before.clone());
        let after = stream::iter(is_short.then_some(())).then(move |()| {
            let chunks = chunks.clone();
            async move {
                if let Some(chunks) = chunks {
                    two_batches(&chunks).await;
                }
                Err(io::Error::from(io::ErrorKind::ConnectionReset))
            }
        });
        Ok(stream::iter(pieces).chain(after).boxed())
    }

    async fn remove(&self, upload: UploadId) -> Result<(), ChunkError> {
        self.inner.remove(upload).await
    }

    async fn list(&self) -> Result<Vec<CachedUpload>, ChunkError> {
        self.inner.list().await
    }

    async fn usage(&self) -> Result<Usage, ChunkError> {
        self.inner.usage().await
    }
}

/// Waits until the chunks of two batches are there.
async fn two_batches(chunks: &Collection<Document>) {
    while chunks.count_documents(doc! {}).await.expect("it answers") < 8 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
