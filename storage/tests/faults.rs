//! The fault decorators do what a script says, and nothing else.

use futures::FutureExt;
use protocol::UploadId;
use std::sync::Arc;
use storage::{
    chunks::{ChunkCache, ChunkError, ChunkOptions, SealedContent},
    conformance::{news, work},
    events::{EventError, Events},
    faults::{ChunkCall, EventCall, FaultyChunks, FaultyEvents},
    open_chunks, open_events,
};
use tempfile::TempDir;

async fn faulty(folder: &TempDir) -> FaultyChunks {
    let options = ChunkOptions {
        min_free_bytes: 0,
        ..ChunkOptions::default()
    };
    FaultyChunks::new(
        open_chunks(&format!("disk:{}", folder.path().display()), &options)
            .await
            .expect("it is free"),
    )
}

fn full() -> ChunkError {
    ChunkError::Full("by order of the test".to_owned())
}

#[tokio::test]
async fn calls_fail_as_often_as_ordered() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cache = faulty(&folder).await;
    let script = cache.script();
    let upload = UploadId::new();
    script.fail_next(ChunkCall::Open, 2, full);
    for _ in 0..2 {
        assert!(matches!(
            cache.open(upload, 0).await,
            Err(ChunkError::Full(_))
        ));
        assert!(
            matches!(cache.stat(upload).await, Err(ChunkError::NotFound(_))),
            "it never reached the cache"
        );
    }
    cache.open(upload, 0).await.expect("two were to fail");
    script.fail_after(ChunkCall::Stat, 1, 1, full);
    cache.stat(upload).await.expect("one was to pass");
    assert!(cache.stat(upload).await.is_err());
    cache.stat(upload).await.expect("one was to fail");
    assert_eq!(
        (script.calls(ChunkCall::Open), script.calls(ChunkCall::Stat)),
        (3, 5)
    );

    script.fail_always(ChunkCall::Stat, full);
    assert!(cache.stat(upload).await.is_err() && cache.stat(upload).await.is_err());
    script.unavailable();
    assert!(matches!(
        cache.resume(upload).await,
        Err(ChunkError::Unavailable(_))
    ));
    script.heal();
    cache.stat(upload).await.expect("all faults are over");
}

#[tokio::test]
async fn calls_wait_at_a_gate() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cache = Arc::new(faulty(&folder).await);
    let gate = cache.script().gate(ChunkCall::Usage);
    let waiting = tokio::spawn({
        let cache = Arc::clone(&cache);
        async move { cache.usage().await }
    });
    gate.reached(1).await;
    assert!(gate.reached(2).now_or_never().is_none());
    assert!(!waiting.is_finished());
    cache.list().await.expect("other calls do not wait");
    gate.open();
    waiting.await.expect("it ends").expect("it passed");
    cache.usage().await.expect("an open gate stays open");
}

#[tokio::test]
async fn a_cache_can_be_elsewhere() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cache = faulty(&folder).await.elsewhere();
    let upload = UploadId::new();
    let hold = cache.open(upload, 0).await.expect("there is room");
    assert!(matches!(
        cache.sealed(upload).await,
        Err(ChunkError::NotFound(_))
    ));
    cache
        .seal(upload, hold.generation)
        .await
        .expect("all is held");
    assert!(matches!(
        cache.sealed(upload).await,
        Ok(SealedContent::Remote)
    ));
}

#[tokio::test]
async fn events_are_lost_doubled_and_cut_off() {
    let events = FaultyEvents::new(open_events("local:").await.expect("it needs nothing"));
    let mut consumer = events.consume(10).await.expect("it answers");
    let mut listener = events.listen().await.expect("it answers");
    events.lose_next_work(1);
    events.lose_next_news(2);
    let expected = work(1);
    let queued = vec![work(1), expected.clone()];
    events.queue(queued).await.expect("it says so");
    let told = (1..=3).map(news).collect();
    events.tell(told).await.expect("it says so");
    let delivery = consumer.next().await.expect("one is left");
    assert_eq!(delivery.event(), &expected);
    let heard = listener.next().await.expect("one is left");
    assert_eq!(heard.notification.offset, 3);

    events.double(true);
    events.tell(vec![news(4)]).await.expect("it says so");
    for _ in 0..2 {
        let heard = listener.next().await.expect("it comes twice");
        assert_eq!(heard.notification.offset, 4);
    }
    events.cut_listeners();
    assert!(matches!(
        listener.next().await,
        Err(EventError::Unavailable(_))
    ));
    let mut again = events.listen().await.expect("it answers");
    assert!(again.next().now_or_never().is_none());
    events.script().unavailable();
    assert!(matches!(
        events.listen().await,
        Err(EventError::Unavailable(_))
    ));
    assert_eq!(events.script().calls(EventCall::Listen), 3);
}
