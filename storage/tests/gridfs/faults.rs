//! MongoDB is killed, frozen, away or wrong.

use crate::{
    engine::Engine,
    support::{Cache, Database, content, listed, until},
};

use futures::{StreamExt, TryStreamExt};
use mongodb::bson::doc;
use protocol::FileId;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use storage::{
    blobs::{BlobError, BlobStore},
    conformance::pattern,
    open_blobs,
};

/// A put of this takes long enough to be hit in the middle.
const LEN: usize = 64 << 20;

/// No call may take longer, however MongoDB fares: that of a large call, and what the driver needs to notice.
const PATIENCE: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_put() {
    let mut engine = Engine::start().await;
    let (database, cache) = (Database::of(&engine.url()), Cache::new());
    let store = open_blobs(&database.url).await.expect("the URL is good");
    let bytes = pattern(1, LEN);
    let (file, source) = (FileId::new(), cache.sealed(&bytes).await);
    let putting = tokio::spawn({
        let (store, source) = (store.clone(), source.clone());
        async move { store.put(file, &source).await }
    });
    let chunks = database.collection("fs.chunks").await;
    until("the first chunks", async || {
        chunks
            .estimated_document_count()
            .await
            .is_ok_and(|count| count > 0)
    })
    .await;
    engine.kill();
    let put = putting.await.expect("it ends");
    assert!(matches!(put, Err(BlobError::Unreachable(_))), "{put:?}");
    assert!(matches!(store.ping().await, Err(BlobError::Unreachable(_))));

    engine.run();
    engine.ready().await;
    until("it is reachable again", async || store.ping().await.is_ok()).await;
    assert!(matches!(
        store.size(file).await,
        Err(BlobError::NotFound(_))
    ));
    let left = listed(&*store).await;
    assert!(
        left.len() <= 1 && left.iter().all(|blob| !blob.whole),
        "{left:?}"
    );

    store.put(file, &source).await.expect("it can be stored");
    assert!(content(&*store, file).await == bytes);
    let all = listed(&*store).await;
    assert_eq!(
        all.iter()
            .map(|blob| (blob.file, blob.whole))
            .collect::<Vec<_>>(),
        [(file, true)]
    );
    let count = chunks.count_documents(doc! {}).await.expect("it answers");
    assert_eq!(count, 64, "one blob's chunks and no others");

    store.remove(file).await.expect("it can be removed");
    assert_eq!(
        chunks.count_documents(doc! {}).await.expect("it answers"),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_one_is_unreachable_until_it_wakes() {
    let engine = Engine::start().await;
    let (database, cache) = (Database::of(&engine.url()), Cache::new());
    let store = open_blobs(&database.url).await.expect("the URL is good");
    let bytes = pattern(2, 20 << 20);
    let (stored, file) = (FileId::new(), FileId::new());
    let source = cache.sealed(&bytes).await;
    store.put(stored, &source).await.expect("it can be stored");
    let mut reader = store
        .read(stored, 0..bytes.len() as u64)
        .await
        .expect("it is there");
    reader
        .next()
        .await
        .expect("there is more")
        .expect("it can be read");

    engine.freeze().await;
    let calls = tokio::join!(
        timed(store.put(file, &source)),
        timed(store.size(stored)),
        timed(store.remove(file)),
        timed(store.ping()),
        timed(async { store.list().await?.next().await.expect("there is a blob") }),
        reader.try_collect::<Vec<_>>(),
    );
    assert_unreachable("put", calls.0);
    assert_unreachable("size", calls.1);
    assert_unreachable("remove", calls.2);
    assert_unreachable("ping", calls.3);
    assert_unreachable("list", calls.4);
    assert!(
        calls.5.is_err(),
        "what it holds of a reader ends with an error"
    );

    engine.thaw();
    until("it is reachable again", async || store.ping().await.is_ok()).await;
    store.put(file, &source).await.expect("it can be stored");
    assert!(content(&*store, file).await == bytes);
    assert_eq!(listed(&*store).await.len(), 2);
}

/// How a call ended and how long it took.
async fn timed<T>(
    call: impl Future<Output = Result<T, BlobError>>,
) -> (Result<T, BlobError>, Duration) {
    let begun = Instant::now();
    (call.await, begun.elapsed())
}

fn assert_unreachable<T>(what: &str, (ended, took): (Result<T, BlobError>, Duration)) {
    match ended {
        Err(BlobError::Unreachable(_)) => {}
        Err(error) => panic!("{what}: {error:?}"),
        Ok(_) => panic!("{what} was done"),
    }
    assert!(took < PATIENCE, "{what} took {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_need_not_be_there_at_the_start() {
    let mut engine = Engine::stopped();
    let (database, cache) = (Database::of(&engine.url()), Cache::new());
    let store = open_blobs(&database.url).await.expect("the URL is good");
    let source = cache.sealed(b"content").await;
    let file = FileId::new();
    assert!(matches!(
        store.put(file, &source).await,
        Err(BlobError::Unreachable(_))
    ));
    assert!(matches!(store.ping().await, Err(BlobError::Unreachable(_))));

    engine.run();
    // It runs, and is no replica set with a primary yet.
    assert!(matches!(store.ping().await, Err(BlobError::Unreachable(_))));
    engine.initiate().await;
    until("it is reachable", async || store.ping().await.is_ok()).await;
    store.put(file, &source).await.expect("it can be stored");
    let indexes = database
        .collection("fs.chunks")
        .await
        .list_index_names()
        .await
        .expect("it answers");
    assert!(
        indexes.contains(&"files_id_1_n_1".to_owned()),
        "{indexes:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_good_is_told_at_once() {
    let database = Database::new();
    let (before, after) = database.url.split_once("://").expect("it is a URL");
    let after = after.rsplit_once('@').map_or(after, |(_, after)| after);
    let no_database = database.url.replace(&database.name, "");
    for (url, told) in [
        ("mongodb://", "URL"),
        ("mongodb://host:port:port/x", "URL"),
        (&no_database, "names no database"),
        (&format!("{before}://ada:wrong@{after}"), "uthentication"),
    ] {
        let refused = open_blobs(url)
            .await
            .err()
            .unwrap_or_else(|| panic!("{url} was opened"));
        assert!(refused.to_string().contains(told), "{url}: {refused}");
        assert!(
            !refused.to_string().contains("wrong"),
            "the password is told: {refused}"
        );
    }
}

/// A put that nobody waits for any more leaves nothing running and is gone on with by the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_put_can_be_given_up() {
    let (database, cache) = (Database::new(), Cache::new());
    let store: Arc<dyn BlobStore> = open_blobs(&database.url).await.expect("the URL is good");
    let bytes = pattern(3, LEN);
    let (file, source) = (FileId::new(), cache.sealed(&bytes).await);
    let chunks = database.collection("fs.chunks").await;
    {
        let put = store.put(file, &source);
        let some = until("some chunks", async || {
            chunks
                .estimated_document_count()
                .await
                .is_ok_and(|count| count > 3)
        });
        tokio::select! {
            put = put => panic!("it was too fast: {put:?}"),
            () = some => {}
        }
    }
    store.put(file, &source).await.expect("it can be stored");
    assert!(content(&*store, file).await == bytes);
    let count = chunks.count_documents(doc! {}).await.expect("it answers");
    assert_eq!(count, 64);
    database.drop_all().await;
}
