//! Opening the cache: what is refused for good, and what only takes time.

use crate::{append, server::Server, start_with, until};
use storage::{
    OpenError,
    chunks::{ChunkError, ChunkOptions},
    open_chunks,
};

async fn refusal(url: &str) -> String {
    match open_chunks(url, &ChunkOptions::default()).await {
        Err(error @ OpenError::Refused { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[tokio::test]
async fn what_no_time_mends_is_refused() {
    let server = Server::start(&["--databases 4"]).await;
    let port = server.port;
    for (url, reason) in [
        ("redis://127.0.0.1:port/".to_owned(), "URL"),
        (format!("redis://127.0.0.1:{port}/?preefix=x"), "preefix"),
        (format!("redis://127.0.0.1:{port}/9"), "database 9"),
        (format!("redis://:secret@127.0.0.1:{port}/"), "AUTH"),
    ] {
        let refusal = refusal(&url).await;
        assert!(
            refusal.contains(reason) && !refusal.contains("secret"),
            "{refusal}"
        );
    }

    let server = Server::start(&["--maxmemory 100mb", "--maxmemory-policy volatile-lru"]).await;
    let refusal_1 = refusal(&server.url()).await;
    assert!(
        refusal_1.contains("volatile-lru") && refusal_1.contains("noeviction"),
        "{refusal_1}"
    );
    // Without a limit it would never come to that.
    server.ask::<()>("CONFIG SET maxmemory 0").await;
    let cache = server.cache().await;
    let (upload, _) = start_with(&*cache, 10, b"some").await;
    server.ask::<()>("CONFIG SET maxmemory 100mb").await;
    let refused = cache.open(protocol::UploadId::new(), 10).await;
    assert!(
        matches!(&refused, Err(ChunkError::Unavailable(reason)) if reason.contains("noeviction")),
        "{refused:?}"
    );
    cache.stat(upload).await.expect("what is there can be read");
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let mut server = Server::stopped(&["--requirepass right"]);
    let port = server.port;
    let url = |login: &str| format!("redis://{login}127.0.0.1:{port}/");
    server.spawn();
    let started = open_chunks(&url(":right@"), &ChunkOptions::default())
        .await
        .expect("it is right");
    until("it is reached", async || started.list().await.is_ok()).await;
    let refused = refusal(&url(":wrong@")).await;
    assert!(
        refused.contains("WRONGPASS") && !refused.contains(":wrong@"),
        "{refused}"
    );
    let refused = refusal(&url("")).await;
    assert!(refused.contains("NOAUTH"), "{refused}");
    start_with(&*started, 4, b"some").await;
}

#[tokio::test]
async fn redis_may_come_later() {
    let mut server = Server::stopped(&[]);
    let cache = server.cache().await;
    let away = cache.list().await;
    assert!(matches!(away, Err(ChunkError::Unavailable(_))), "{away:?}");
    server.run().await;
    until("it is reached", async || cache.list().await.is_ok()).await;
    let (upload, hold) = start_with(&*cache, 8, b"some").await;
    append(&*cache, upload, hold, b"more")
        .await
        .expect("it fits");
}

#[tokio::test]
async fn databases_and_prefixes_are_apart() {
    let server = Server::start(&[]).await;
    let open = async |path: &str| {
        let url = format!("redis://127.0.0.1:{}/{path}", server.port);
        open_chunks(&url, &ChunkOptions::default())
            .await
            .expect("Redis is fine")
    };
    let caches = [
        open("0").await,
        open("1").await,
        open("0?prefix=other").await,
    ];
    let (upload, _) = start_with(&*caches[0], 4, b"some").await;
    for other in &caches[1..] {
        assert!(other.list().await.expect("it can be listed").is_empty());
        assert!(matches!(
            other.stat(upload).await,
            Err(ChunkError::NotFound(_))
        ));
    }
}
