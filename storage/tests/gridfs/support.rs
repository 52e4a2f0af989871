//! Databases of a test's own, and uploads to store from.

use bytes::Bytes;
use futures::StreamExt;
use mongodb::{Client, Collection, bson::Document};
use protocol::FileId;
use protocol::{DigestAlgorithm::Sha256, UploadId};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use storage::{
    blobs::{BlobStore, Source, StoredBlob},
    chunks::{ChunkCache, ChunkOptions},
    conformance::{collect, digest},
    open_chunks,
};
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// A test's own databases in the MongoDB that all tests share.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) name: String,
    names: Arc<Mutex<Vec<String>>>,
    count: Arc<AtomicUsize>,
    first: String,
}

impl Database {
    pub(crate) fn new() -> Self {
        let server = std::env::var("TEST_MONGODB_URL").expect(
            "TEST_MONGODB_URL is set by `./dev test`; by hand: eval \"$(./dev stack env)\"",
        );
        Self::of(&server)
    }

    /// A database in the server of this URL.
    pub(crate) fn of(server: &str) -> Self {
        let first = format!("test_{}", UploadId::new().0.simple());
        Self {
            url: with_database(server, &first),
            name: first.clone(),
            names: Arc::new(Mutex::new(vec![first.clone()])),
            count: Arc::default(),
            first,
        }
    }

    /// One more, dropped with the first.
    pub(crate) fn another(&self) -> Self {
        let name = format!("{}_{}", self.first, self.count.fetch_add(1, SeqCst));
        self.names
            .lock()
            .expect("no test panics here")
            .push(name.clone());
        Self {
            url: with_database(&self.url, &name),
            name,
            names: self.names.clone(),
            count: self.count.clone(),
            first: self.first.clone(),
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::with_uri_str(&self.url)
            .await
            .expect("the URL is good")
    }

    pub(crate) async fn collection(&self, name: &str) -> Collection<Document> {
        self.client().await.database(&self.name).collection(name)
    }

    /// What a test that failed leaves behind stays, to be looked at.
    pub(crate) async fn drop_all(&self) {
        let client = self.client().await;
        let names = self.names.lock().expect("no test panics here").clone();
        for name in names {
            client
                .database(&name)
                .drop()
                .await
                .expect("it can be dropped");
        }
    }
}

/// The URL with another database.
fn with_database(url: &str, database: &str) -> String {
    let (address, options) = url.split_once('?').unwrap_or((url, ""));
    let authority = address.find("://").expect("it has a scheme") + 3;
    let end = address[authority..]
        .find('/')
        .map_or(address.len(), |at| authority + at);
    format!("{}/{database}?{options}", &address[..end])
}

/// A chunk cache in a temporary folder.
pub(crate) struct Cache {
    folder: TempDir,
    cache: OnceCell<Arc<dyn ChunkCache>>,
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self {
            folder: TempDir::new().expect("a temporary folder"),
            cache: OnceCell::new(),
        }
    }

    pub(crate) async fn open(&self) -> Arc<dyn ChunkCache> {
        let options = ChunkOptions {
            min_free_bytes: 0,
            ..ChunkOptions::default()
        };
        let url = format!("disk:{}", self.folder.path().join("chunks").display());
        let open = async || {
            open_chunks(&url, &options)
                .await
                .expect("the folder is free")
        };
        self.cache.get_or_init(open).await.clone()
    }

    /// A sealed upload of `content`.
    pub(crate) async fn sealed(&self, content: &[u8]) -> Source {
        let cache = self.open().await;
        let upload = UploadId::new();
        let size = content.len() as u64;
        let hold = cache.open(upload, size).await.expect("there is room");
        let parts = vec![Bytes::copy_from_slice(content).into()];
        cache
            .append(upload, hold.generation, 0, parts)
            .await
            .expect("it is reserved");
        cache
            .seal(upload, hold.generation)
            .await
            .expect("all is held");
        Source {
            cache,
            upload,
            size,
            digest: digest(Sha256, content),
        }
    }
}

pub(crate) async fn content(store: &dyn BlobStore, file: FileId) -> Vec<u8> {
    let size = store.size(file).await.expect("it is there");
    collect(store.read(file, 0..size).await.expect("it is there")).await
}

pub(crate) async fn listed(store: &dyn BlobStore) -> Vec<StoredBlob> {
    let list = store.list().await.expect("it answers");
    let blobs: Vec<_> = list.collect().await;
    blobs
        .into_iter()
        .map(|blob| blob.expect("it can be listed"))
        .collect()
}

/// Waits until a condition holds that something else makes true.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}: not within a minute");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
