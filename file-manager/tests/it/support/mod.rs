//! A file manager on real disk adapters, between a queue and an uploader that tests can see into.

mod database;
mod uploader;
mod watched;

pub(crate) use uploader::Uploader;
pub(crate) use watched::Watched;

use axum::{
    body::{Body, Bytes, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
};
use database::Database;
use file_manager::{
    Config, FileManager,
    index::{Index, IndexedFile, mongodb::MongoIndex, sqlite::SqliteIndex},
};
use futures::FutureExt;
use jiff::Timestamp;
use protocol::{
    FileId, TenantId, TransferStatus, UploadId, UserId,
    digest::{DigestAlgorithm, Hasher},
    identity::{CALLER_HEADER, Caller, Owner, Role},
    upload::{AttemptOutcome, FileMeta, PersistFile, UpdateStatus, Upload},
};
use serde::de::DeserializeOwned;
use service_kit::{config::Millis, peer::Peer};
use std::{path::PathBuf, sync::Arc, time::Duration};
use storage::{
    blobs::BlobError,
    chunks::{ChunkCache, ChunkError, ChunkOptions},
    events::{EventError, Events},
    faults::{BlobCall, ChunkCall, FaultyBlobs, FaultyChunks, Gate, Script},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// After this long a test has failed; nothing waits for it to pass.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A file manager and everything around it.
pub(crate) struct World {
    folder: tempfile::TempDir,
    /// Where blobs and index are, if not in the folder.
    database: Option<Database>,
    pub(crate) chunks: Arc<dyn ChunkCache>,
    pub(crate) blobs: Arc<Watched>,
    pub(crate) blob_faults: Script<BlobCall, BlobError>,
    pub(crate) chunk_faults: Script<ChunkCall, ChunkError>,
    pub(crate) events: Arc<dyn Events>,
    pub(crate) uploader: Uploader,
    pub(crate) manager: FileManager,
    peer: Peer,
    pub(crate) config: Config,
}

/// The background work of a file manager.
pub(crate) struct Running {
    shutdown: CancellationToken,
    work: JoinHandle<Result<(), EventError>>,
}

/// A response that was read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(swept_at_once()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        Self::on(None, config, |chunks| chunks).await
    }

    /// With a cache that is elsewhere, so that storing is copying.
    pub(crate) async fn apart_from_its_cache() -> Self {
        Self::on(None, swept_at_once(), FaultyChunks::elsewhere).await
    }

    /// With blobs and index in MongoDB.
    pub(crate) async fn on_mongodb() -> Self {
        Self::on(Some(Database::new()), swept_at_once(), |chunks| chunks).await
    }

    async fn on(
        database: Option<Database>,
        config: Config,
        placed: impl FnOnce(FaultyChunks) -> FaultyChunks,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = |name: &str| format!("disk:{}", folder.path().join(name).display());
        let options = ChunkOptions {
            min_free_bytes: 0,
            ..ChunkOptions::default()
        };
        let chunks = storage::open_chunks(&url("chunks"), &options).await;
        let chunks = Arc::new(placed(FaultyChunks::new(chunks.unwrap())));
        let blobs_url = database
            .as_ref()
            .map_or_else(|| url("blobs"), |there| there.url.clone());
        let blobs = FaultyBlobs::new(storage::open_blobs(&blobs_url).await.unwrap());
        let (chunk_faults, blob_faults) = (chunks.script(), blobs.script());
        let blobs = Arc::new(Watched::new(Arc::new(blobs)));
        let events = storage::open_events("local:").await.unwrap();
        let uploader = Uploader::default();
        let manager = FileManager::open(
            config.clone(),
            &index_url(&folder, database.as_ref()),
            chunks.clone(),
            blobs.clone(),
            events.clone(),
            uploader.peer(),
        )
        .await
        .unwrap();
        let peer = Peer::local("file-manager", file_manager::router(manager.clone()));
        Self {
            folder,
            database,
            chunks,
            blobs,
            blob_faults,
            chunk_faults,
            events,
            uploader,
            manager,
            peer,
            config,
        }
    }

    /// The file of an index that is one.
    fn index_path(&self) -> PathBuf {
        self.folder.path().join("index.db")
    }

    /// Another instance over the same stores, queue and index.
    pub(crate) async fn second_manager(&self) -> FileManager {
        self.manager_with(self.config.clone()).await
    }

    /// The same, with other settings.
    pub(crate) async fn manager_with(&self, config: Config) -> FileManager {
        FileManager::open(
            config,
            &index_url(&self.folder, self.database.as_ref()),
            self.chunks.clone(),
            self.blobs.clone(),
            self.events.clone(),
            self.uploader.peer(),
        )
        .await
        .unwrap()
    }

    /// Leaves nothing in MongoDB. What a test that failed has left stays, to be looked at.
    pub(crate) async fn clean(self) {
        if let Some(database) = self.database {
            database.drop().await;
        }
    }

    /// Starts the background work.
    pub(crate) fn run(&self) -> Running {
        Running::start(self.manager.clone())
    }

    /// The index, by a connection of its own.
    pub(crate) async fn index(&self) -> Box<dyn Index> {
        match &self.database {
            Some(database) => Box::new(MongoIndex::open(&database.url).await.unwrap()),
            None => {
                let path = self.index_path();
                let index = SqliteIndex::open(&path, std::num::NonZeroU32::MIN).await;
                Box::new(index.unwrap())
            }
        }
    }

    pub(crate) async fn indexed(&self, file: FileId) -> Option<IndexedFile> {
        self.index().await.get(file).await.unwrap()
    }

    /// Content as it is after `complete-upload`: sealed in the cache, known to the uploader as `cached`.
    pub(crate) async fn cached(&self, content: &[u8]) -> Upload {
        let upload = upload(&caller("ada", Role::User), content);
        self.cache(&upload, content).await;
        upload
    }

    /// The same for an upload made by the test.
    pub(crate) async fn cache(&self, upload: &Upload, content: &[u8]) {
        let id = upload.upload_id;
        let hold = self.chunks.open(id, content.len() as u64).await.unwrap();
        self.chunks
            .append(
                id,
                hold.generation,
                0,
                vec![Bytes::copy_from_slice(content).into()],
            )
            .await
            .unwrap();
        self.chunks.seal(id, hold.generation).await.unwrap();
        self.uploader.know(upload);
    }

    /// Queues an attempt, as the uploader's relay does.
    pub(crate) async fn submit(&self, upload: &Upload, attempt: u32) {
        let upload = self
            .uploader
            .begin(upload.upload_id, attempt)
            .unwrap_or_else(|| upload.clone());
        self.events
            .queue(vec![PersistFile { upload, attempt }])
            .await
            .unwrap();
    }

    /// Stores a file by the whole way.
    pub(crate) async fn stored(&self, content: &[u8]) -> Upload {
        let upload = self.cached(content).await;
        self.store(&upload).await;
        upload
    }

    /// Brings a cached upload to its end.
    pub(crate) async fn store(&self, upload: &Upload) {
        let running = self.run();
        let before = self.uploader.reports().len();
        self.submit(upload, 1).await;
        self.uploader.wait_for_reports(before + 1).await;
        running.stop().await;
        self.chunks.remove(upload.upload_id).await.unwrap();
    }

    /// Makes the next `put` fail.
    pub(crate) fn fail_put(&self, fault: impl Fn() -> BlobError + Send + Sync + 'static) {
        self.blob_faults.fail_next(BlobCall::Put, 1, fault);
    }

    /// Whether nothing waits in the queue: all that was delivered was acknowledged.
    pub(crate) async fn is_queue_empty(&self) -> bool {
        let mut work = self.events.consume(1).await.unwrap();
        work.next().now_or_never().is_none()
    }

    /// Calls the service and reads the whole answer.
    pub(crate) async fn call(
        &self,
        method: Method,
        caller: &Caller,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        self.try_call(method, caller, path, headers).await.unwrap()
    }

    /// The same; an error if the body breaks off.
    pub(crate) async fn try_call(
        &self,
        method: Method,
        caller: &Caller,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, axum::Error> {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(CALLER_HEADER, serde_json::to_vec(caller).unwrap());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self
            .peer
            .call(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await?;
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }

    pub(crate) async fn get(&self, caller: &Caller, path: &str) -> Answer {
        self.call(Method::GET, caller, path, &[]).await
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }
}

impl Running {
    pub(crate) fn start(manager: FileManager) -> Self {
        let shutdown = CancellationToken::new();
        let work = tokio::spawn(file_manager::run(manager, shutdown.clone()));
        Self { shutdown, work }
    }

    /// Begins to stop, without waiting for it.
    pub(crate) fn begin_stop(&self) {
        self.shutdown.cancel();
    }

    /// Stops the background work and waits for what it has in hand.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.join().await.unwrap();
    }

    /// Waits for the end of the background work.
    pub(crate) async fn join(self) -> Result<(), EventError> {
        tokio::time::timeout(DEADLINE, self.work)
            .await
            .expect("the work ends in time")
            .unwrap()
    }
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        assert_eq!(
            self.status,
            StatusCode::OK,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The code of a problem.
    pub(crate) fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["status"], self.status.as_u16());
        problem["code"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

fn swept_at_once() -> Config {
    Config {
        sweep_interval: Millis::days(1),
        sweep_grace: Millis(0),
        ..Config::default()
    }
}

fn index_url(folder: &tempfile::TempDir, database: Option<&Database>) -> String {
    let path = folder.path().join("index.db");
    database.map_or_else(
        || format!("sqlite:{}", path.display()),
        |there| there.url.clone(),
    )
}

/// Runs tests over every kind of blob store and index; each is a function that takes a world.
macro_rules! on_every_store {
    ($($test:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(&crate::support::World::new().await).await;
            })+
        }

        mod mongodb {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let world = crate::support::World::on_mongodb().await;
                super::$test(&world).await;
                world.clean().await;
            })+
        }
    };
}
pub(crate) use on_every_store;

