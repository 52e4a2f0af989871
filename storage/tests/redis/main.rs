//! The Redis adapter against real servers: the one that `TEST_REDIS_URL` names, and some that are killed, frozen and filled.

mod faults;
mod life;
mod lost;
mod memory;
mod opening;
mod replica;
mod server;
#[path = "../model/steps.rs"]
mod steps;

use async_trait::async_trait;
use bytes::Bytes;
use proptest::prelude::*;
use protocol::UploadId;
use redis::{Client, cmd};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use storage::{
    chunks::{ChunkCache, ChunkError, ChunkOptions, Hold},
    conformance::{self, ChunkFixture, collect},
    open_chunks,
};

/// Keys of a test's own in the Redis that all tests share.
struct Namespace {
    server: String,
    prefix: String,
}

impl Namespace {
    fn new() -> Self {
        Self {
            server: std::env::var("TEST_REDIS_URL").expect(
                "TEST_REDIS_URL is not set: it is set by `./dev test`; by hand: eval \"$(./dev stack env)\"",
            ),
            prefix: format!("test-{}", UploadId::new()),
        }
    }

    async fn cache(&self, number: usize, options: &ChunkOptions) -> Arc<dyn ChunkCache> {
        let separator = if self.server.contains('?') { '&' } else { '?' };
        let url = format!("{}{separator}prefix={}-{number}", self.server, self.prefix);
        open_chunks(&url, options).await.expect("Redis is fine")
    }

    async fn remove(&self) {
        let client = Client::open(&*self.server).expect("the URL is good");
        let mut connection = client
            .get_multiplexed_async_connection()
            .await
            .expect("it is there");
        let pattern = format!("{}-*", self.prefix);
        let mut scan = cmd("SCAN");
        scan.cursor_arg(0)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(1000);
        let keys = scan.iter_async::<String>(&mut connection).await;
        let keys: Vec<_> = futures::StreamExt::collect(keys.expect("it answers")).await;
        for key in keys {
            let key: String = key.expect("it is a name");
            let gone = cmd("UNLINK")
                .arg(key)
                .query_async::<()>(&mut connection)
                .await;
            gone.expect("it can be removed");
        }
    }
}

/// A cache of its own for each case.
struct Fixture<'a> {
    namespace: &'a Namespace,
    number: usize,
}

#[async_trait]
impl ChunkFixture for Fixture<'_> {
    async fn open(&self, options: &ChunkOptions) -> Arc<dyn ChunkCache> {
        self.namespace.cache(self.number, options).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_chunks() {
    let namespace = Namespace::new();
    let cases = AtomicUsize::new(0);
    let next = || Fixture {
        namespace: &namespace,
        number: cases.fetch_add(1, SeqCst),
    };
    conformance::chunks(next).await;
    namespace.remove().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn redis_does_what_the_model_does(taken in steps::steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let namespace = Namespace::new();
            let open = async || namespace.cache(0, &ChunkOptions::default()).await;
            // Whoever holds an upload holds it in Redis, wherever the process is.
            steps::run(taken, open, true).await;
            namespace.remove().await;
        });
    }
}

/// What does not come about in this time does not come about.
const PATIENCE: Duration = Duration::from_secs(60);

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A new upload of which these bytes are held.
async fn start_with(cache: &dyn ChunkCache, size: usize, bytes: &[u8]) -> (UploadId, Hold) {
    let upload = UploadId::new();
    let mut hold = cache
        .open(upload, size as u64)
        .await
        .expect("there is room");
    hold.held = append(cache, upload, hold, bytes).await.expect("it fits");
    (upload, hold)
}

/// Adds bytes where the hold says that the held bytes end.
async fn append(
    cache: &dyn ChunkCache,
    upload: UploadId,
    hold: Hold,
    bytes: &[u8],
) -> Result<u64, ChunkError> {
    let parts = vec![Bytes::copy_from_slice(bytes).into()];
    cache
        .append(upload, hold.generation, hold.held, parts)
        .await
}

/// All bytes held.
async fn content(cache: &dyn ChunkCache, upload: UploadId) -> Vec<u8> {
    let held = cache.stat(upload).await.expect("it is there").held;
    collect(cache.read(upload, 0..held).await.expect("it is held")).await
}
