//! A Redis with a replica.

use crate::{server::Server, start_with, until};
use std::time::{Duration, Instant};
use storage::{chunks::ChunkError, conformance::pattern};

#[tokio::test]
async fn a_seal_is_confirmed_by_a_replica_where_there_is_one() {
    let server = Server::start(&[]).await;
    let option = format!("--replicaof 127.0.0.1 {}", server.port);
    let replica = Server::start(&[&option]).await;
    until("the replica follows", async || {
        let info: String = server.ask("INFO replication").await;
        info.contains("state=online")
    })
    .await;
    let cache = server.cache().await;
    let bytes = pattern(1, 3_000_000);
    let (first, hold) = start_with(&*cache, bytes.len(), &bytes).await;
    cache
        .seal(first, hold.generation)
        .await
        .expect("the replica confirms");
    let there = format!("HEXISTS sluice:{{{first}}} sealed");
    assert_eq!(replica.ask::<u64>(&there).await, 1, "at once");

    replica.freeze();
    let (second, hold) = start_with(&*cache, bytes.len(), &bytes).await;
    for _ in 0..2 {
        let begun = Instant::now();
        let refused = cache.seal(second, hold.generation).await;
        assert!(
            matches!(refused, Err(ChunkError::Unavailable(_))),
            "{refused:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(4));
    }
    replica.thaw();
    until("the replica confirms", async || {
        cache.seal(second, hold.generation).await.is_ok()
    })
    .await;
    // Its own word: a replica takes no writes.
    assert!(matches!(
        replica_cache(&replica).await,
        Err(ChunkError::Unavailable(_))
    ));
}

async fn replica_cache(replica: &Server) -> Result<(), ChunkError> {
    replica.cache().await.list().await.map(drop)
}
