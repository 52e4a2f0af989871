//! An uploader in a temporary folder, and short ways to call it.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use protocol::{
    Digest, DigestAlgorithm, ErrorCode, Refusal, TenantId, Topic, TransferStatus, UploadId,
    UploadKey, UserId,
    event::Notification,
    identity::{Caller, Role},
    upload::{
        AttemptOutcome, EndUpload, FileMeta, LogPage, OpenUpload, PersistFile, Published,
        StatusUpdated, SubmitFile, UpdateStatus, Upload,
    },
};
use service_kit::{
    config::Millis,
    peer::{Peer, PeerError},
    problem::Problem,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use storage::{
    chunks::{ChunkCache, ChunkError, ChunkOptions},
    events::{EventError, Events, LocalEvents, News, Shard, Work},
    faults::{ChunkCall, FaultyChunks, Script},
};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uploader::{Clock, Config, StoreError, Uploader};

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for something that must come.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what)
        .await
        .expect("it did not come in time")
}

/// An uploader with all that it needs.
pub(crate) struct Harness {
    pub(crate) uploader: Uploader,
    pub(crate) peer: Peer,
    pub(crate) chunks: Arc<dyn ChunkCache>,
    pub(crate) faults: Script<ChunkCall, ChunkError>,
    pub(crate) events: Arc<FlakyEvents>,
    ahead: Arc<AtomicI64>,
    config: Config,
    database: String,
    dir: Arc<TempDir>,
}

/// What outlives a process.
struct Surroundings {
    config: Config,
    /// The URL of the database.
    database: String,
    dir: Arc<TempDir>,
    chunks: Arc<dyn ChunkCache>,
    faults: Script<ChunkCall, ChunkError>,
    ahead: Arc<AtomicI64>,
}

