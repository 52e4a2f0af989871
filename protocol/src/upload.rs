//! An upload as services and `/api/v1/uploads/{id}` show it, and the calls between `gateway`, `uploader` and `file-manager`.

use crate::{
    digest::{Digest, DigestAlgorithm},
    event::Notification,
    file::FileInfo,
    identity::{Caller, Owner},
    ids::{BatchId, FileId, PoolId, TenantId, UploadId, UploadKey},
    state::TransferStatus,
    topic::Topic,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// What a client says of a file when it starts to send it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMeta {
    /// The file's name, without a folder.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Its digest, if the client knows it already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The pool it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolId>,
    /// When the device made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captured_at: Option<Timestamp>,
    /// The batch it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchId>,
    /// A title for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// A description for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

impl FileMeta {
    /// The algorithm of the file's digest: the announced one's, SHA-256 if none was.
    #[must_use]
    pub fn digest_algorithm(&self) -> DigestAlgorithm {
        self.digest
            .map(|digest| digest.algorithm)
            .unwrap_or_default()
    }
}

/// The state of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// The upload.
    pub upload_id: UploadId,
    /// The file it becomes; the id is given when the upload is opened.
    pub file_id: FileId,
    /// Whose it is.
    pub owner: Owner,
    /// The owner's tenant.
    pub tenant: TenantId,
    /// What the client said of the file.
    #[serde(flatten)]
    pub meta: FileMeta,
    /// The digest computed over the bytes received; null before `cached`.
    pub computed_digest: Option<Digest>,
    /// How it stands.
    pub status: TransferStatus,
    /// Attempts to store it so far.
    pub attempts: u32,
    /// Code and text of what ended it, for `rejected` and `upload_failed`.
    pub reason: Option<String>,
    /// The error code that repeats when the client asks again, for `rejected`.
    pub code: Option<crate::ErrorCode>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it expires if it is still open then.
    pub expires_at: Timestamp,
    /// When its last byte was accepted.
    pub received_at: Option<Timestamp>,
}

impl Upload {
    /// The upload as the file that it has become, if it has; a tag given twice counts once.
    #[must_use]
    pub fn file(&self) -> Option<FileInfo> {
        let received_at = self.received_at.filter(|_| self.status.is_file())?;
        let meta = self.meta.clone();
        let mut seen = HashSet::new();
        Some(FileInfo {
            file_id: self.file_id,
            upload_id: self.upload_id,
            name: meta.name,
            size: meta.size,
            content_type: meta.content_type,
            digest: self.computed_digest.or(meta.digest),
            status: self.status,
            owner: self.owner.clone(),
            pool: meta.pool,
            batch: meta.batch,
            captured_at: meta.captured_at,
            received_at,
            stored_at: None,
            attempts: self.attempts,
            reason: self.reason.clone(),
            title: meta.title,
            description: meta.description,
            tags: meta
                .tags
                .into_iter()
                .filter(|tag| seen.insert(tag.clone()))
                .collect(),
        })
    }
}

/// What `GET /api/v1/uploads/{id}` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadView {
    /// The upload.
    pub upload_id: UploadId,
    /// The file it becomes.
    pub file_id: FileId,
    /// The file's name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes held so far.
    pub offset: u64,
    /// How it stands.
    pub status: TransferStatus,
    /// The digest: the computed one, or else the announced one.
    pub digest: Option<Digest>,
    /// Attempts to store it so far.
    pub attempts: u32,
    /// Why it ended.
    pub reason: Option<String>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it expires if it is still open then.
    pub expires_at: Timestamp,
}

/// Gateway → uploader `POST /uploads`: open an upload, or find the one opened with the same key. Answers an [`Upload`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenUpload {
    /// Who opens it.
    pub caller: Caller,
    /// The client's key for the file.
    pub key: Option<UploadKey>,
    /// What the client said of it.
    pub meta: FileMeta,
}

