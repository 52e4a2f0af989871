//! The states of an upload and of the file it becomes.

use serde::{Deserialize, Serialize};

/// Where an upload stands; after `cached` the same states are the file's.
///
/// ```text
/// open → cached → storing(1..3) → uploaded_successfully
/// open → rejected | expired | aborted
/// storing → retrying → storing ; third failure → upload_failed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferStatus {
    /// Bytes are being received.
    Open,
    /// All bytes are held, verified and synced; the client need not keep the file for the transfer's sake.
    Cached,
    /// An attempt to store it is under way.
    Storing,
    /// An attempt failed; another follows.
    Retrying,
    /// Stored and indexed.
    UploadedSuccessfully,
    /// Given up after the last attempt, or after a permanent error; the cache is freed.
    UploadFailed,
    /// Refused for its content: empty, type, size, quota or digest.
    Rejected,
    /// Not finished within its lifetime.
    Expired,
    /// Given up by the client.
    Aborted,
}

/// A text that names no status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown status {0:?}")]
pub struct UnknownStatus(pub String);

impl TransferStatus {
    /// Every status.
    pub const ALL: [TransferStatus; 9] = [
        Self::Open,
        Self::Cached,
        Self::Storing,
        Self::Retrying,
        Self::UploadedSuccessfully,
        Self::UploadFailed,
        Self::Rejected,
        Self::Expired,
        Self::Aborted,
    ];

    /// The status as written on the wire and in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Cached => "cached",
            Self::Storing => "storing",
            Self::Retrying => "retrying",
            Self::UploadedSuccessfully => "uploaded_successfully",
            Self::UploadFailed => "upload_failed",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Aborted => "aborted",
        }
    }

    /// Whether nothing follows this status.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::UploadedSuccessfully
                | Self::UploadFailed
                | Self::Rejected
                | Self::Expired
                | Self::Aborted
        )
    }

    /// Whether the upload has become a file: all of its bytes were accepted.
    #[must_use]
    pub fn is_file(self) -> bool {
        matches!(
            self,
            Self::Cached
                | Self::Storing
                | Self::Retrying
                | Self::UploadedSuccessfully
                | Self::UploadFailed
        )
    }
}

impl std::fmt::Display for TransferStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for TransferStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| UnknownStatus(text.to_owned()))
    }
}
