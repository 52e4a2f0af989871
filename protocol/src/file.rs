//! A file as history and HTTP lists show it.

use crate::{
    digest::Digest,
    identity::Owner,
    ids::{BatchId, FileId, PoolId, UploadId},
    state::TransferStatus,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One file with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// The file.
    pub file_id: FileId,
    /// The upload that brought it.
    pub upload_id: UploadId,
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type, as declared by the client.
    pub content_type: Option<String>,
    /// Its digest.
    pub digest: Option<Digest>,
    /// How it stands.
    pub status: TransferStatus,
    /// Whose it is.
    pub owner: Owner,
    /// The pool it was sent to.
    pub pool: Option<PoolId>,
    /// The batch it was sent in.
    pub batch: Option<BatchId>,
    /// When the device made it.
    pub captured_at: Option<Timestamp>,
    /// When its last byte was accepted.
    pub received_at: Timestamp,
    /// When it was stored.
    pub stored_at: Option<Timestamp>,
    /// Attempts to store it so far.
    pub attempts: u32,
    /// Why storing it failed.
    pub reason: Option<String>,
    /// A title for people.
    pub title: Option<String>,
    /// A description for people.
    pub description: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
}

/// One page of files, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePage {
    /// The files.
    pub files: Vec<FileInfo>,
    /// Where the next page begins; null on the last one.
    pub next_cursor: Option<String>,
}

/// Which files to list. Absent fields do not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileQuery {
    /// Only this user's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<crate::UserId>,
    /// Only those sent to this pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolId>,
    /// Only those with this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<TransferStatus>,
    /// Only those received at or after this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Only those received before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// Only those with this tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// How many files at most: 1 to 1000, 50 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Where a page ends: files are ordered by `(received_at, file_id)`, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Microseconds since the epoch.
    pub received_at: i64,
    /// The file.
    pub file_id: FileId,
}

/// A text that is no cursor of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not one that this server gave; start again without it")]
pub struct InvalidCursor;

impl Cursor {
    /// The cursor after which the files older than `file` follow.
    #[must_use]
    pub fn after(file: &FileInfo) -> Self {
        Self {
            received_at: file.received_at.as_microsecond(),
            file_id: file.file_id,
        }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:016x}-{}",
            self.received_at,
            self.file_id.0.as_simple()
        )
    }
}

impl std::str::FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (time, id) = text.split_once('-').ok_or(InvalidCursor)?;
        let digits = time.len() == 16 && time.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = u64::from_str_radix(time, 16).ok().filter(|_| digits);
        let received_at = bits.ok_or(InvalidCursor)?.cast_signed();
        Ok(Self {
            received_at,
            file_id: id.parse().map_err(|_| InvalidCursor)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn cursor(received_at: i64, id: u128) -> Cursor {
        Cursor {
            received_at,
            file_id: FileId(Uuid::from_u128(id)),
        }
    }

    #[test]
    fn cursors_are_read_as_they_are_written() {
        for received_at in [0, 1, 1_700_000_000_000_000, i64::MAX, -1, i64::MIN] {
            let cursor = cursor(received_at, 0xabc);
            assert_eq!(cursor.to_string().parse(), Ok(cursor), "{received_at}");
        }
    }

    #[test]
    fn anything_else_is_no_cursor() {
        for text in [
            "",
            "-",
            "0",
            "0-",
            "-0",
            "zz-00000000000000000000000000000abc",
            "0-abc",
            "00000000000000000-00000000000000000000000000000abc",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text}");
        }
    }

    #[test]
    fn cursors_are_ordered_by_time_and_then_by_file() {
        assert!(cursor(1, 9) < cursor(2, 0));
        assert!(cursor(1, 1) < cursor(1, 2));
    }
}