/// Gateway → uploader `POST /file/upload`: all bytes are in the chunk cache; verify, seal and queue the file. Answers an
/// [`Upload`]; repeating it repeats the answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SubmitFile {
    /// The upload.
    pub upload_id: UploadId,
    /// Who sent it.
    pub caller: Caller,
    /// The generation that holds the upload in the chunk cache.
    pub generation: u64,
    /// Bytes received.
    pub size: u64,
    /// Digest computed over the bytes as they passed.
    pub computed: Digest,
    /// Digest that the client gave at `complete-upload`.
    pub announced: Option<Digest>,
}

/// Gateway → uploader `POST /uploads/{id}/end`: the upload is refused for its content, or given up by its owner. Answers
/// the [`Upload`] as it stands then, which is another if it had ended before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EndUpload {
    /// Who sent it.
    pub caller: Caller,
    /// `rejected` or `aborted`.
    pub status: TransferStatus,
    /// What refused it.
    pub refusal: Option<crate::Refusal>,
}

/// Uploader → file-manager, by queue: store this file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersistFile {
    /// The upload with all that is known of it.
    pub upload: Upload,
    /// Which attempt this is, from 1.
    pub attempt: u32,
}

/// File-manager → uploader `PUT /file/update/status`: how an attempt ended. Answers a [`StatusUpdated`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStatus {
    /// The upload.
    pub upload_id: UploadId,
    /// The attempt reported on; a report on another than the present one changes nothing.
    pub attempt: u32,
    /// How it ended.
    pub outcome: AttemptOutcome,
}

/// How an attempt to store a file ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// Stored and indexed.
    UploadedSuccessfully {
        /// When.
        stored_at: Timestamp,
    },
    /// The store answered with a failure for this file.
    UploadFailed {
        /// Why.
        reason: String,
        /// Whether another attempt can't help: a wrong digest, an empty file.
        permanent: bool,
    },
}

/// What the uploader made of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusUpdated {
    /// The upload after it.
    pub upload: Upload,
}

/// File-manager → uploader `PUT /file/update/statuses`: how several attempts ended, [`MAX_REPORTS`] of them at most. Each is
/// what it would be alone. Answers a [`StatusesUpdated`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStatuses {
    /// The reports.
    pub reports: Vec<UpdateStatus>,
}

/// Reports that one call may have.
pub const MAX_REPORTS: usize = 256;

/// What the uploader made of several reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusesUpdated {
    /// The status of each upload after it, in the order of the reports; none of one that the uploader does not know.
    pub statuses: Vec<Option<TransferStatus>>,
}

/// Uploader `GET /notifications?topic=…&tenant=…&after=…&limit=…` (a [`LogQuery`]): a stretch of one topic's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPage {
    /// The topic's epoch.
    pub epoch: String,
    /// Number of the newest notification of the topic, 0 if there is none.
    pub head: u64,
    /// Number of the oldest one kept; `head + 1` if none is.
    pub oldest: u64,
    /// The notifications asked for, in order.
    pub notifications: Vec<Notification>,
}

/// Which stretch of which log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogQuery {
    /// The topic.
    pub topic: Topic,
    /// The tenant, which tells one `admin` topic from another.
    pub tenant: TenantId,
    /// Those with a larger number than this.
    pub after: u64,
    /// How many at most; 0 asks for the head alone.
    pub limit: u32,
}

/// Uploader `GET /notifications/heads?log=…&log=…` answers a list of these, in the order asked for: how far a topic's log has
/// come. Logs go by the name that [`Topic::log_name`] gives them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHead {
    /// The log's name.
    pub log: String,
    /// The topic's epoch.
    pub epoch: String,
    /// Number of the newest notification of the topic, 0 if there is none.
    pub head: u64,
    /// Number of the oldest one kept; `head + 1` if none is.
    pub oldest: u64,
}

/// Uploader → gateways, by broadcast: a notification was committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The tenant of the topic.
    pub tenant: TenantId,
    /// The notification.
    pub notification: Notification,
}
