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

pub(super) async fn full(fixture: &impl ChunkFixture) {
    let cache = fixture.open(&of_1000()).await;
    let (first, hold) = start(&*cache, 600).await;
    append(&*cache, first, hold, &pattern(30, 250))
        .await
        .expect("it is reserved");

    for size in [401, 100_000, u64::MAX] {
        let refused = UploadId::new();
        assert!(
            matches!(cache.open(refused, size).await, Err(ChunkError::Full(_))),
            "of {size}"
        );
        assert!(matches!(
            cache.stat(refused).await,
            Err(ChunkError::NotFound(_))
        ));
        assert!(matches!(
            cache.resume(refused).await,
            Err(ChunkError::NotFound(_))
        ));
    }
    assert_eq!(used(&*cache).await, (250, 350));
    assert_eq!(cache.list().await.expect("it can be listed").len(), 1);
    assert_eq!(content(&*cache, first).await, pattern(30, 250));

    let (second, _) = start(&*cache, 400).await;
    assert!(matches!(
        cache.open(UploadId::new(), 1).await,
        Err(ChunkError::Full(_))
    ));
    assert_eq!(
        cache
            .open(first, 600)
            .await
            .expect("what is there needs no more room")
            .held,
        250
    );
    cache.remove(second).await.expect("it can be removed");
    start(&*cache, 400).await;
}

pub(super) async fn usage(fixture: &impl ChunkFixture) {
    let cache = fixture.open(&of_1000()).await;
    assert_eq!(used(&*cache).await, (0, 0));
    let (first, hold) = start(&*cache, 500).await;
    assert_eq!(used(&*cache).await, (0, 500));
    append(&*cache, first, hold, &pattern(31, 200))
        .await
        .expect("it is reserved");
    assert_eq!(used(&*cache).await, (200, 300));
    assert!(
        append(&*cache, first, hold, b"at a wrong place")
            .await
            .is_err()
    );
    cache.open(first, 500).await.expect("it is there");
    assert_eq!(used(&*cache).await, (200, 300));
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
