//! How long what is kept: uploads that are abandoned, sealed, removed.

use crate::{append, server::Server, start_with, until};
use futures::StreamExt;
use std::time::Duration;
use storage::{
    chunks::{ChunkError, ChunkOptions},
    conformance::{collect, pattern},
};

/// Milliseconds after which each key of an upload expires; less than zero if it does not.
async fn expiries(server: &Server) -> Vec<(String, i64)> {
    let mut expiries = Vec::new();
    for key in server.upload_keys().await {
        let ms = server.ask(&format!("PTTL {key}")).await;
        expiries.push((key, ms));
    }
    expiries
}

#[tokio::test]
async fn open_uploads_expire_and_sealed_ones_do_not() {
    let server = Server::start(&[]).await;
    let cache = server.cache().await;
    let bytes = pattern(1, 2_500_000);
    let (upload, mut hold) = start_with(&*cache, bytes.len(), &bytes[..1_500_000]).await;
    let week = 7 * 24 * 3_600_000;
    for (key, ms) in expiries(&server).await {
        assert!((week - 60_000..=week + 60_000).contains(&ms), "{key}: {ms}");
    }
    hold.held = append(&*cache, upload, hold, &bytes[1_500_000..])
        .await
        .expect("it fits");
    cache
        .seal(upload, hold.generation)
        .await
        .expect("all is held");
    let sealed = expiries(&server).await;
    assert_eq!(sealed.len(), 11, "a record and ten blocks: {sealed:?}");
    for (key, ms) in sealed {
        assert_eq!(ms, -1, "{key}");
    }
    cache.remove(upload).await.expect("it can be removed");
    assert!(server.upload_keys().await.is_empty());
}

#[tokio::test]
async fn writing_and_resuming_put_expiry_off() {
    let server = Server::start(&[]).await;
    let cache = server.cache().await;
    let (upload, mut hold) = start_with(&*cache, 2_000_000, &[1; 1_100_000]).await;
    for by_writing in [true, false] {
        for key in server.upload_keys().await {
            server.ask::<()>(&format!("PEXPIRE {key} 100000000")).await;
        }
        if by_writing {
            hold.held = append(&*cache, upload, hold, b"x").await.expect("it fits");
        } else {
            cache.resume(upload).await.expect("it is there");
        }
        for (key, ms) in expiries(&server).await {
            assert!(ms > 600_000_000, "{key}: {ms}");
        }
    }
}

#[tokio::test]
async fn what_is_abandoned_expires_and_its_promise_is_found_by_the_sweeper() {
    let server = Server::start(&[]).await;
    let options = ChunkOptions {
        abandoned_after: Duration::from_millis(300),
        ..ChunkOptions::default()
    };
    let cache = server.cache_with(&options).await;
    let (upload, hold) = start_with(&*cache, 100, b"some").await;
    until("it expires", async || cache.stat(upload).await.is_err()).await;
    let late = append(&*cache, upload, hold, b"more").await;
    assert!(matches!(late, Err(ChunkError::NotFound(_))), "{late:?}");
    let listed = cache.list().await.expect("it can be listed");
    assert_eq!((listed.len(), listed[0].held), (1, 0));
    cache.remove(upload).await.expect("it can be removed");
    assert!(cache.list().await.expect("it can be listed").is_empty());
}

#[tokio::test]
async fn what_is_removed_waits_for_its_readers_and_for_nobody_else() {
    let server = Server::start(&[]).await;
    let cache = server.cache().await;
    let bytes = pattern(2, 5_000_000);
    let (upload, _) = start_with(&*cache, bytes.len(), &bytes).await;
    let whole = cache.read(upload, 0..5_000_000).await.expect("it is held");
    assert!(collect(whole).await == bytes);
    let mut reader = cache.read(upload, 0..5_000_000).await.expect("it is held");
    let first = reader
        .next()
        .await
        .expect("there is content")
        .expect("it can be read");
    cache.remove(upload).await.expect("it can be removed");
    for (key, ms) in expiries(&server).await {
        assert!((1..=60_000).contains(&ms), "{key}: {ms}");
    }
    // Made anew, it is another one.
    start_with(&*cache, 10, b"other").await;
    let again = cache.open(upload, 5_000_000).await.expect("there is room");
    append(&*cache, upload, again, &[0; 2_000_000])
        .await
        .expect("it fits");
    assert!([&first[..], &collect(reader).await].concat() == bytes);

    // A reader that has come to its end keeps nothing.
    let all = collect(cache.read(upload, 0..2_000_000).await.expect("it is held")).await;
    assert_eq!(all.len(), 2_000_000);
    cache.remove(upload).await.expect("it can be removed");
    let left = expiries(&server).await;
    assert!(
        left.iter()
            .all(|(key, ms)| !key.contains(&upload.to_string()) || *ms <= 60_000),
        "{left:?}"
    );
}
