//! Reading, finding and removing.

use super::{ChunkFixture, append, content, expected, open, start, start_sealed, start_with};
use crate::{
    chunks::{ChunkCache, ChunkError},
    conformance::{collect, pattern},
};
use bytes::Bytes;
use futures::StreamExt;
use protocol::UploadId;
use std::{collections::BTreeMap, time::SystemTime};

pub(super) async fn ranges(fixture: &impl ChunkFixture) {
    let cache = open(fixture).await;
    let bytes = pattern(20, 700_000);
    let (upload, hold) = start(&*cache, 800_000).await;
    append(&*cache, upload, hold, &bytes)
        .await
        .expect("it fits");
    check_ranges(&*cache, upload, &bytes).await;
    check_ranges(&*cache, start_sealed(&*cache, &bytes).await, &bytes).await;
}

async fn check_ranges(cache: &dyn ChunkCache, upload: UploadId, bytes: &[u8]) {
    let held = bytes.len();
    for range in [
        0..held,
        0..1,
        0..0,
        1..3,
        held - 1..held,
        held..held,
        262_143..262_145,
        100_000..650_000,
    ] {
        let read = cache
            .read(upload, range.start as u64..range.end as u64)
            .await
            .expect("it is held");
        assert!(collect(read).await == bytes[range.clone()], "{range:?}");
    }
    for end in [held as u64 + 1, u64::MAX] {
        assert_eq!(expected(cache.read(upload, 5..end).await), held as u64);
    }
}

/// More than an adapter keeps in one piece.
pub(super) async fn large(fixture: &impl ChunkFixture) {
    const MIB: usize = 1 << 20;
    let cache = open(fixture).await;
    let bytes = pattern(22, 4 * MIB + 4321);
    let (upload, mut hold) = start(&*cache, bytes.len()).await;
    let mut rest = &bytes[..];
    for length in [1, MIB, 777_777, 2 * MIB, 5, MIB] {
        let (piece, after) = rest.split_at(length.min(rest.len()));
        hold.held = append(&*cache, upload, hold, piece).await.expect("it fits");
        rest = after;
    }
    assert!(rest.is_empty());
    cache
        .seal(upload, hold.generation)
        .await
        .expect("all is held");
    for mib in 1..=4 {
        for around in [mib * MIB - 100, mib * MIB, mib * MIB + 100] {
            let range = around - 50..bytes.len().min(around + MIB + 50);
            let read = cache.read(upload, range.start as u64..range.end as u64);
            let read = collect(read.await.expect("it is held")).await;
            assert!(read == bytes[range.clone()], "{range:?}");
        }
    }
    assert!(content(&*cache, upload).await == bytes);
}

pub(super) async fn removed(fixture: &impl ChunkFixture) {
    let cache = open(fixture).await;
    let bytes = pattern(21, 900_000);
    let (being_written, hold) = start_with(&*cache, &bytes).await;
    let sealed = start_sealed(&*cache, &bytes).await;
    for upload in [being_written, sealed] {
        let mut reader = cache.read(upload, 0..900_000).await.expect("it is held");
        let first = reader
            .next()
            .await
            .expect("there is content")
            .expect("it can be read");
        cache.remove(upload).await.expect("it can be removed");
        assert_eq!([&first[..], &collect(reader).await].concat(), bytes);
        assert!(matches!(
            cache.stat(upload).await,
            Err(ChunkError::NotFound(_))
        ));
        cache
            .remove(upload)
            .await
            .expect("removing again is no error");
    }
    let late = cache
        .append(
            being_written,
            hold.generation,
            900_000,
            vec![Bytes::from_static(b"x").into()],
        )
        .await;
    assert!(matches!(late, Err(ChunkError::NotFound(_))), "{late:?}");
    drop(cache);
    let cache = open(fixture).await;
    assert!(cache.list().await.expect("it can be listed").is_empty());
    let again = cache
        .open(sealed, 3)
        .await
        .expect("what is removed can be made again");
    assert_eq!(again.held, 0);
    append(&*cache, sealed, again, b"new")
        .await
        .expect("it fits");
    assert_eq!(content(&*cache, sealed).await, b"new");
}

pub(super) async fn unknown(fixture: &impl ChunkFixture) {
    let cache = open(fixture).await;
    let upload = UploadId::new();
    assert!(matches!(cache.resume(upload).await, Err(ChunkError::NotFound(id)) if id == upload));
    assert!(matches!(
        cache.append(upload, 1, 0, Vec::new()).await,
        Err(ChunkError::NotFound(_))
    ));
    assert!(matches!(
        cache.seal(upload, 1).await,
        Err(ChunkError::NotFound(_))
    ));
    assert!(matches!(
        cache.sealed(upload).await,
        Err(ChunkError::NotFound(_))
    ));
    assert!(matches!(
        cache.stat(upload).await,
        Err(ChunkError::NotFound(_))
    ));
    assert!(matches!(
        cache.read(upload, 0..0).await,
        Err(ChunkError::NotFound(_))
    ));
    cache
        .remove(upload)
        .await
        .expect("removing what is not there is no error");
    assert!(cache.list().await.expect("it can be listed").is_empty());
}

pub(super) async fn list(fixture: &impl ChunkFixture) {
    let before = SystemTime::now();
    let cache = open(fixture).await;
    let (empty, _) = start(&*cache, 10).await;
    let (open_one, _) = start_with(&*cache, b"held").await;
    let sealed = start_sealed(&*cache, b"sealed").await;
    let mut all = BTreeMap::from([
        (empty, (0, false)),
        (open_one, (4, false)),
        (sealed, (6, true)),
    ]);
    assert_eq!(listed(&*cache, before).await, all);
    drop(cache);

    let cache = open(fixture).await;
    let mut left = listed(&*cache, before).await;
    // What nothing is held of may be forgotten.
    left.remove(&empty);
    all.remove(&empty);
    assert_eq!(left, all);
    cache.remove(open_one).await.expect("it can be removed");
    assert!(!listed(&*cache, before).await.contains_key(&open_one));
}

async fn listed(cache: &dyn ChunkCache, since: SystemTime) -> BTreeMap<UploadId, (u64, bool)> {
    let uploads = cache.list().await.expect("it can be listed");
    let count = uploads.len();
    let mut by_id = BTreeMap::new();
    for upload in uploads {
        // A store may keep times in whole seconds, and may have a clock of its own.
        let age = upload
            .touched
            .duration_since(since)
            .unwrap_or_else(|early| early.duration());
        assert!(age.as_secs() < 120, "touched {:?}", upload.touched);
        by_id.insert(upload.upload, (upload.held, upload.sealed));
    }
    assert_eq!(by_id.len(), count, "an upload is listed once");
    by_id
}
