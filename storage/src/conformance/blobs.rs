//! What every blob store does.

use super::{case, collect, digest, pattern};
use crate::{
    blobs::{BlobError, BlobStore, Source, StoredBlob},
    chunks::ChunkCache,
    faults::FaultyChunks,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future::join_all};
use protocol::{
    Digest,
    DigestAlgorithm::{self, Blake3, Sha256},
    FileId, UploadId,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

/// A blob store's storage, empty at first, and a chunk cache to store from.
#[async_trait]
pub trait BlobFixture: Send + Sync {
    /// Opens the store over the storage. What was opened before is dropped by then.
    async fn open(&self) -> Arc<dyn BlobStore>;

    /// The cache. It stays the same.
    async fn cache(&self) -> Arc<dyn ChunkCache>;

    /// Whether the store takes the cache's files over without reading them, so that it sees a wrong size, but no wrong digest.
    fn links(&self) -> bool {
        false
    }
}

/// Runs the suite.
///
/// # Panics
/// When the adapter does not do what the port says.
pub async fn blobs<F: BlobFixture>(make: impl Fn() -> F) {
    case("what is put can be read", put(&make())).await;
    case("a cache elsewhere is read through", elsewhere(&make())).await;
    case("putting again changes nothing", again(&make())).await;
    case("one file put by many at once", at_once(&make())).await;
    case("damaged content is refused", damaged(&make())).await;
    case("blobs outlive the cache and the adapter", outlives(&make())).await;
    case("ranges", ranges(&make())).await;
    case("unknown files are not found", unknown(&make())).await;
    case(
        "readers of what is removed are given all or an error",
        removed(&make()),
    )
    .await;
    case("the list has every blob", list(&make())).await;
    case(
        "what a refused put leaves is listed as that and can be removed",
        leftovers(&make()),
    )
    .await;
    case("what is missing is found out", missing(&make())).await;
    case("it answers", ping(&make())).await;
}

/// A sealed upload in a cache.
async fn sealed(cache: &Arc<dyn ChunkCache>, algorithm: DigestAlgorithm, content: &[u8]) -> Source {
    let upload = UploadId::new();
    let size = content.len() as u64;
    let hold = cache.open(upload, size).await.expect("there is room");
    cache
        .append(
            upload,
            hold.generation,
            0,
            vec![Bytes::copy_from_slice(content).into()],
        )
        .await
        .expect("it is reserved");
    cache
        .seal(upload, hold.generation)
        .await
        .expect("all is held");
    Source {
        cache: Arc::clone(cache),
        upload,
        size,
        digest: digest(algorithm, content),
    }
}

async fn content(store: &dyn BlobStore, file: FileId) -> Vec<u8> {
    let size = store.size(file).await.expect("it is there");
    collect(store.read(file, 0..size).await.expect("it is there")).await
}

async fn check_put(store: &dyn BlobStore, cache: &Arc<dyn ChunkCache>) {
    const MEBIBYTE: usize = 1 << 20;
    let lens = [
        1,
        100,
        262_144,
        MEBIBYTE - 1,
        MEBIBYTE,
        MEBIBYTE + 1,
        5_000_003,
    ];
    for (number, len) in lens.into_iter().enumerate() {
        for algorithm in [Sha256, Blake3] {
            let bytes = pattern(number as u64, len);
            let source = sealed(cache, algorithm, &bytes).await;
            let file = FileId::new();
            store.put(file, &source).await.expect("it can be stored");
            assert_eq!(store.size(file).await.expect("it is there"), len as u64);
            assert!(
                content(store, file).await == bytes,
                "{len} bytes by {algorithm:?}"
            );
        }
    }
}

async fn put(fixture: &impl BlobFixture) {
    check_put(&*fixture.open().await, &fixture.cache().await).await;
}

async fn elsewhere(fixture: &impl BlobFixture) {
    let cache: Arc<dyn ChunkCache> = Arc::new(FaultyChunks::new(fixture.cache().await).elsewhere());
    let store = fixture.open().await;
    check_put(&*store, &cache).await;
    check_damaged(&*store, &cache, false).await;
}

async fn again(fixture: &impl BlobFixture) {
    let (store, cache) = (fixture.open().await, fixture.cache().await);
    let source = sealed(&cache, Sha256, b"once").await;
    let file = FileId::new();
    store.put(file, &source).await.expect("it can be stored");
    store
        .put(file, &source)
        .await
        .expect("storing again is no error");
    cache
        .remove(source.upload)
        .await
        .expect("it can be removed");
    store
        .put(file, &source)
        .await
        .expect("what is stored needs its source no more");
    assert_eq!(content(&*store, file).await, b"once");
    assert_eq!(listed(&*store).await.len(), 1);
}

async fn at_once(fixture: &impl BlobFixture) {
    let (store, cache) = (fixture.open().await, fixture.cache().await);
    let remote: Arc<dyn ChunkCache> = Arc::new(FaultyChunks::new(Arc::clone(&cache)).elsewhere());
    let bytes = pattern(40, 300_000);
    let source = sealed(&cache, Sha256, &bytes).await;
    let file = FileId::new();
    let puts = (0..16).map(|number| {
        let cache = if number % 2 == 0 { &cache } else { &remote };
        let source = Source {
            cache: Arc::clone(cache),
            ..source.clone()
        };
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.put(file, &source).await })
    });
    for put in join_all(puts).await {
        put.expect("no task fails").expect("it can be stored");
    }
    assert_eq!(content(&*store, file).await, bytes);
    assert_eq!(listed(&*store).await.len(), 1);
}

