//! The port to what must not be lost: the state of uploads, the outbox and the notification log.
//!
//! Each method is one transaction. State changes are conditional on the state they start from, so whoever loses a race
//! changes nothing and learns how things stand. Each method can be repeated, also after [`StoreError::Unavailable`], when a
//! change may have been made although nobody could say so.

mod change;
mod error;
#[expect(
    clippy::duplicate_mod,
    reason = "the SQL is written once and compiled for each engine"
)]
mod postgres;
mod signals;
mod sqlite;

#[cfg(test)]
mod conformance;

use async_trait::async_trait;
use jiff::Timestamp;
use protocol::{
    FileId, TenantId, Topic, TransferStatus, UploadId, UploadKey,
    file::{Cursor, FileQuery},
    upload::{LogHead, LogPage, PersistFile, Upload},
};
use service_kit::{database::Database, migrations::Step};
use std::{collections::HashMap, num::NonZeroU32, sync::Arc};

pub use change::{Change, Outbox};
pub use error::StoreError;
pub use signals::{Effects, Signals};

/// Opens the store that `url` names, `sqlite:<path>` or `postgres://user:password@host/database`, and brings its schema up to
/// date. `readers` connections read.
///
/// A PostgreSQL server that can't be reached is no error: the store answers [`StoreError::Unavailable`] until it can.
///
/// # Errors
/// [`StoreError`] when the URL names no store, the file can't be opened, the server refuses this user or database, or the
/// schema was made by a newer version.
pub async fn open(
    url: &str,
    readers: NonZeroU32,
    signals: Arc<Signals>,
) -> Result<Arc<dyn Store>, StoreError> {
    let database = Database::parse(url).map_err(|error| StoreError::Invalid(error.to_string()))?;
    match database {
        Database::Sqlite(path) => sqlite::open(&path, readers, signals).await,
        Database::Postgres(server) => postgres::open(server, readers, signals).await,
    }
}

/// The tables, written once for all engines.
const STEPS: &[Step] = &[Step {
    name: "0001_uploads",
    sql: include_str!("../../migrations/0001_uploads.sql"),
}];

/// What became of a request to open an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It is open now.
    Created,
    /// The owner opened one with this key before.
    Existing(Box<Upload>),
    /// The owner's quota does not allow it.
    QuotaExceeded {
        /// Bytes of the owner's uploads that are under way or stored.
        used: u64,
    },
}

/// What became of a [`Change`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The upload as it stands now.
    pub upload: Upload,
    /// Whether the change was made; if not, the upload was not in the state the change starts from.
    pub changed: bool,
}

/// An attempt that the queue has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Of which upload.
    pub upload: UploadId,
    /// The attempt, from 1.
    pub attempt: u32,
}

/// Which attempts to take from the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// What the queue has taken of the attempts dispatched before.
    pub queued: Vec<Queued>,
    /// Now: what is due by then is taken.
    pub now: Timestamp,
    /// Those dispatched at or before this time are taken again.
    pub lost_before: Timestamp,
    /// Those dispatched at or before this time, and not known to be queued, are taken again.
    pub unqueued_before: Timestamp,
    /// How many may be dispatched and not resolved.
    pub max_in_flight: u32,
    /// How many to take at most.
    pub limit: u32,
}

/// Attempts taken from the outbox; their uploads are `storing`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dispatched {
    /// What to queue.
    pub work: Vec<PersistFile>,
    /// When the next attempt that may be dispatched is due, if one is known of.
    pub next_due: Option<Timestamp>,
    /// When the oldest dispatched attempt was dispatched.
    pub oldest_dispatch: Option<Timestamp>,
    /// Whether as many are dispatched as may be, so that others have to wait for reports.
    pub is_full: bool,
}

/// How much waits in the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxDepth {
    /// Attempts that wait for their time, or for room in the queue.
    pub waiting: u64,
    /// Attempts that were queued and not reported on.
    pub dispatched: u64,
}

/// The port.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Adds an upload, unless its owner has one with the same key, or would have more bytes than `quota`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn open(
        &self,
        upload: &Upload,
        key: Option<UploadKey>,
        quota: Option<u64>,
    ) -> Result<Opened, StoreError>;

    /// An upload by its id.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn upload(&self, id: UploadId) -> Result<Option<Upload>, StoreError>;

    /// The upload that brought a file.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn upload_of_file(&self, id: FileId) -> Result<Option<Upload>, StoreError>;

    /// Changes an upload's state, together with the outbox, the owner's used bytes and the notifications that the change
    /// brings; nothing at all if the upload is not in the state that the change starts from. None if there is no such upload.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn apply(
        &self,
        id: UploadId,
        change: Change,
        at: Timestamp,
    ) -> Result<Option<Applied>, StoreError>;

    /// Files of the tenant that are not stored, or could not be, newest first. `query`'s cursor is ignored in favour of
    /// `after`, its limit in favour of `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn files(
        &self,
        tenant: &TenantId,
        query: &FileQuery,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Vec<Upload>, StoreError>;

    /// Takes attempts that are due from the outbox and makes their uploads `storing`. They stay in the outbox until they
    /// are resolved.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn dispatch(&self, dispatch: Dispatch) -> Result<Dispatched, StoreError>;

    /// Makes every dispatched attempt due again, since the queue that held them is gone; answers how many there were.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn forget_dispatches(&self) -> Result<u64, StoreError>;

    /// How much waits in the outbox.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn outbox_depth(&self) -> Result<OutboxDepth, StoreError>;

    /// Uploads that are still open although their lifetime is over at `now`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn overdue(&self, now: Timestamp, limit: u32) -> Result<Vec<UploadId>, StoreError>;

    /// The status of each of these uploads that is known.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn statuses(
        &self,
        ids: &[UploadId],
    ) -> Result<HashMap<UploadId, TransferStatus>, StoreError>;

    /// Deletes uploads that ended before a time, `upload_failed` ones excepted; answers how many.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn purge(&self, ended_before: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// A stretch of a topic's log: the notifications after number `after`. A topic that has no log yet gets one.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn log(
        &self,
        topic: Topic,
        tenant: &TenantId,
        after: u64,
        limit: u32,
    ) -> Result<LogPage, StoreError>;

    /// The heads of logs, in the order asked for. A log that does not exist yet is made.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn heads(&self, logs: &[String]) -> Result<Vec<LogHead>, StoreError>;

    /// Forgets some of the oldest notifications of some topics: of those beyond the newest `keep`, and of those from before a
    /// time. Answers how many topics were trimmed, `limit` of them at most; if none, nothing is left to forget.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn trim_logs(&self, keep: u64, before: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// Whether other processes change the same state, so that not every change is signalled in this one.
    fn is_shared(&self) -> bool;

    /// Waits until the store has stopped, which it never does by itself unless it fails.
    async fn stopped(&self);
}
