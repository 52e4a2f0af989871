//! From a URL to the adapter that it names.

use crate::{
    blobs::{BlobStore, DiskBlobs},
    chunks::{ChunkCache, ChunkOptions, DiskChunks},
    events::{Events, LocalEvents},
    fs::Real,
};
use std::{io, path::Path, sync::Arc};

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No adapter has this scheme.
    #[error("{url:?} names no {port}: use {known}")]
    Unknown {
        /// What was asked for.
        url: String,
        /// The port that was to be opened.
        port: &'static str,
        /// The URLs that there are adapters for.
        known: &'static str,
    },
    /// The adapter could not be opened.
    #[error("could not open {url}: {error}")]
    Failed {
        /// What was asked for.
        url: String,
        /// Why not.
        error: io::Error,
    },
}

/// Opens the chunk cache that `url` names: `disk:<path>`.
///
/// # Errors
/// [`OpenError::Unknown`] for another scheme; [`OpenError::Failed`] when the folder can't be made, read or locked.
pub async fn open_chunks(
    url: &str,
    options: &ChunkOptions,
) -> Result<Arc<dyn ChunkCache>, OpenError> {
    let path = disk_path(url).ok_or_else(|| unknown(url, "chunk cache", "disk:<path>"))?;
    match DiskChunks::open(Arc::new(Real), path, options).await {
        Ok(chunks) => Ok(Arc::new(chunks)),
        Err(error) => Err(OpenError::Failed {
            url: url.to_owned(),
            error,
        }),
    }
}

/// Opens the blob store that `url` names: `disk:<path>`.
///
/// # Errors
/// [`OpenError::Unknown`] for another scheme; [`OpenError::Failed`] when the folder can't be made, read or locked.
pub async fn open_blobs(url: &str) -> Result<Arc<dyn BlobStore>, OpenError> {
    let path = disk_path(url).ok_or_else(|| unknown(url, "blob store", "disk:<path>"))?;
    match DiskBlobs::open(Arc::new(Real), path).await {
        Ok(blobs) => Ok(Arc::new(blobs)),
        Err(error) => Err(OpenError::Failed {
            url: url.to_owned(),
            error,
        }),
    }
}

/// Opens the event engine that `url` names: `local:`.
///
/// # Errors
/// [`OpenError::Unknown`] for another scheme.
pub async fn open_events(url: &str) -> Result<Arc<dyn Events>, OpenError> {
    match url {
        "local:" => Ok(Arc::new(LocalEvents::new())),
        _ => Err(unknown(url, "event engine", "local:")),
    }
}

/// The path of `disk:<path>` or `disk://<path>`.
fn disk_path(url: &str) -> Option<&Path> {
    let path = url.strip_prefix("disk:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    (!path.is_empty()).then(|| Path::new(path))
}

fn unknown(url: &str, port: &'static str, known: &'static str) -> OpenError {
    OpenError::Unknown {
        url: url.to_owned(),
        port,
        known,
    }
}
