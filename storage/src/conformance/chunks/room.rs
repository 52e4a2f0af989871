//! Reserving room and counting it.

use super::{ChunkFixture, append, content, start, unlimited};
use crate::{
    chunks::{ChunkCache, ChunkError, ChunkOptions, Usage},
    conformance::pattern,
};
use protocol::UploadId;

fn of_1000() -> ChunkOptions {
    ChunkOptions {
        max_bytes: Some(1000),
        ..unlimited()
    }
}

async fn used(cache: &dyn ChunkCache) -> (u64, u64) {
    let Usage {
        held,
        reserved,
        available,
    } = cache.usage().await.expect("it is known");
    assert_eq!(available, 1000 - held - reserved);
    (held, reserved)
}

async fn is_refused(cache: &dyn ChunkCache, size: u64) {
    let upload = UploadId::new();
    match cache.open(upload, size).await {
        Err(ChunkError::Busy(_)) if size <= 1000 => {}
        Err(ChunkError::TooLarge(_)) if size > 1000 => {}
        other => panic!("of {size}: {other:?}"),
    }
    assert!(matches!(
        cache.stat(upload).await,
        Err(ChunkError::NotFound(_))
    ));
    assert!(matches!(
        cache.resume(upload).await,
        Err(ChunkError::NotFound(_))
    ));
}

pub(super) async fn full(fixture: &impl ChunkFixture) {
    let cache = fixture.open(&of_1000()).await;
    let (first, hold) = start(&*cache, 600).await;
    append(&*cache, first, hold, &pattern(30, 250))
        .await
        .expect("it is reserved");
    for size in [401, 100_000, u64::MAX] {
        is_refused(&*cache, size).await;
    }
    assert_eq!(used(&*cache).await, (250, 350));
    assert_eq!(cache.list().await.expect("it can be listed").len(), 1);
    assert_eq!(content(&*cache, first).await, pattern(30, 250));

    let (second, _) = start(&*cache, 400).await;
    is_refused(&*cache, 1).await;
    let again = cache
        .open(first, 600)
        .await
        .expect("what is there needs no more room");
    assert_eq!(again.held, 250);
    cache.remove(second).await.expect("it can be removed");
    start(&*cache, 400).await;
}

pub(super) async fn usage(fixture: &impl ChunkFixture) {
    let cache = fixture.open(&of_1000()).await;
    assert_eq!(used(&*cache).await, (0, 0));
    let first = use_room(&*cache).await;
    let (second, hold) = start(&*cache, 100).await;
    append(&*cache, second, hold, &pattern(32, 100))
        .await
        .expect("it is reserved");
    cache
        .seal(second, hold.generation)
        .await
        .expect("all is held");
    assert_eq!(used(&*cache).await, (300, 300));
    drop(cache);

    let cache = fixture.open(&of_1000()).await;
    assert_eq!(used(&*cache).await, (300, 300));
    let hold = cache.resume(first).await.expect("it is there");
    assert_eq!(used(&*cache).await, (300, 300));
    append(&*cache, first, hold, &pattern(33, 300))
        .await
        .expect("it is reserved");
    assert_eq!(used(&*cache).await, (600, 0));
    for upload in [first, second, second] {
        cache.remove(upload).await.expect("it can be removed");
    }
    assert_eq!(used(&*cache).await, (0, 0));
}

/// Holds 200 bytes of an upload of 500.
async fn use_room(cache: &dyn ChunkCache) -> UploadId {
    let (upload, hold) = start(cache, 500).await;
    assert_eq!(used(cache).await, (0, 500));
    append(cache, upload, hold, &pattern(31, 200))
        .await
        .expect("it is reserved");
    assert_eq!(used(cache).await, (200, 300));
    assert!(
        append(cache, upload, hold, b"at a wrong place")
            .await
            .is_err()
    );
    cache.open(upload, 500).await.expect("it is there");
    assert_eq!(used(cache).await, (200, 300));
    upload
}
