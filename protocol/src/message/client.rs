//! What clients send: requests as JSON.

use super::{RequestId, StreamId};
use crate::{
    digest::Digest,
    error::{ErrorCode, Refusal},
    file::FileQuery,
    ids::{BatchId, PoolId, UploadId, UploadKey, UserId},
    state::TransferStatus,
    topic::{Position, Since, Topic},
    upload::FileMeta,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ClientMessage {
    /// The first message of a session.
    Connect(Connect),
    /// Opens an upload, or resumes one.
    StartTransfer(StartTransfer),
    /// All bytes are sent; make it a file.
    CompleteUpload(CompleteUpload),
    /// Give an upload up.
    AbortUpload(AbortUpload),
    /// One's files, newest first.
    GetHistory(GetHistory),
    /// Hear a topic.
    Subscribe(Subscribe),
    /// Hear a topic no more.
    Unsubscribe(Unsubscribe),
    /// Go on with a fresh token.
    Refresh(Refresh),
    /// Say what became of a round's result.
    Acknowledge(Acknowledge),
    /// A sign of life.
    Alive(Alive),
}

/// `connect`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connect {
    /// Request id.
    pub id: RequestId,
    /// The token, unless it came with the upgrade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token: Option<String>,
    /// What the client has seen of its topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
    /// What the client is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientInfo>,
}

/// The name and version of a client program, for logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientInfo {
    /// The program's name.
    #[serde(default)]
    pub name: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
}

/// `start-transfer`: with `upload_id` a resume, otherwise a new upload (or the one of the same `key`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StartTransferWire", into = "StartTransferWire")]
pub struct StartTransfer {
    /// Request id.
    pub id: RequestId,
    /// The number by which chunks will name this upload.
    pub stream: StreamId,
    /// What to start.
    pub what: Start,
}

/// What a `start-transfer` starts.
#[allow(
    clippy::large_enum_variant,
    reason = "one is moved at a time, few are kept: a box would only cost"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// A new upload, or the one opened before with the same key.
    Open {
        /// The client's own name for the file.
        key: Option<UploadKey>,
        /// What the file is.
        meta: FileMeta,
    },
    /// An upload that exists.
    Resume {
        /// Which.
        upload_id: UploadId,
    },
}

#[derive(Serialize, Deserialize)]
struct StartTransferWire {
    id: RequestId,
    stream: StreamId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upload_id: Option<UploadId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<UploadKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pool: Option<PoolId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    captured_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    batch: Option<BatchId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<String>>,
}

impl TryFrom<StartTransferWire> for StartTransfer {
    type Error = &'static str;

    fn try_from(wire: StartTransferWire) -> Result<Self, Self::Error> {
        let what = match wire.upload_id {
            Some(upload_id) => Start::Resume { upload_id },
            None => Start::Open {
                key: wire.key,
                meta: FileMeta {
                    name: wire.name.ok_or("missing field `name`")?,
                    size: wire.size.ok_or("missing field `size`")?,
                    content_type: wire.content_type,
                    digest: wire.digest,
                    pool: wire.pool,
                    captured_at: wire.captured_at,
                    batch: wire.batch,
                    title: wire.title,
                    description: wire.description,
                    tags: wire.tags.unwrap_or_default(),
                },
            },
        };
        Ok(Self {
            id: wire.id,
            stream: wire.stream,
            what,
        })
    }
}

impl From<StartTransfer> for StartTransferWire {
    fn from(start: StartTransfer) -> Self {
        let (upload_id, key, meta) = match start.what {
            Start::Resume { upload_id } => (Some(upload_id), None, None),
            Start::Open { key, meta } => (None, key, Some(meta)),
        };
        let (name, size) = meta
            .as_ref()
            .map(|meta| (meta.name.clone(), meta.size))
            .unzip();
        let tags = meta
            .as_ref()
            .map(|meta| meta.tags.clone())
            .filter(|tags| !tags.is_empty());
        let meta = meta.as_ref();
        Self {
            id: start.id,
            stream: start.stream,
            upload_id,
            key,
            name,
            size,
            content_type: meta.and_then(|meta| meta.content_type.clone()),
            digest: meta.and_then(|meta| meta.digest),
            pool: meta.and_then(|meta| meta.pool),
            captured_at: meta.and_then(|meta| meta.captured_at),
            batch: meta.and_then(|meta| meta.batch),
            title: meta.and_then(|meta| meta.title.clone()),
            description: meta.and_then(|meta| meta.description.clone()),
            tags,
        }
    }
}

/// Names an upload by the session's stream or by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadRef {
    /// By the number that this session gave it.
    Stream(StreamId),
    /// By its id.
    Upload(UploadId),
}

#[derive(Serialize, Deserialize)]
struct UploadRefWire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream: Option<StreamId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upload_id: Option<UploadId>,
}