impl Harness {
    /// An uploader whose retries are due at once.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}", dir.path().join("uploads.db").display());
        Self::first(change, dir, database, FlakyEvents::default()).await
    }

    /// One of several processes that share a server for their state, and a queue that outlives them.
    pub(crate) async fn replica() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let database = database_on_server().await;
        let events = FlakyEvents::default();
        events.durable.store(true, Ordering::SeqCst);
        Self::first(|_| {}, dir, database, events).await
    }

    async fn first(
        change: impl FnOnce(&mut Config),
        dir: TempDir,
        database: String,
        events: FlakyEvents,
    ) -> Self {
        let mut config = Config {
            retry_backoff: Millis(0),
            ..Config::default()
        };
        change(&mut config);
        let url = format!("disk:{}", dir.path().join("chunks").display());
        let options = ChunkOptions {
            min_free_bytes: 0,
            ..ChunkOptions::default()
        };
        let faulty = FaultyChunks::new(storage::open_chunks(&url, &options).await.unwrap());
        let surroundings = Surroundings {
            config,
            database,
            dir: Arc::new(dir),
            faults: faulty.script(),
            chunks: Arc::new(faulty),
            ahead: Arc::default(),
        };
        Self::start(surroundings, Arc::new(events)).await
    }

    /// Another process over the same data, with an empty queue.
    pub(crate) async fn restart(self) -> Self {
        let surroundings = self.surroundings();
        drop(self);
        Self::start(surroundings, Arc::default()).await
    }

    /// Another process beside this one, over the same data and with the same queue.
    pub(crate) async fn beside(&self) -> Self {
        Self::start(self.surroundings(), Arc::clone(&self.events)).await
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings {
            config: self.config.clone(),
            database: self.database.clone(),
            dir: Arc::clone(&self.dir),
            chunks: Arc::clone(&self.chunks),
            faults: self.faults.clone(),
            ahead: Arc::clone(&self.ahead),
        }
    }

    async fn start(surroundings: Surroundings, events: Arc<FlakyEvents>) -> Self {
        let Surroundings {
            config,
            database,
            dir,
            chunks,
            faults,
            ahead,
        } = surroundings;
        let micros = Arc::clone(&ahead);
        let clock = Clock::new(move || {
            Timestamp::now() + SignedDuration::from_micros(micros.load(Ordering::SeqCst))
        });
        let uploader = Uploader::open_with_clock(
            config.clone(),
            &database,
            Arc::clone(&chunks),
            events.clone(),
            clock,
        )
        .await
        .unwrap();
        let peer = Peer::local("uploader", uploader::router(uploader.clone()));
        Self {
            uploader,
            peer,
            chunks,
            faults,
            events,
            ahead,
            config,
            database,
            dir,
        }
    }

    /// Lets the uploader's clock go ahead.
    pub(crate) fn advance(&self, time: Duration) {
        self.ahead
            .fetch_add(i64::try_from(time.as_micros()).unwrap(), Ordering::SeqCst);
    }

    /// Starts the background work.
    pub(crate) fn run(&self) -> Running {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(uploader::run(self.uploader.clone(), shutdown.clone()));
        Running { shutdown, task }
    }

    pub(crate) async fn open(
        &self,
        caller: &Caller,
        key: Option<UploadKey>,
        meta: FileMeta,
    ) -> Result<Upload, Problem> {
        let request = OpenUpload {
            caller: caller.clone(),
            key,
            meta,
        };
        problem_or(self.peer.post_json("/uploads", &request).await)
    }

    /// Opens an upload and holds all of its bytes in the chunk cache; answers it with the generation.
    pub(crate) async fn filled(&self, caller: &Caller, meta: FileMeta) -> (Upload, u64) {
        let upload = self.open(caller, None, meta).await.unwrap();
        let size = upload.meta.size;
        let generation = self
            .chunks
            .open(upload.upload_id, size)
            .await
            .unwrap()
            .generation;
        let bytes = Bytes::from(vec![7; usize::try_from(size).unwrap()]);
        self.chunks
            .append(upload.upload_id, generation, 0, vec![bytes.into()])
            .await
            .unwrap();
        (upload, generation)
    }

    pub(crate) async fn submit(&self, request: &SubmitFile) -> Result<Upload, Problem> {
        problem_or(self.peer.post_json("/file/upload", request).await)
    }

    /// Brings a file of a caller to `cached`.
    pub(crate) async fn cached(&self, caller: &Caller) -> Upload {
        let (upload, generation) = self.filled(caller, meta("photo.jpg", 10)).await;
        self.submit(&complete(caller, &upload, generation))
            .await
            .unwrap()
    }

    pub(crate) async fn end(
        &self,
        caller: &Caller,
        id: UploadId,
        status: TransferStatus,
        refusal: Option<Refusal>,
    ) -> Result<Upload, Problem> {
        let request = EndUpload {
            caller: caller.clone(),
            status,
            refusal,
        };
        problem_or(
            self.peer
                .post_json(format!("/uploads/{id}/end"), &request)
                .await,
        )
    }

    pub(crate) async fn report(
        &self,
        id: UploadId,
        attempt: u32,
        outcome: AttemptOutcome,
    ) -> Result<Upload, Problem> {
        let report = UpdateStatus {
            upload_id: id,
            attempt,
            outcome,
        };
        let updated: Result<StatusUpdated, _> =
            self.peer.put_json("/file/update/status", &report).await;
        problem_or(updated).map(|updated| updated.upload)
    }

    pub(crate) async fn upload(&self, id: UploadId) -> Upload {
        self.peer.get_json(format!("/uploads/{id}")).await.unwrap()
    }

    pub(crate) async fn get<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<T, Problem> {
        problem_or(self.peer.get_json(path).await)
    }

    pub(crate) async fn put<B: serde::Serialize, T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, Problem> {
        problem_or(self.peer.put_json(path, body).await)
    }

    pub(crate) async fn log(&self, topic: Topic, tenant: &TenantId) -> LogPage {
        self.get(&format!(
            "/notifications?topic={topic}&tenant={tenant}&after=0&limit=1000"
        ))
        .await
        .unwrap()
    }

    /// The events in the log of a caller, which must be the same as those that the admins of its tenant got about it.
    pub(crate) async fn told(&self, caller: &Caller) -> Vec<String> {
        let own = self
            .log(Topic::User(caller.user_id), &caller.tenant)
            .await
            .notifications;
        let admin = self.log(Topic::Admin, &caller.tenant).await.notifications;
        let is_own =
            |entry: &&Notification| entry.data["owner"]["id"] == caller.user_id.to_string();
        let admin: Vec<_> = admin
            .iter()
            .filter(is_own)
            .map(|entry| (&entry.event, &entry.data))
            .collect();
        assert_eq!(
            admin,
            own.iter()
                .map(|entry| (&entry.event, &entry.data))
                .collect::<Vec<_>>()
        );
        own.into_iter().map(|entry| entry.event).collect()
    }

    /// The status in the chunk cache: none if it holds nothing of the upload, else whether it is sealed.
    pub(crate) async fn sealed(&self, id: UploadId) -> Option<bool> {
        match self.chunks.stat(id).await {
            Ok(cached) => Some(cached.sealed),
            Err(ChunkError::NotFound(_)) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The next piece of work, acknowledged at once.
    pub(crate) async fn work(&self) -> PersistFile {
        let mut work = self.events.consume(1).await.unwrap();
        let delivery = soon(work.next()).await.unwrap();
        let event = delivery.event().clone();
        delivery.ack().await.unwrap();
        event
    }
}

/// Background work under way.
pub(crate) struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), StoreError>>,
}

