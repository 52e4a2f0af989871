//! What servers send: replies and what they push, as JSON, and why they close.

use super::{RequestId, StreamId};
use crate::{
    digest::Digest,
    error::Refusal,
    event::Notification,
    file::FileInfo,
    identity::Role,
    ids::{FileId, SessionId, UploadId, UserId},
    state::TransferStatus,
    topic::{Topic, TopicState},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a server sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ServerMessage {
    /// The session is open.
    Connected(Connected),
    /// The upload is open (or how it ended).
    TransferStarted(TransferStarted),
    /// Every byte before `offset` is in the cache.
    ChunkAcked(ChunkAcked),
    /// The file is whole, verified and synced.
    UploadCompleted(UploadCompleted),
    /// The upload is given up.
    UploadAborted(UploadAborted),
    /// A page of files.
    History(History),
    /// The topic is heard.
    Subscribed(Subscribed),
    /// The topic is heard no more.
    Unsubscribed(Unsubscribed),
    /// The session goes on with the fresh token.
    Refreshed(Refreshed),
    /// The receipt is noted.
    Acknowledged(Acknowledged),
    /// A sign of life.
    Alive(AliveReply),
    /// An event.
    Notification(Notification),
    /// The token will expire.
    TokenExpiring(TokenExpiring),
    /// The server is going to restart.
    Draining(Draining),
    /// A refusal.
    Error(ErrorMessage),
}

impl ServerMessage {
    /// The message as a text frame.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Only maps with keys that are no strings can fail to serialise; no message has one.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// `connected`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connected {
    /// Of the request.
    pub id: RequestId,
    /// The session.
    pub session_id: SessionId,
    /// Who is connected.
    pub user: ConnectedUser,
    /// How often the server pings, in milliseconds; silence for two is the end.
    pub heartbeat_ms: u64,
    /// What this session may do.
    pub limits: Limits,
    /// The topics that are always on.
    pub topics: Vec<TopicState>,
}

/// Who is connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectedUser {
    /// The account.
    pub id: UserId,
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
}

/// What a session may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Largest payload of a chunk, bytes.
    pub max_chunk_bytes: u64,
    /// Bytes of one stream that may be sent and not yet acknowledged.
    pub window_bytes: u64,
    /// Largest file, bytes.
    pub max_file_bytes: u64,
    /// Uploads that may be open at once in this session.
    pub max_open_uploads: u32,
    /// Largest message of any kind, bytes.
    pub max_message_bytes: u64,
}

/// `transfer-started`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferStarted {
    /// Of the request.
    pub id: RequestId,
    /// Of the request.
    pub stream: StreamId,
    /// The upload.
    pub upload_id: UploadId,
    /// Bytes held: continue there.
    pub offset: u64,
    /// `open`, or how it ended.
    pub status: TransferStatus,
    /// The file it is or becomes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_id: Option<FileId>,
    /// A good payload size for its chunks, bytes.
    pub chunk_bytes: u64,
    /// When it expires if it is still open then.
    pub expires_at: Timestamp,
}

/// `chunk-acked`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkAcked {
    /// The stream.
    pub stream: StreamId,
    /// The upload.
    pub upload_id: UploadId,
    /// Every byte before it is in the cache.
    pub offset: u64,
}

/// `upload-completed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadCompleted {
    /// Of the request.
    pub id: RequestId,
    /// The upload.
    pub upload_id: UploadId,
    /// The file it became.
    pub file_id: FileId,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
    /// Always `cached`: what this reply promises, whatever has become of the file since.
    pub status: TransferStatus,
}

/// `upload-aborted`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadAborted {
    /// Of the request.
    pub id: RequestId,
    /// The upload.
    pub upload_id: UploadId,
}

/// `history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Of the request.
    pub id: RequestId,
    /// Newest first.
    pub files: Vec<FileInfo>,
    /// Where the next page begins; null on the last one.
    pub next_cursor: Option<String>,
}

/// `subscribed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribed {
    /// Of the request.
    pub id: RequestId,
    /// How the topic stands.
    #[serde(flatten)]
    pub state: TopicState,
}

/// `unsubscribed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsubscribed {
    /// Of the request.
    pub id: RequestId,
    /// The topic.
    pub topic: Topic,
}

/// `refreshed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refreshed {
    /// Of the request.
    pub id: RequestId,
    /// When the fresh token expires.
    pub expires_at: Timestamp,
}

/// `acknowledged`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Of the request.
    pub id: RequestId,
    /// The round.
    pub round_id: String,
}

/// `alive`, the reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliveReply {
    /// Of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<RequestId>,
    /// The server's clock.
    pub time: Timestamp,
}

/// `token-expiring`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenExpiring {
    /// When.
    pub expires_at: Timestamp,
}

/// `draining`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// When to come back, milliseconds from now.
    pub retry_after_ms: u64,
}

/// `error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorMessage {
    /// Of the request, if it is about one and its id could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<RequestId>,
    /// The stream it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamId>,
    /// The upload it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_id: Option<UploadId>,
    /// What went wrong, for people, in short.
    pub title: String,
    /// Whether the same request can succeed later.
    pub retryable: bool,
    /// What went wrong.
    #[serde(flatten)]
    pub refusal: Refusal,
}

/// When to come back where the contract promises a time and nothing better is known, in milliseconds.
const RETRY_AFTER_MS: u64 = 1000;

impl ErrorMessage {
    /// The message of a refusal that is about nothing in particular. One that only asks to wait always says how long.
    #[must_use]
    pub fn new(mut refusal: Refusal) -> Self {
        if refusal.code.asks_to_wait() {
            refusal.retry_after_ms.get_or_insert(RETRY_AFTER_MS);
        }
        Self {
            id: None,
            stream: None,
            upload_id: None,
            title: refusal.code.title().to_owned(),
            retryable: refusal.code.is_retryable(),
            refusal,
        }
    }
}

/// Why a server closes a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// 1001: the server goes away.
    GoingAway,
    /// 1009: a message is larger than allowed.
    MessageTooBig,
    /// 1011: the server has failed.
    Internal,
    /// 1012: the server restarts.
    Restart,
    /// 1013: the server is overloaded.
    Overloaded,
    /// 4400: malformed.
    Malformed,
    /// 4401: no, bad, expired or revoked token.
    Unauthenticated,
    /// 4403: forbidden.
    Forbidden,
    /// 4408: silence.
    Timeout,
    /// 4409: another session of the same device.
    TakenOver,
    /// 4410: the client reads too slowly.
    SlowConsumer,
    /// 4429: rate limited.
    RateLimited,
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::GoingAway => 1001,
            Self::MessageTooBig => 1009,
            Self::Internal => 1011,
            Self::Restart => 1012,
            Self::Overloaded => 1013,
            Self::Malformed => 4400,
            Self::Unauthenticated => 4401,
            Self::Forbidden => 4403,
            Self::Timeout => 4408,
            Self::TakenOver => 4409,
            Self::SlowConsumer => 4410,
            Self::RateLimited => 4429,
        }
    }

    /// Whether a client should connect again by itself.
    #[must_use]
    pub fn is_reconnect(code: u16) -> bool {
        !matches!(code, 1009 | 4400 | 4401 | 4403 | 4409)
    }
}