async fn damaged(fixture: &impl BlobFixture) {
    let (store, cache) = (fixture.open().await, fixture.cache().await);
    check_damaged(&*store, &cache, fixture.links()).await;
}

async fn check_damaged(store: &dyn BlobStore, cache: &Arc<dyn ChunkCache>, links: bool) {
    for algorithm in [Sha256, Blake3] {
        let good = sealed(cache, algorithm, b"as announced").await;
        let of_another_digest = Source {
            digest: Digest::new(algorithm, [7; 32]),
            ..good.clone()
        };
        let of_another_size = [
            Source {
                size: 11,
                digest: digest(algorithm, b"as announce"),
                ..good.clone()
            },
            Source {
                size: 13,
                ..good.clone()
            },
        ];
        let others = (!links).then_some(of_another_digest);
        for other in others.iter().chain(&of_another_size) {
            let file = FileId::new();
            let refused = store.put(file, other).await;
            assert!(matches!(refused, Err(BlobError::Damaged(_))), "{refused:?}");
            assert!(matches!(
                store.size(file).await,
                Err(BlobError::NotFound(_))
            ));
        }
        let file = FileId::new();
        store
            .put(file, &good)
            .await
            .expect("the content is as announced");
    }
    let mut lost = sealed(cache, Sha256, b"lost").await;
    lost.upload = UploadId::new();
    assert!(matches!(
        store.put(FileId::new(), &lost).await,
        Err(BlobError::Damaged(_))
    ));
}

async fn outlives(fixture: &impl BlobFixture) {
    let (store, cache) = (fixture.open().await, fixture.cache().await);
    let bytes = pattern(41, 50_000);
    let source = sealed(&cache, Sha256, &bytes).await;
    let file = FileId::new();
    store.put(file, &source).await.expect("it can be stored");
    cache
        .remove(source.upload)
        .await
        .expect("it can be removed");
    assert_eq!(content(&*store, file).await, bytes);
    drop(store);
    assert_eq!(content(&*fixture.open().await, file).await, bytes);
}

async fn ranges(fixture: &impl BlobFixture) {
    let (store, cache) = (fixture.open().await, fixture.cache().await);
    let bytes = pattern(42, 3_200_000);
    let file = FileId::new();
    store
        .put(file, &sealed(&cache, Sha256, &bytes).await)
        .await
        .expect("it can be stored");
    for range in [
        0..3_200_000,
        0..1,
        0..0,
        3_199_999..3_200_000,
        3_200_000..3_200_000,
        262_143..262_145,
        1_048_575..1_048_577,
        1_048_576..2_097_152,
        1000..3_000_000,
    ] {
        let read = store
            .read(file, range.start as u64..range.end as u64)
            .await
            .expect("it is there");
        assert!(collect(read).await == bytes[range.clone()], "{range:?}");
    }
    for end in [3_200_001, u64::MAX] {
        assert!(matches!(
            store.read(file, 0..end).await,
            Err(BlobError::Failed(_))
        ));
    }
}

async fn unknown(fixture: &impl BlobFixture) {
    let store = fixture.open().await;
    let file = FileId::new();
    assert!(matches!(store.size(file).await, Err(BlobError::NotFound(id)) if id == file));
    assert!(matches!(
        store.read(file, 0..0).await,
        Err(BlobError::NotFound(_))
    ));
    store
        .remove(file)
        .await
        .expect("removing what is not there is no error");
    assert!(listed(&*store).await.is_empty());
}

