//! The embedded adapter: one SQLite file with write-ahead log, synced at every commit.

mod log;
mod outbox;
mod rows;
mod schema;
mod sweep;
mod uploads;
mod writer;

use super::{
    Applied, Change, Dispatch, Dispatched, Opened, OutboxDepth, Signals, Store, StoreError,
};
use async_trait::async_trait;
use jiff::Timestamp;
use protocol::{
    FileId, TenantId, Topic, TransferStatus, UploadId, UploadKey,
    file::{Cursor, FileQuery},
    upload::{LogHead, LogPage, Upload},
};
use service_kit::sqlite;
use sqlx::{ConnectOptions, SqlitePool, sqlite::SqlitePoolOptions};
use std::{collections::HashMap, num::NonZeroU32, path::Path, sync::Arc, time::Duration};
use writer::Writer;

/// How long a statement waits for another process that has locked the file (a backup, a shell).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The store in an SQLite file.
pub struct SqliteStore {
    writer: Writer,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the file at `path`, makes it if it is not there, and brings its schema up to date. `readers` connections read.
    ///
    /// # Errors
    /// [`StoreError`] when the file can't be opened or was written by a newer version.
    pub async fn open(
        path: &Path,
        readers: NonZeroU32,
        signals: Arc<Signals>,
    ) -> Result<Self, StoreError> {
        let file = sqlite::file(path, BUSY_TIMEOUT);
        let mut db = file.clone().create_if_missing(true).connect().await?;
        schema::migrate(&mut db).await?;
        let read_only = file.read_only(true);
        let pool = SqlitePoolOptions::new();
        let readers = sqlite::connect(pool, readers.get(), read_only, BUSY_TIMEOUT).await?;
        Ok(Self {
            writer: Writer::start(db, signals),
            readers,
        })
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn open(
        &self,
        upload: &Upload,
        key: Option<UploadKey>,
        quota: Option<u64>,
    ) -> Result<Opened, StoreError> {
        let upload = upload.clone();
        self.writer
            .run(move |tx| Box::pin(uploads::open(tx, upload, key, quota)))
            .await
    }

    async fn upload(&self, id: UploadId) -> Result<Option<Upload>, StoreError> {
        uploads::by_id(&self.readers, id).await
    }

    async fn upload_of_file(&self, id: FileId) -> Result<Option<Upload>, StoreError> {
        uploads::by_file(&self.readers, id).await
    }

    async fn apply(
        &self,
        id: UploadId,
        change: Change,
        at: Timestamp,
    ) -> Result<Option<Applied>, StoreError> {
        self.writer
            .run(move |tx| Box::pin(uploads::apply(tx, id, change, at)))
            .await
    }

    async fn files(
        &self,
        tenant: &TenantId,
        query: &FileQuery,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Vec<Upload>, StoreError> {
        uploads::files(&self.readers, tenant, query, after, limit).await
    }

    async fn dispatch(&self, dispatch: Dispatch) -> Result<Dispatched, StoreError> {
        self.writer
            .run(move |tx| Box::pin(outbox::dispatch(tx, dispatch)))
            .await
    }

    async fn forget_dispatches(&self) -> Result<u64, StoreError> {
        self.writer
            .run(|tx| Box::pin(outbox::forget_dispatches(tx)))
            .await
    }

    async fn outbox_depth(&self) -> Result<OutboxDepth, StoreError> {
        outbox::depth(&self.readers).await
    }

    async fn overdue(&self, now: Timestamp, limit: u32) -> Result<Vec<UploadId>, StoreError> {
        sweep::overdue(&self.readers, now, limit).await
    }

    async fn statuses(
        &self,
        ids: &[UploadId],
    ) -> Result<HashMap<UploadId, TransferStatus>, StoreError> {
        sweep::statuses(&self.readers, ids).await
    }

    async fn purge(&self, ended_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.writer
            .run(move |tx| Box::pin(sweep::purge(tx, ended_before, limit)))
            .await
    }

    async fn log(
        &self,
        topic: Topic,
        tenant: &TenantId,
        after: u64,
        limit: u32,
    ) -> Result<LogPage, StoreError> {
        let name = topic.log_name(tenant);
        if let Some(page) = log::page(&self.readers, topic, &name, after, limit).await? {
            return Ok(page);
        }
        self.heads(std::slice::from_ref(&name)).await?;
        let page = log::page(&self.readers, topic, &name, after, limit).await?;
        page.ok_or_else(|| StoreError::Invalid(format!("the log {name} was made and is not there")))
    }

    async fn heads(&self, logs: &[String]) -> Result<Vec<LogHead>, StoreError> {
        let mut heads = log::heads(&self.readers, logs).await?;
        let missing: Vec<String> = logs
            .iter()
            .filter(|log| !heads.contains_key(*log))
            .cloned()
            .collect();
        if !missing.is_empty() {
            heads.extend(
                self.writer
                    .run(move |tx| Box::pin(log::create(tx, missing)))
                    .await?,
            );
        }
        Ok(logs
            .iter()
            .filter_map(|log| heads.get(log).cloned())
            .collect())
    }

    async fn stopped(&self) {
        self.writer.stopped().await;
    }

    async fn trim_logs(&self, keep: u64, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.writer
            .run(move |tx| Box::pin(log::trim(tx, keep, before, limit)))
            .await
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(refused) => match refused.code().as_deref().map(primary) {
                // SQLITE_FULL
                Some(Some(13)) => Self::Full(error.to_string()),
                // SQLITE_BUSY, SQLITE_LOCKED, SQLITE_IOERR, SQLITE_CANTOPEN
                Some(Some(5 | 6 | 10 | 14)) => Self::Unavailable(error.to_string()),
                _ => Self::Invalid(error.to_string()),
            },
            sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) => Self::Unavailable(error.to_string()),
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => Self::Closed,
            _ => Self::Invalid(error.to_string()),
        }
    }
}

/// SQLite's primary result code, which is the low byte of the extended one.
fn primary(code: &str) -> Option<u32> {
    code.parse::<u32>().ok().map(|code| code & 0xff)
}