pub(crate) fn caller(name: &str, role: Role) -> Caller {
    Caller {
        user_id: UserId::new(),
        name: name.to_owned(),
        role,
        tenant: TenantId::default(),
    }
}

/// Someone who may see what `upload` brings.
pub(crate) fn owner_of(upload: &Upload) -> Caller {
    Caller {
        user_id: upload.owner.id,
        name: upload.owner.name.clone(),
        role: Role::User,
        tenant: upload.tenant.clone(),
    }
}

/// A cached upload of `content`.
pub(crate) fn upload(owner: &Caller, content: &[u8]) -> Upload {
    let mut hasher = Hasher::new(DigestAlgorithm::Sha256);
    hasher.update(content);
    let now = Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap();
    Upload {
        upload_id: UploadId::new(),
        file_id: FileId::new(),
        owner: Owner::from(owner),
        tenant: owner.tenant.clone(),
        meta: FileMeta {
            name: "notes.txt".to_owned(),
            size: content.len() as u64,
            content_type: Some("text/plain".to_owned()),
            digest: None,
            pool: None,
            captured_at: None,
            batch: None,
            title: None,
            description: None,
            tags: vec![],
        },
        computed_digest: Some(hasher.finish()),
        status: TransferStatus::Cached,
        attempts: 0,
        reason: None,
        code: None,
        opened_at: now,
        expires_at: now,
        received_at: Some(now),
    }
}

/// Waits until `calls` of them wait at a gate.
pub(crate) async fn reached(gate: &Gate, calls: usize) {
    let reached = tokio::time::timeout(DEADLINE, gate.reached(calls)).await;
    reached.unwrap_or_else(|_| panic!("{calls} calls at the gate: not within {DEADLINE:?}"));
}

/// Waits until a condition holds that some task makes true.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(DEADLINE, holds)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"));
}

/// The reason that faults give.
pub(crate) fn why() -> String {
    "by order of the test".to_owned()
}

/// When a report says that the file was stored.
pub(crate) fn stored_at(report: &UpdateStatus) -> Timestamp {
    match report.outcome {
        AttemptOutcome::UploadedSuccessfully { stored_at } => stored_at,
        ref failed => panic!("the report says {failed:?}"),
    }
}

/// Whether a report of failure says that another attempt can't help, and its reason.
pub(crate) fn failure(report: &UpdateStatus) -> (bool, &str) {
    match &report.outcome {
        AttemptOutcome::UploadFailed { reason, permanent } => (*permanent, reason),
        stored @ AttemptOutcome::UploadedSuccessfully { .. } => {
            panic!("the report says {stored:?}")
        }
    }
}
