//! Closing an upload for writing.

use super::{ChunkFixture, append, content, expected, open, start, start_sealed, start_with};
use crate::{
    chunks::{ChunkCache, ChunkError, Hold, SealedContent},
    conformance::pattern,
};
use protocol::UploadId;

pub(super) async fn not_all_held(fixture: &impl ChunkFixture) {
    let cache = open(fixture).await;
    let (upload, hold) = start(&*cache, 10).await;
    assert_eq!(expected(cache.seal(upload, hold.generation).await), 0);
    append(&*cache, upload, hold, b"123456789")
        .await
        .expect("it fits");
    assert_eq!(expected(cache.seal(upload, hold.generation).await), 9);

    assert!(!cache.stat(upload).await.expect("it is there").sealed);
    assert!(matches!(
        cache.sealed(upload).await,
        Err(ChunkError::NotFound(_))
    ));
    append(&*cache, upload, Hold { held: 9, ..hold }, b"0")
        .await
        .expect("it is still open");
    cache
        .seal(upload, hold.generation)
        .await
        .expect("all is held");
    assert_eq!(content(&*cache, upload).await, b"1234567890");
}

pub(super) async fn sealed(fixture: &impl ChunkFixture) {
    let cache = open(fixture).await;
    let bytes = pattern(10, 5000);
    let (upload, hold) = start_with(&*cache, &bytes).await;
    cache
        .seal(upload, hold.generation)
        .await
        .expect("all is held");
    stays_sealed(&*cache, upload, &bytes).await;
}

pub(super) async fn reopened(fixture: &impl ChunkFixture) {
    let cache = open(fixture).await;
    let bytes = pattern(11, 5000);
    let upload = start_sealed(&*cache, &bytes).await;
    drop(cache);
    stays_sealed(&*open(fixture).await, upload, &bytes).await;
}

pub(super) async fn of_nothing(fixture: &impl ChunkFixture) {
    let cache = open(fixture).await;
    let (upload, hold) = start(&*cache, 0).await;
    assert_eq!(expected(append(&*cache, upload, hold, b"x").await), 0);
    cache
        .seal(upload, hold.generation)
        .await
        .expect("all of nothing is held");
    stays_sealed(&*cache, upload, b"").await;
}

async fn stays_sealed(cache: &dyn ChunkCache, upload: UploadId, bytes: &[u8]) {
    let size = bytes.len() as u64;
    for generation in [0, 1, u64::MAX] {
        cache
            .seal(upload, generation)
            .await
            .expect("sealing again is no error");
        let refused = append(
            cache,
            upload,
            Hold {
                generation,
                held: size,
            },
            b"x",
        )
        .await;
        assert!(matches!(refused, Err(ChunkError::Sealed(_))), "{refused:?}");
    }
    assert!(matches!(
        cache.resume(upload).await,
        Err(ChunkError::Sealed(_))
    ));
    assert!(matches!(
        cache.open(upload, size).await,
        Err(ChunkError::Sealed(_))
    ));
    let stat = cache.stat(upload).await.expect("it is there");
    assert!(stat.sealed);
    assert_eq!(stat.held, size);
    assert_eq!(content(cache, upload).await, bytes);
    if let SealedContent::File(path) = cache.sealed(upload).await.expect("it is sealed") {
        assert_eq!(std::fs::read(path).expect("it can be read"), bytes);
    }
}
