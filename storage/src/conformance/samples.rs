//! Content, work and news to try an adapter with.

use crate::ByteStream;
use futures::{StreamExt, TryStreamExt};
use protocol::{
    Digest, DigestAlgorithm, FileId, Hasher, TenantId, Topic, TransferStatus, UploadId, UserId,
    event::Notification,
    identity::Owner,
    upload::{FileMeta, PersistFile, Published, Upload},
};

/// `len` bytes that differ from place to place and from seed to seed.
#[must_use]
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // Xorshift64 (Marsaglia, 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The digest of `content`.
#[must_use]
pub fn digest(algorithm: DigestAlgorithm, content: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(content);
    hasher.finish()
}

/// Everything a stream yields.
///
/// # Panics
/// When the stream ends with an error.
pub async fn collect(stream: ByteStream) -> Vec<u8> {
    let pieces: Vec<_> = stream
        .boxed()
        .try_collect()
        .await
        .expect("the stream ends well");
    pieces.concat()
}

/// Work for the queue; each is of another upload.
#[must_use]
pub fn work(attempt: u32) -> PersistFile {
    let upload = Upload {
        upload_id: UploadId::new(),
        file_id: FileId::new(),
        owner: Owner {
            id: UserId::new(),
            name: "ada".to_owned(),
        },
        tenant: TenantId::default(),
        meta: FileMeta {
            name: "sample.bin".to_owned(),
            size: 1,
            content_type: None,
            digest: None,
            pool: None,
            captured_at: None,
            batch: None,
            title: None,
            description: None,
            tags: Vec::new(),
        },
        computed_digest: None,
        status: TransferStatus::Cached,
        attempts: 0,
        reason: None,
        code: None,
        opened_at: Default::default(),
        expires_at: Default::default(),
        received_at: None,
    };
    PersistFile { upload, attempt }
}

/// News number `offset` of a topic.
#[must_use]
pub fn news(offset: u64) -> Published {
    let notification = Notification {
        topic: Topic::Admin,
        epoch: "1".to_owned(),
        offset,
        event: "file.cached".to_owned(),
        time: Default::default(),
        data: Default::default(),
    };
    Published {
        tenant: TenantId::default(),
        notification,
    }
}
