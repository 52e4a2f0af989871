//! The index of stored files: what history, lists and downloads look files up in.

pub mod mongodb;
mod open;
pub mod sqlite;

pub use open::OpenError;
pub(crate) use open::open;

use async_trait::async_trait;
use jiff::Timestamp;
use protocol::{
    FileId, PoolId, TenantId, TransferStatus, UserId,
    file::{Cursor, FileInfo},
};

/// Why the index refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IndexError {
    /// The engine did not do it now; the same call may succeed later.
    #[error("the index is unavailable: {0}")]
    Unavailable(String),
    /// Another file's entry names the same upload.
    #[error("another file came from the same upload as {0}")]
    Conflict(FileId),
    /// An entry cannot be read: it was written by something else, or the engine's file is damaged.
    #[error("an entry of the index cannot be read: {0}")]
    Damaged(String),
}

/// An entry: a stored file and the tenant it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedFile {
    /// The tenant of the owner.
    pub tenant: TenantId,
    /// The file. Its times have the index's resolution, microseconds; its `digest` and `stored_at` are known and its
    /// `reason` is not kept, since there is none for a stored file.
    pub info: FileInfo,
}

/// Which files a page holds. Absent fields do not narrow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Only this tenant's.
    pub tenant: TenantId,
    /// Only this user's.
    pub owner: Option<UserId>,
    /// Only those sent to this pool.
    pub pool: Option<PoolId>,
    /// Only those with this status.
    pub status: Option<TransferStatus>,
    /// Only those with this tag.
    pub tag: Option<String>,
    /// Only those received at or after this time.
    pub from: Option<Timestamp>,
    /// Only those received before this time.
    pub to: Option<Timestamp>,
    /// Only those that follow this place.
    pub after: Option<Cursor>,
    /// How many at most.
    pub limit: u32,
}

impl Selection {
    /// Whether there can be such a file here, where all files are stored.
    pub(crate) fn is_of_stored(&self) -> bool {
        self.status
            .is_none_or(|status| status == TransferStatus::UploadedSuccessfully)
    }
}

/// An entry, as the sweeper goes over all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// The file.
    pub file: FileId,
    /// The tenant of the owner.
    pub tenant: TenantId,
}

/// The port.
#[async_trait]
pub trait Index: Send + Sync + 'static {
    /// Adds a file and answers the entry that the index holds then: an entry that is already there stays as it is. When it
    /// returns, the entry survives a power cut.
    ///
    /// # Errors
    /// [`IndexError::Conflict`].
    async fn insert(&self, file: &IndexedFile) -> Result<IndexedFile, IndexError>;

    /// The entry of a file, if there is one.
    ///
    /// # Errors
    /// [`IndexError::Damaged`].
    async fn get(&self, file: FileId) -> Result<Option<IndexedFile>, IndexError>;

    /// The files selected, by `(received_at, file_id)`, newest first.
    ///
    /// # Errors
    /// [`IndexError::Damaged`].
    async fn page(&self, selection: &Selection) -> Result<Vec<FileInfo>, IndexError>;

    /// Removes the entry of a file; removing what is not there is no error.
    ///
    /// # Errors
    /// [`IndexError::Unavailable`].
    async fn remove(&self, file: FileId) -> Result<(), IndexError>;

    /// Those of `files` that have no entry.
    ///
    /// # Errors
    /// [`IndexError::Unavailable`].
    async fn missing(&self, files: &[FileId]) -> Result<Vec<FileId>, IndexError>;

    /// Entries in the order of their files' ids: those that follow `after`, or the first, at most `limit`.
    ///
    /// # Errors
    /// [`IndexError::Unavailable`], [`IndexError::Damaged`].
    async fn walk(&self, after: Option<FileId>, limit: u32) -> Result<Vec<Walked>, IndexError>;

    /// Whether the engine answers at all.
    ///
    /// # Errors
    /// [`IndexError::Unavailable`].
    async fn ping(&self) -> Result<(), IndexError>;
}

/// Microseconds, rounded up: of whole microseconds `t`, those with `t >= x` are those with `t >= ceil(x)`.
fn ceil_microsecond(time: Timestamp) -> i64 {
    let micros = time.as_microsecond();
    micros + i64::from(time.as_nanosecond() > i128::from(micros) * 1_000)
}

#[cfg(test)]
mod conformance;
