//! Redis at the bound of its memory.

use crate::{append, content, server::Server, start_with, until};
use protocol::UploadId;
use storage::{
    chunks::{ChunkError, ChunkOptions, SealedContent},
    conformance::pattern,
};

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn a_full_redis_refuses_bytes_and_does_everything_else() {
    let server = Server::start(&["--maxmemory 64mb"]).await;
    let cache = server.cache().await;
    let bytes = pattern(1, 3_000_000);
    let (open, mut hold) = start_with(&*cache, bytes.len(), &bytes[..1_000_000]).await;
    let (whole, whole_hold) = start_with(&*cache, bytes.len(), &bytes).await;
    // Somebody else's.
    server.ask::<()>("SETRANGE other 70000000 x").await;

    let refused = append(&*cache, open, hold, &bytes[1_000_000..]).await;
    assert!(matches!(refused, Err(ChunkError::Busy(_))), "{refused:?}");
    let refused = cache.open(UploadId::new(), 10).await;
    assert!(matches!(refused, Err(ChunkError::Busy(_))), "{refused:?}");
    assert_eq!(cache.list().await.expect("it can be listed").len(), 2);
    assert_eq!(cache.usage().await.expect("it is known").available, 0);
    hold = cache.resume(open).await.expect("it is there");
    assert_eq!(hold.held, 1_000_000, "what was refused changed nothing");
    assert!(content(&*cache, whole).await == bytes);
    cache
        .seal(whole, whole_hold.generation)
        .await
        .expect("sealing needs no room");
    assert!(matches!(
        cache.sealed(whole).await,
        Ok(SealedContent::Remote)
    ));
    cache.remove(whole).await.expect("it can be removed");

    server.ask::<()>("DEL other").await;
    append(&*cache, open, hold, &bytes[1_000_000..])
        .await
        .expect("there is room again");
    assert!(content(&*cache, open).await == bytes);
}

#[tokio::test]
async fn no_more_is_promised_than_redis_may_take() {
    let server = Server::start(&["--maxmemory 80mb"]).await;
    let cache = server.cache().await;
    let before = cache.usage().await.expect("it is known");
    assert!(
        (60 * MIB..=70 * MIB).contains(&before.available),
        "{before:?}"
    );
    let refused = cache.open(UploadId::new(), 71 * MIB).await;
    assert!(
        matches!(refused, Err(ChunkError::TooLarge(_))),
        "{refused:?}"
    );
    let first = UploadId::new();
    cache.open(first, 60 * MIB).await.expect("there is room");
    let refused = cache.open(UploadId::new(), 11 * MIB).await;
    assert!(matches!(refused, Err(ChunkError::Busy(_))), "{refused:?}");
    let usage = cache.usage().await.expect("it is known");
    assert_eq!((usage.held, usage.reserved), (0, 60 * MIB));
    assert!(usage.available <= 10 * MIB, "{usage:?}");
    cache.remove(first).await.expect("it can be removed");

    // The tighter bound of the two counts.
    let options = ChunkOptions {
        max_bytes: Some(5 * MIB),
        ..ChunkOptions::default()
    };
    let bounded = server.cache_with(&options).await;
    assert_eq!(
        bounded.usage().await.expect("it is known").available,
        5 * MIB
    );
    let refused = bounded.open(UploadId::new(), 6 * MIB).await;
    assert!(
        matches!(refused, Err(ChunkError::TooLarge(_))),
        "{refused:?}"
    );
    // A bound that was raised holds at once.
    server.ask::<()>("CONFIG SET maxmemory 160mb").await;
    cache.open(first, 100 * MIB).await.expect("there is room");
}

/// The allocator rounds blocks of this size up by a quarter, and each is made whole with its first byte.
#[tokio::test]
async fn all_that_was_promised_room_can_be_finished_however_many_have_begun() {
    const SIZE: usize = (256 << 10) + 64;
    let server = Server::start(&["--maxmemory 128mb"]).await;
    let cache = server.cache().await;
    let bytes = pattern(3, SIZE);
    let mut begun = Vec::new();
    loop {
        let upload = UploadId::new();
        match cache.open(upload, SIZE as u64).await {
            Ok(hold) => begun.push((upload, hold)),
            Err(ChunkError::Busy(_)) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(begun.len() > 100, "{}", begun.len());
    for (upload, hold) in &mut begun {
        hold.held = append(&*cache, *upload, *hold, &bytes[..1])
            .await
            .expect("it is promised");
    }
    for (upload, hold) in begun {
        append(&*cache, upload, hold, &bytes[1..])
            .await
            .expect("it is promised");
        cache
            .seal(upload, hold.generation)
            .await
            .expect("it is whole");
    }
}

/// More than three quarters of the memory are never promised, so there is room for that.
#[tokio::test]
async fn a_block_takes_a_quarter_more_than_its_bytes_at_most() {
    let server = Server::start(&[]).await;
    let cache = server.cache().await;
    let before: u64 = memory(&server).await;
    let bytes = pattern(2, 32 << 20);
    let upload = UploadId::new();
    let mut hold = cache
        .open(upload, bytes.len() as u64)
        .await
        .expect("there is room");
    for piece in bytes.chunks(256 << 10) {
        hold.held = append(&*cache, upload, hold, piece).await.expect("it fits");
    }
    // What the last call was read into, and written to the log from, is given back a moment later.
    until("a block takes less than 126 % of its bytes", async || {
        let taken = memory(&server).await - before;
        taken * 100 / (bytes.len() as u64) < 126
    })
    .await;
}

/// Bytes in use for data.
async fn memory(server: &Server) -> u64 {
    let stats: Vec<redis::Value> = server.ask("MEMORY STATS").await;
    let at = stats.iter().position(
        |value| matches!(value, redis::Value::BulkString(name) if name == b"dataset.bytes"),
    );
    let value = stats[at.expect("it is told") + 1].clone();
    redis::from_redis_value(value).expect("it is a number")
}
