//! Files for unit tests.

use jiff::Timestamp;
use protocol::{
    Digest, DigestAlgorithm, FileId, TransferStatus, UploadId, UserId, file::FileInfo,
    identity::Owner,
};

/// A stored file received at a time in microseconds.
pub(crate) fn file(owner: UserId, received_at: i64) -> FileInfo {
    let received_at = Timestamp::from_microsecond(received_at).unwrap();
    FileInfo {
        file_id: FileId::new(),
        upload_id: UploadId::new(),
        name: "sample.bin".to_owned(),
        size: 3,
        content_type: None,
        digest: Some(Digest::new(DigestAlgorithm::Sha256, [7; 32])),
        status: TransferStatus::UploadedSuccessfully,
        owner: Owner {
            id: owner,
            name: format!("user {owner}"),
        },
        pool: None,
        batch: None,
        captured_at: None,
        received_at,
        stored_at: Some(received_at),
        attempts: 1,
        reason: None,
        title: None,
        description: None,
        tags: Vec::new(),
    }
}