async fn removed(fixture: &impl BlobFixture) {
    let (store, cache) = (fixture.open().await, fixture.cache().await);
    let bytes = pattern(43, 6_000_000);
    let source = sealed(&cache, Sha256, &bytes).await;
    let file = FileId::new();
    store.put(file, &source).await.expect("it can be stored");
    cache
        .remove(source.upload)
        .await
        .expect("it can be removed");
    let mut reader = store.read(file, 0..6_000_000).await.expect("it is there");
    let first = reader
        .next()
        .await
        .expect("there is content")
        .expect("it can be read");
    store.remove(file).await.expect("it can be removed");
    store
        .remove(file)
        .await
        .expect("removing again is no error");
    if let Ok(rest) = reader.try_collect::<Vec<_>>().await {
        assert!(
            [&first[..], &rest.concat()].concat() == bytes,
            "it ends early without an error"
        );
    }
    assert!(matches!(
        store.size(file).await,
        Err(BlobError::NotFound(_))
    ));
    assert!(listed(&*store).await.is_empty());
}

async fn list(fixture: &impl BlobFixture) {
    let (store, cache) = (fixture.open().await, fixture.cache().await);
    let mut all = BTreeMap::new();
    for len in 1..40 {
        let file = FileId::new();
        store
            .put(file, &sealed(&cache, Sha256, &pattern(44, len)).await)
            .await
            .expect("it can be stored");
        all.insert(file, len as u64);
    }
    assert_eq!(listed(&*store).await, all);
    drop(store);
    assert_eq!(listed(&*fixture.open().await).await, all);
}

async fn leftovers(fixture: &impl BlobFixture) {
    let (store, cache) = (fixture.open().await, fixture.cache().await);
    let cache: Arc<dyn ChunkCache> = Arc::new(FaultyChunks::new(cache).elsewhere());
    let bytes = pattern(45, 3_000_000);
    let good = sealed(&cache, Sha256, &bytes).await;
    let bad = Source {
        digest: Digest::new(Sha256, [7; 32]),
        ..good.clone()
    };
    let (given_up, put_again) = (FileId::new(), FileId::new());
    for file in [given_up, put_again] {
        assert!(matches!(
            store.put(file, &bad).await,
            Err(BlobError::Damaged(_))
        ));
    }
    assert!(
        listed(&*store).await.is_empty(),
        "nothing of it counts as a blob"
    );
    store
        .put(put_again, &good)
        .await
        .expect("now it is as announced");
    store.remove(given_up).await.expect("it can be removed");
    let all = everything(&*store).await;
    let all: Vec<_> = all.iter().map(|blob| (blob.file, blob.whole)).collect();
    assert_eq!(all, [(put_again, true)]);
    assert!(content(&*store, put_again).await == bytes);
}

async fn missing(fixture: &impl BlobFixture) {
    let (store, cache) = (fixture.open().await, fixture.cache().await);
    let (there, removed, never) = (FileId::new(), FileId::new(), FileId::new());
    for file in [there, removed] {
        let source = sealed(&cache, Sha256, b"content").await;
        store.put(file, &source).await.expect("it can be stored");
    }
    store.remove(removed).await.expect("it can be removed");
    let missing = store
        .missing(&[removed, there, never])
        .await
        .expect("it answers");
    assert_eq!(missing, [removed, never]);
    assert_eq!(store.missing(&[]).await.expect("it answers"), []);
}

/// The whole blobs.
async fn listed(store: &dyn BlobStore) -> BTreeMap<FileId, u64> {
    let blobs = everything(store).await;
    let whole = blobs.iter().filter(|blob| blob.whole);
    whole.map(|blob| (blob.file, blob.size)).collect()
}

async fn everything(store: &dyn BlobStore) -> Vec<StoredBlob> {
    let now = SystemTime::now();
    let blobs: Vec<_> = store
        .list()
        .await
        .expect("it answers")
        .try_collect()
        .await
        .expect("it can be listed");
    let mut seen = BTreeSet::new();
    for blob in &blobs {
        let age = now
            .duration_since(blob.stored)
            .unwrap_or_else(|late| late.duration());
        assert!(age.as_secs() < 120, "stored {:?}", blob.stored);
        assert!(seen.insert(blob.file), "a blob is listed once");
    }
    blobs
}

async fn ping(fixture: &impl BlobFixture) {
    let store = fixture.open().await;
    store.ping().await.expect("it answers");
    assert!(
        listed(&*store).await.is_empty(),
        "asking leaves nothing behind"
    );
}
