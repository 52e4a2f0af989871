//! The port in SQL, written once and compiled for each engine by the engine's own module.
//!
//! That module, `super` here, is where the engines differ:
//! - `Db`: the engine, as `sqlx` calls it;
//! - `Engine`: how connections come about and end. `begin` starts a transaction that locks out every other writer, with a
//!   savepoint `job` set; `abandon` undoes one that failed, and keeps the connection if it is of further use; `in_time` bounds
//!   a transaction; `read` lends a connection that reads;
//! - `TAGS_OF_UPLOAD`: a table of the tags of a row of `uploads`, with one column `value`;
//! - `WHOLE_TABLES`: what to say before and after a statement for which whole tables are to be read;
//! - `SHARED`: whether other processes write to the same database.
//!
//! Numbers are BIGINT and everything else is TEXT, so that a migration, too, is written once.

mod changes;
mod log;
mod outbox;
mod rows;
mod set;
mod sweep;
mod uploads;
pub(super) mod writer;

use super::{Db, Engine, SHARED, TAGS_OF_UPLOAD, WHOLE_TABLES};
use crate::store::{
    Applied, Change, Dispatch, Dispatched, Opened, OutboxDepth, Signals, Store, StoreError,
};
use async_trait::async_trait;
use jiff::Timestamp;
use protocol::{
    FileId, TenantId, Topic, TransferStatus, UploadId, UploadKey,
    file::{Cursor, FileQuery},
    upload::{LogHead, LogPage, Upload},
};
use std::{collections::HashMap, sync::Arc};
use writer::Writer;

/// A connection to the engine.
pub(super) type Connection = <Db as sqlx::Database>::Connection;

/// A row that the engine answers.
type Row = <Db as sqlx::Database>::Row;

/// The store in a database.
pub(super) struct SqlStore {
    writer: Writer,
    engine: Arc<Engine>,
}

impl SqlStore {
    /// The store in the engine's database; `db` is its connection for writing, if there is one already.
    pub(super) fn new(engine: Engine, db: Option<Connection>, signals: Arc<Signals>) -> Self {
        let engine = Arc::new(engine);
        Self {
            writer: Writer::start(Arc::clone(&engine), db, signals),
            engine,
        }
    }
}

#[async_trait]
impl Store for SqlStore {
    async fn open(
        &self,
        upload: &Upload,
        key: Option<UploadKey>,
        quota: Option<u64>,
    ) -> Result<Opened, StoreError> {
        let upload = upload.clone();
        self.writer.ask(uploads::Open { upload, key, quota }).await
    }

    async fn upload(&self, id: UploadId) -> Result<Option<Upload>, StoreError> {
        self.engine
            .read(async |db| uploads::by_id(db, id).await)
            .await
    }

    async fn upload_of_file(&self, id: FileId) -> Result<Option<Upload>, StoreError> {
        self.engine
            .read(async |db| uploads::by_file(db, id).await)
            .await
    }

    async fn apply(
        &self,
        id: UploadId,
        change: Change,
        at: Timestamp,
    ) -> Result<Option<Applied>, StoreError> {
        self.writer.ask(changes::Apply { id, change, at }).await
    }

    async fn files(
        &self,
        tenant: &TenantId,
        query: &FileQuery,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Vec<Upload>, StoreError> {
        self.engine
            .read(async |db| uploads::files(db, tenant, query, after, limit).await)
            .await
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
        self.engine.read(outbox::depth).await
    }

    async fn overdue(&self, now: Timestamp, limit: u32) -> Result<Vec<UploadId>, StoreError> {
        self.engine
            .read(async |db| sweep::overdue(db, now, limit).await)
            .await
    }

    async fn statuses(
        &self,
        ids: &[UploadId],
    ) -> Result<HashMap<UploadId, TransferStatus>, StoreError> {
        self.engine
            .read(async |db| sweep::statuses(db, ids).await)
            .await
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
        let page = || {
            self.engine
                .read(async |db| log::page(db, topic, &name, after, limit).await)
        };
        if let Some(page) = page().await? {
            return Ok(page);
        }
        self.heads(std::slice::from_ref(&name)).await?;
        page()
            .await?
            .ok_or_else(|| StoreError::Invalid(format!("the log {name} was made and is not there")))
    }

    async fn heads(&self, logs: &[String]) -> Result<Vec<LogHead>, StoreError> {
        let mut heads = self
            .engine
            .read(async |db| log::heads(db, logs).await)
            .await?;
        let missing: Vec<String> = logs
            .iter()
            .filter(|log| !heads.contains_key(*log))
            .cloned()
            .collect();
        if !missing.is_empty() {
            heads.extend(self.writer.ask(log::Create(missing)).await?);
        }
        Ok(logs
            .iter()
            .filter_map(|log| heads.get(log).cloned())
            .collect())
    }

    async fn trim_logs(&self, keep: u64, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.writer
            .run(move |tx| Box::pin(log::trim(tx, keep, before, limit)))
            .await
    }

    fn is_shared(&self) -> bool {
        SHARED
    }

    async fn stopped(&self) {
        self.writer.stopped().await;
    }
}