impl Serialize for UploadRef {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (stream, upload_id) = match *self {
            Self::Stream(stream) => (Some(stream), None),
            Self::Upload(upload_id) => (None, Some(upload_id)),
        };
        UploadRefWire { stream, upload_id }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for UploadRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = UploadRefWire::deserialize(deserializer)?;
        match (wire.stream, wire.upload_id) {
            (Some(stream), _) => Ok(Self::Stream(stream)),
            (None, Some(upload_id)) => Ok(Self::Upload(upload_id)),
            (None, None) => Err(serde::de::Error::custom(
                "missing field `stream` or `upload_id`",
            )),
        }
    }
}

/// `complete-upload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompleteUpload {
    /// Request id.
    pub id: RequestId,
    /// Which upload.
    #[serde(flatten)]
    pub upload: UploadRef,
    /// The file's digest, if it was not known at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// `abort-upload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbortUpload {
    /// Request id.
    pub id: RequestId,
    /// Which upload.
    #[serde(flatten)]
    pub upload: UploadRef,
}

/// `get-history`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetHistory {
    /// Request id.
    pub id: RequestId,
    /// Another user's history; for admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// Only files of this pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolId>,
    /// Only files with this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<TransferStatus>,
    /// The page's beginning: a `next_cursor` got before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Files per page, 1 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl GetHistory {
    /// The query over files that this asks for when `user` sends it.
    #[must_use]
    pub fn query(&self, user: UserId) -> FileQuery {
        FileQuery {
            owner: Some(self.user.unwrap_or(user)),
            pool: self.pool,
            status: self.status,
            cursor: self.cursor.clone(),
            limit: self.limit,
            ..FileQuery::default()
        }
    }
}

/// `subscribe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {
    /// Request id.
    pub id: RequestId,
    /// The topic.
    pub topic: Topic,
    /// What the client has seen of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Position>,
}

/// `unsubscribe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsubscribe {
    /// Request id.
    pub id: RequestId,
    /// The topic.
    pub topic: Topic,
}

/// `refresh`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refresh {
    /// Request id.
    pub id: RequestId,
    /// A fresh token of the same user.
    pub access_token: String,
}

/// `acknowledge`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledge {
    /// Request id.
    pub id: RequestId,
    /// The round whose result it is about.
    pub round_id: String,
    /// What became of it.
    pub state: Receipt,
    /// More about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What became of a delivered result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Receipt {
    /// It is on the device.
    Downloaded,
    /// It is in use.
    Applied,
    /// The device does not want it.
    Rejected,
}

/// `alive`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alive {
    /// Request id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<RequestId>,
}

/// A text message that is no [`ClientMessage`], and whatever of it could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The request id, if there was one.
    pub id: Option<RequestId>,
    /// The stream, if there was one.
    pub stream: Option<StreamId>,
    /// Whether it is a `start-transfer`.
    pub is_start: bool,
    /// What is wrong with it: `invalid-message` or `unknown-type`.
    pub refusal: Refusal,
}

const CLIENT_TYPES: [&str; 10] = [
    "connect",
    "start-transfer",
    "complete-upload",
    "abort-upload",
    "get-history",
    "subscribe",
    "unsubscribe",
    "refresh",
    "acknowledge",
    "alive",
];

impl ClientMessage {
    /// Reads a text frame.
    ///
    /// # Errors
    /// With whatever id could be read, so that the error can be matched to the request.
    pub fn parse(text: &str) -> Result<Self, Box<Unreadable>> {
        serde_json::from_str(text).map_err(|error| Box::new(Unreadable::explain(text, &error)))
    }
}

impl Unreadable {
    /// Reads the message once more, loosely: rare, so it may cost.
    fn explain(text: &str, error: &serde_json::Error) -> Self {
        let value: serde_json::Value = match serde_json::from_str(text) {
            Ok(value @ serde_json::Value::Object(_)) => value,
            _ => {
                let refusal = Refusal::new(
                    ErrorCode::InvalidMessage,
                    "a text frame is one JSON object with a `type`",
                );
                return Self {
                    id: None,
                    stream: None,
                    is_start: false,
                    refusal,
                };
            }
        };
        let kind = value.get("type").and_then(serde_json::Value::as_str);
        let refusal = match kind {
            Some(kind) if CLIENT_TYPES.contains(&kind) => {
                Refusal::new(ErrorCode::InvalidMessage, error.to_string())
            }
            Some(_) => Refusal::new(
                ErrorCode::UnknownType,
                format!(
                    "the types are {}; chunks are binary frames",
                    CLIENT_TYPES.join(", ")
                ),
            ),
            None => Refusal::new(ErrorCode::InvalidMessage, "missing field `type`"),
        };
        let stream = value
            .get("stream")
            .and_then(serde_json::Value::as_u64)
            .and_then(|stream| stream.try_into().ok());
        Self {
            id: value.get("id").and_then(serde_json::Value::as_i64),
            stream,
            is_start: kind == Some("start-transfer"),
            refusal,
        }
    }
}