impl Running {
    /// Stops it in order.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        soon(self.task).await.unwrap().unwrap();
    }
}

/// An empty database of its own on the server.
async fn database_on_server() -> String {
    use sqlx::{Connection, PgConnection};
    let server = std::env::var("TEST_POSTGRES_URL").expect(
        "TEST_POSTGRES_URL must be set: by `./dev test`, or by hand: eval \"$(./dev stack env)\"",
    );
    let name = format!("uploader_{}", UploadKey::new().to_string().replace('-', ""));
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    let mut db = PgConnection::connect(&server).await.unwrap();
    sqlx::raw_sql(create).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
    let (address, options) = server.split_once('?').unwrap_or((&server, ""));
    let (authority, _) = address.rsplit_once('/').expect("a URL with a database");
    format!("{authority}/{name}?{options}")
}

/// The local engine, which can't be reached for some calls.
#[derive(Default)]
pub(crate) struct FlakyEvents {
    inner: LocalEvents,
    fail: AtomicUsize,
    pub(crate) failed: AtomicUsize,
    /// What the engine says of itself.
    durable: AtomicBool,
}

impl FlakyEvents {
    /// Makes the next `n` attempts to queue work fail.
    pub(crate) fn fail_next(&self, n: usize) {
        self.fail.store(n, Ordering::SeqCst);
    }
}

#[async_trait]
impl Events for FlakyEvents {
    fn durable(&self) -> bool {
        self.durable.load(Ordering::SeqCst)
    }

    async fn queue(&self, work: Vec<PersistFile>) -> Result<(), EventError> {
        if self
            .fail
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            })
            .is_ok()
        {
            self.failed.fetch_add(1, Ordering::SeqCst);
            return Err(EventError::Unavailable("by order of the test".to_owned()));
        }
        self.inner.queue(work).await
    }

    async fn consume(&self, prefetch: usize) -> Result<Box<dyn Work>, EventError> {
        self.inner.consume(prefetch).await
    }

    async fn tell(&self, news: Vec<Published>) -> Result<(), EventError> {
        self.inner.tell(news).await
    }

    async fn listen(&self) -> Result<Box<dyn News>, EventError> {
        self.inner.listen().await
    }

    async fn bind(&self, shard: Shard) -> Result<(), EventError> {
        self.inner.bind(shard).await
    }

    async fn unbind(&self, shard: Shard) -> Result<(), EventError> {
        self.inner.unbind(shard).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

pub(crate) fn caller(name: &str) -> Caller {
    Caller {
        user_id: UserId::new(),
        name: name.to_owned(),
        role: Role::User,
        tenant: TenantId::default(),
    }
}

pub(crate) fn meta(name: &str, size: u64) -> FileMeta {
    FileMeta {
        name: name.to_owned(),
        size,
        content_type: None,
        digest: None,
        pool: None,
        captured_at: None,
        batch: None,
        title: None,
        description: None,
        tags: Vec::new(),
    }
}

pub(crate) fn digest(byte: u8) -> Digest {
    Digest::new(DigestAlgorithm::Sha256, [byte; 32])
}

/// A submission of a whole upload with a digest that nothing contradicts.
pub(crate) fn complete(caller: &Caller, upload: &Upload, generation: u64) -> SubmitFile {
    SubmitFile {
        upload_id: upload.upload_id,
        caller: caller.clone(),
        generation,
        size: upload.meta.size,
        computed: digest(1),
        announced: None,
    }
}

pub(crate) fn success() -> AttemptOutcome {
    AttemptOutcome::UploadedSuccessfully {
        stored_at: Timestamp::now(),
    }
}

pub(crate) fn failure(permanent: bool) -> AttemptOutcome {
    AttemptOutcome::UploadFailed {
        reason: "disk on fire".to_owned(),
        permanent,
    }
}

/// Asserts that a call was refused with a code; answers the problem.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Problem>, code: ErrorCode) -> Problem {
    let problem = result.expect_err("it must be refused");
    assert_eq!(problem.code, code.as_str());
    assert_eq!(problem.status.as_u16(), code.http_status());
    problem
}

fn problem_or<T>(result: Result<T, PeerError>) -> Result<T, Problem> {
    result.map_err(|error| match error {
        PeerError::Problem(problem) => problem,
        error => panic!("{error}"),
    })
}
