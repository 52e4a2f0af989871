//! What every adapter asks of the upload that it stores.

use super::BlobError;
use crate::chunks::ChunkError;
use protocol::{Digest, Hasher};
use std::io;

/// Content of another size is damaged.
pub(super) fn expect_size(size: u64, found: u64) -> Result<(), BlobError> {
    if found == size {
        Ok(())
    } else {
        Err(BlobError::Damaged(format!(
            "it has {found} bytes instead of {size}"
        )))
    }
}

/// Content of another digest is damaged.
pub(super) fn expect_digest(digest: Digest, hasher: Hasher) -> Result<(), BlobError> {
    let found = hasher.finish();
    if found == digest {
        Ok(())
    } else {
        Err(BlobError::Damaged(format!(
            "its digest is {found} instead of {digest}"
        )))
    }
}

/// The cache does not give the upload out.
pub(super) fn refused(error: ChunkError) -> BlobError {
    match error {
        ChunkError::Unavailable(reason) => {
            BlobError::Unreachable(format!("the chunk cache is unavailable: {reason}"))
        }
        lost => BlobError::Damaged(lost.to_string()),
    }
}

/// The cache broke off while it was read. A broken connection says nothing about the upload.
pub(super) fn unreadable(error: &io::Error) -> BlobError {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable,
        NetworkDown, NetworkUnreachable, NotConnected, TimedOut,
    };
    let reason = format!("could not read the upload: {error}");
    match error.kind() {
        BrokenPipe | ConnectionAborted | ConnectionRefused | ConnectionReset | HostUnreachable
        | NetworkDown | NetworkUnreachable | NotConnected | TimedOut => {
            BlobError::Unreachable(reason)
        }
        _ => BlobError::Failed(reason),
    }
}
