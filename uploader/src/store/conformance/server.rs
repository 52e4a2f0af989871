//! What only a server can do: be shared, away, or silent.

mod link;
mod process;

use super::{Change, Fresh, at, digest, owner, upload};
use crate::store::{Dispatch, Opened, Queued, Signals, StoreError};
use futures::future::join_all;
use link::Link;
use process::Server;
use protocol::{TenantId, Topic, UploadId, UploadKey};
use sqlx::{Connection, PgConnection};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long a test waits for what must come.
const SOON: Duration = Duration::from_secs(30);

/// A database of its own on the server of `TEST_POSTGRES_URL`, or on another.
pub(in crate::store) struct Database {
    server: String,
    name: String,
}

impl Database {
    pub(in crate::store) async fn create() -> Self {
        let server = std::env::var("TEST_POSTGRES_URL").expect(
            "TEST_POSTGRES_URL must be set: by `./dev test`, or by hand: eval \"$(./dev stack env)\"",
        );
        Self::create_on(server).await
    }

    async fn create_on(server: String) -> Self {
        let name = format!("uploader_{}", UploadKey::new().to_string().replace('-', ""));
        let database = Self { server, name };
        database.on_server("CREATE DATABASE").await.unwrap();
        database
    }

    /// The URL of the server, with this database in place of its own.
    pub(in crate::store) fn url(&self) -> String {
        let (address, options) = self.server.split_once('?').unwrap_or((&self.server, ""));
        let (authority, _) = address.rsplit_once('/').expect("a URL with a database");
        format!("{authority}/{}?{options}", self.name)
    }

    pub(in crate::store) async fn execute(&self, sql: &'static str) {
        let mut db = PgConnection::connect(&self.url()).await.unwrap();
        for sql in ["SET search_path = uploads", sql] {
            sqlx::raw_sql(sql).execute(&mut db).await.unwrap();
        }
        db.close().await.unwrap();
    }

