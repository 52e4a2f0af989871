//! Events: what notifications say.

use crate::{
    digest::Digest,
    identity::Owner,
    ids::{FileId, PoolId, UploadId},
    state::TransferStatus,
    topic::Topic,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The kind of an event, as written in a notification's `event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventKind {
    /// All bytes of a file are held and verified.
    #[serde(rename = "file.cached")]
    FileCached,
    /// A file is stored and indexed.
    #[serde(rename = "file.uploaded_successfully")]
    FileUploadedSuccessfully,
    /// An attempt to store a file failed; another follows.
    #[serde(rename = "file.retrying")]
    FileRetrying,
    /// A file could not be stored; it is gone from the server.
    #[serde(rename = "file.upload_failed")]
    FileUploadFailed,
    /// A file was deleted.
    #[serde(rename = "file.deleted")]
    FileDeleted,
}

impl EventKind {
    /// The kind as written on the wire and in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FileCached => "file.cached",
            Self::FileUploadedSuccessfully => "file.uploaded_successfully",
            Self::FileRetrying => "file.retrying",
            Self::FileUploadFailed => "file.upload_failed",
            Self::FileDeleted => "file.deleted",
        }
    }
}

/// The `data` of `file.*` events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEvent {
    /// The upload that brought the file.
    pub upload_id: UploadId,
    /// The file.
    pub file_id: FileId,
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest; null where not yet known.
    pub digest: Option<Digest>,
    /// How it stands now.
    pub status: TransferStatus,
    /// Whose it is.
    pub owner: Owner,
    /// The pool it was sent to, if any.
    pub pool: Option<PoolId>,
    /// The attempt to store it that this event is about, from 1; null before the first.
    pub attempt: Option<u32>,
    /// Why an attempt failed.
    pub reason: Option<String>,
}

/// An entry of a topic's log, as pushed to clients in `notification`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The topic.
    pub topic: Topic,
    /// The topic's epoch.
    pub epoch: String,
    /// Number within the topic: dense, one by one.
    pub offset: u64,
    /// The kind of event, such as `file.cached`. A text, since kinds may be added.
    pub event: String,
    /// When it happened.
    pub time: Timestamp,
    /// What happened; for `file.*` a [`FileEvent`].
    pub data: serde_json::Value,
}