    /// How many rows were read of each table, by going through all of it, and of each index. It is known of sessions that have
    /// ended.
    async fn rows_read(&self) -> Vec<(String, i64)> {
        let mut db = PgConnection::connect(&self.url()).await.unwrap();
        let others = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let read = "SELECT relname::text, seq_tup_read FROM pg_stat_user_tables WHERE schemaname = 'uploads' \
             UNION ALL SELECT indexrelname::text, idx_tup_read FROM pg_stat_user_indexes WHERE schemaname = 'uploads'";
        let deadline = Instant::now() + SOON;
        let known = async |db: &mut PgConnection| {
            let others: i64 = sqlx::query_scalar(others)
                .fetch_one(&mut *db)
                .await
                .unwrap();
            let read: Vec<(String, i64)> = sqlx::query_as(read).fetch_all(db).await.unwrap();
            let is_known = |(name, read): &(String, i64)| name == "uploads_pkey" && *read > 0;
            (others == 0 && read.iter().any(is_known)).then_some(read)
        };
        loop {
            if let Some(read) = known(&mut db).await {
                db.close().await.unwrap();
                return read;
            }
            assert!(Instant::now() < deadline, "the server does not tell");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn on_server(&self, what: &str) -> Result<(), sqlx::Error> {
        let mut db = PgConnection::connect(&self.server).await?;
        let sql = sqlx::AssertSqlSafe(format!("{what} {}", self.name));
        sqlx::raw_sql(sql).execute(&mut db).await?;
        db.close().await
    }
}

/// Two processes on one database.
async fn two() -> [Fresh; 2] {
    let database = Arc::new(super::Database::Server(Database::create().await));
    [
        Fresh::over(Arc::clone(&database)).await,
        Fresh::over(database).await,
    ]
}

/// A store on a server of the test's own.
async fn on(server: &Server) -> Fresh {
    let database = Database::create_on(server.url("secret")).await;
    Fresh::over(Arc::new(super::Database::Server(database))).await
}

/// Repeats a call until it is answered; every refusal says that it may be repeated, and none lets the caller wait for long.
async fn until_answered<T>(mut call: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        let asked = Instant::now();
        match call().await {
            Ok(answer) => return answer,
            Err(StoreError::Unavailable(why)) => {
                assert!(asked.elapsed() < Duration::from_secs(12), "{why}");
                assert!(Instant::now() < deadline, "{why}");
            }
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn unavailable<T: std::fmt::Debug>(result: &Result<T, StoreError>) {
    assert!(
        matches!(result, Err(StoreError::Unavailable(_))),
        "{result:?}"
    );
}

/// The numbers in the tenant's admin log.
async fn numbers(store: &Fresh) -> Vec<u64> {
    let page = store
        .store
        .log(Topic::Admin, &TenantId::default(), 0, 10_000)
        .await
        .unwrap();
    page.notifications
        .iter()
        .map(|entry| entry.offset)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_write_side_by_side() {
    let mut replicas = two().await;
    let anna = owner("anna");
    let files = (0..100).map(|number| replicas[number % 2].cached(upload(&anna), at(1)));
    let files = join_all(files).await;
    let numbered: Vec<u64> = (1..=100).collect();
    assert_eq!(numbers(&replicas[0]).await, numbered);

    // What each said is its own, in order, and nothing is missing.
    let told = replicas.each_mut().map(told_to_admins);
    assert!(told.iter().all(|own| own.is_sorted() && own.len() == 50));
    let mut told = told.concat();
    told.sort_unstable();
    assert_eq!(told, numbered);

    // Each attempt is taken by one of them.
    let taken = join_all((0..20).map(|number| take(&replicas[number % 2], 7, Vec::new())));
    let mut taken = taken.await.concat();
    taken.sort_unstable();
    let mut all: Vec<UploadId> = files.iter().map(|file| file.upload_id).collect();
    all.sort_unstable();
    assert_eq!(taken, all);
}

/// The numbers of all that a replica has said to admins.
fn told_to_admins(replica: &mut Fresh) -> Vec<u64> {
    let mut told = Vec::new();
    while let Ok(news) = replica.news.try_recv() {
        let news = news.into_iter().map(|published| published.notification);
        told.extend(
            news.filter(|news| news.topic == Topic::Admin)
                .map(|news| news.offset),
        );
    }
    told
}

/// Takes what is due at second 1, and notes what was queued before.
async fn take(replica: &Fresh, limit: u32, queued: Vec<Queued>) -> Vec<UploadId> {
    let some = Dispatch {
        queued,
        now: at(1),
        lost_before: at(-1),
        unqueued_before: at(-1),
        max_in_flight: 10_000,
        limit,
    };
    let taken = replica.store.dispatch(some).await.unwrap().work;
    taken.iter().map(|work| work.upload.upload_id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_reports_at_two_replicas_one_counts() {
    let replicas = two().await;
    let anna = owner("anna");
    let files = join_all((0..40).map(|_| replicas[0].cached(upload(&anna), at(1)))).await;
    assert_eq!(replicas[1].dispatched(at(1)).await.len(), 40);
    let reports = files.iter().flat_map(|file| {
        let stored = Change::Store { attempt: 1 };
        let failed = Change::Fail {
            attempt: 1,
            reason: String::new(),
        };
        [
            replicas[0].store.apply(file.upload_id, stored, at(2)),
            replicas[1].store.apply(file.upload_id, failed, at(2)),
        ]
    });
    for both in join_all(reports).await.chunks(2) {
        let changed = both
            .iter()
            .filter(|applied| applied.as_ref().unwrap().as_ref().unwrap().changed);
        assert_eq!(changed.count(), 1);
    }
    assert_eq!(numbers(&replicas[1]).await, (1..=80).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_open_a_key_once_and_keep_to_the_quota() {
    let replicas = two().await;
    let anna = owner("anna");
    let key = Some(UploadKey::new());
    let uploads: Vec<_> = (0..40).map(|_| upload(&anna)).collect();
    let opened = join_all(uploads.iter().enumerate().map(|(number, upload)| {
        let key = key.filter(|_| number < 20);
        replicas[number % 2].store.open(upload, key, Some(10))
    }))
    .await;
    let created = |opened: &[Result<Opened, StoreError>]| {
        opened
            .iter()
            .filter(|opened| matches!(opened, Ok(Opened::Created)))
            .count()
    };
    assert!(created(&opened[..20]) <= 1);
    assert_eq!(created(&opened), 10);
    assert!(opened.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schema_is_made_once_by_many() {
    let database = Arc::new(super::Database::Server(Database::create().await));
    let stores = join_all((0..4).map(|_| Fresh::over(Arc::clone(&database)))).await;
    for (number, store) in stores.iter().enumerate() {
        store.cached(upload(&owner("anna")), at(1)).await;
        assert_eq!(numbers(store).await.len(), number + 1);
    }
}

/// What the server knows of how large tables are is out of date whenever many files come at once, and plans stay: whoever
/// looks for some rows must find them by key all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_table_is_read_whole_to_find_some_rows() {
    let super::Database::Server(database) = &*a_busy_day().await else {
        unreachable!("it is on a server")
    };
    // A file is looked up some twenty times; more of its row's versions are found until they are swept away.
    let most = |name: &str| match name {
        "uploads" | "outbox" | "topics" | "notifications" | "owner_bytes" => 0,
        // Nobody asks for a page of files.
        _ if name.starts_with("uploads_listed") => 0,
        _ => 60 * BUSY_DAY,
    };
    let read = database.rows_read().await;
    for (name, rows) in &read {
        assert!(*rows <= most(name), "{rows} of {name}: {read:?}");
    }
}

/// How many files come in [`a_busy_day`].
const BUSY_DAY: i64 = 5_000;

/// Takes files in and stores them: a hundred at a time, of which the server has not counted any yet, and then, when it believes
/// that none are left, all others.
async fn a_busy_day() -> Arc<super::Database> {
    let database = Arc::new(super::Database::Server(Database::create().await));
    let fresh = Fresh::over(Arc::clone(&database)).await;
    let anna = owner("anna");
    for files in std::iter::repeat_n(100, 20).chain([BUSY_DAY - 2_000]) {
        if files > 100 {
            database.execute("ANALYZE").await;
        }
        join_all((0..files).map(|_| fresh.cached(upload(&anna), at(1)))).await;
        let (mut queued, mut under_way) = (Vec::new(), Vec::new());
        loop {
            let taken = take(&fresh, 256, queued).await;
            if taken.is_empty() {
                break;
            }
            under_way.extend_from_slice(&taken);
            queued = taken
                .into_iter()
                .map(|upload| Queued { upload, attempt: 1 })
                .collect();
        }
        let stored = Change::Store { attempt: 1 };
        let stored = under_way
            .iter()
            .map(|id| fresh.changed(*id, stored.clone(), at(2)));
        assert_eq!(join_all(stored).await.len() as i64, files);
    }
    database
}

#[tokio::test]
async fn who_freezes_while_it_writes_loses_the_lock() {
    let [fresh, other] = two().await;
    let super::Database::Server(database) = &*other.database else {
        unreachable!("both are on a server")
    };
    let server = service_kit::postgres::Server::parse(&database.url()).unwrap();
    let mut frozen = server.connect("uploads").await.unwrap();
    let begin = "BEGIN; SELECT pg_advisory_xact_lock(x'75706c6f616473'::bigint)";
    sqlx::raw_sql(begin).execute(&mut frozen).await.unwrap();
    // It is waited for, and nobody is turned away.
    let begun = Instant::now();
    fresh.opened(upload(&owner("anna"))).await;
    assert!(
        begun.elapsed() > Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    let late = sqlx::raw_sql("COMMIT").execute(&mut frozen).await;
    assert!(late.is_err(), "its transaction is gone");
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found_by_repeating() {
    let database = Database::create().await;
    let link = Link::to(&database.url()).await;
    let (signals, _news) = Signals::new();
    let url = link.url(&database.url());
    let store = crate::store::open(&url, super::READERS, Arc::new(signals))
        .await
        .unwrap();
    let fresh = Fresh::over(Arc::new(super::Database::Server(database))).await;

    let (anna, key) = (owner("anna"), Some(UploadKey::new()));
    let first = upload(&anna);
    link.break_at_commit();
    unavailable(&store.open(&first, key, None).await);
    let again = until_answered(async || store.open(&upload(&anna), key, None).await).await;
    assert_eq!(again, Opened::Existing(Box::new(first.clone())));

    for change in [
        Change::Cache { digest: digest(1) },
        Change::Store { attempt: 1 },
    ] {
        let apply = || store.apply(first.upload_id, change.clone(), at(2));
        link.break_at_commit();
        unavailable(&apply().await);
        let again = until_answered(async || apply().await).await.unwrap();
        assert_eq!((again.changed, again.upload.status), (false, change.to()));
        // The attempt is there to be taken, although nobody was woken for it.
        if change.to() == protocol::TransferStatus::Cached {
            assert_eq!(fresh.dispatched(at(2)).await, [(first.upload_id, 1)]);
        }
    }
    assert_eq!(numbers(&fresh).await, [1, 2]);
    assert_eq!(fresh.store.outbox_depth().await.unwrap().dispatched, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_killed_is_found_again() {
    let server = Server::start();
    let fresh = on(&server).await;
    let file = fresh.cached(upload(&owner("anna")), at(1)).await;
    assert_eq!(fresh.dispatched(at(1)).await.len(), 1);
    server.kill();
    let store = || {
        fresh
            .store
            .apply(file.upload_id, Change::Store { attempt: 1 }, at(2))
    };
    unavailable(&store().await);
    unavailable(&fresh.store.upload(file.upload_id).await);
    server.start_again();
    let begun = Instant::now();
    let stored = until_answered(async || store().await).await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert!(stored.changed, "what was not committed did not happen");
    let seen = until_answered(async || fresh.store.upload(file.upload_id).await).await;
    assert_eq!(seen, Some(stored.upload));
    assert_eq!(numbers(&fresh).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_restarted_is_not_noticed_by_writers() {
    let server = Server::start();
    let fresh = on(&server).await;
    fresh.cached(upload(&owner("anna")), at(1)).await;
    server.kill();
    server.start_again();
    fresh.cached(upload(&owner("anna")), at(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_is_as_good_as_away() {
    let server = Server::start();
    let fresh = on(&server).await;
    let file = fresh.cached(upload(&owner("anna")), at(1)).await;
    assert_eq!(fresh.dispatched(at(1)).await.len(), 1);
    server.freeze();
    let begun = Instant::now();
    let store = || {
        fresh
            .store
            .apply(file.upload_id, Change::Store { attempt: 1 }, at(2))
    };
    let (stored, found) = tokio::join!(store(), fresh.store.upload(file.upload_id));
    unavailable(&stored);
    unavailable(&found);
    unavailable(&fresh.store.heads(&["admin:default".to_owned()]).await);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    server.thaw();
    let begun = Instant::now();
    let stored = until_answered(async || store().await).await.unwrap();
    let seen = until_answered(async || fresh.store.upload(file.upload_id).await).await;
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(seen, Some(stored.upload));
    assert_eq!(
        numbers(&fresh).await,
        [1, 2],
        "whichever of the calls did it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_at_the_start_is_waited_for() {
    let server = Server::start();
    let database = Database::create_on(server.url("secret")).await;
    server.kill();
    let fresh = Fresh::over(Arc::new(super::Database::Server(database))).await;
    let upload = upload(&owner("anna"));
    unavailable(&fresh.store.upload(upload.upload_id).await);
    unavailable(&fresh.store.open(&upload, None, None).await);
    server.start_again();
    let opened = until_answered(async || fresh.store.open(&upload, None, None).await).await;
    assert_eq!(opened, Opened::Created);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_for_good_is_an_error() {
    let server = Server::start();
    let no_such_database = server.url("secret") + "x";
    for url in [server.url("wrong"), no_such_database] {
        let (signals, _news) = Signals::new();
        let refused = crate::store::open(&url, super::READERS, Arc::new(signals)).await;
        let error = refused.err().unwrap();
        assert!(matches!(error, StoreError::Invalid(_)), "{error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
}
