//! From a URL to the adapter that it names.

use crate::{
    blobs::{BlobStore, DiskBlobs, GridFsBlobs},
    chunks::{ChunkCache, ChunkOptions, DiskChunks, RedisChunks},
    events::{Events, LocalEvents, RabbitEvents},
    fs::Real,
    mongo,
};
use std::{io, path::Path, sync::Arc};

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No adapter has this scheme.
    #[error("{url:?} names no {port}: use {known}")]
    Unknown {
        /// The scheme that was asked for.
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
    /// The engine refuses for good, or its URL makes no sense.
    #[error("the {port} can't be opened: {reason}")]
    Refused {
        /// The port that was to be opened.
        port: &'static str,
        /// Why, without the password that the URL may hold.
        reason: String,
    },
}

/// Opens the chunk cache that `url` names: `disk:<path>`, or `redis://<host>:<port>/<database>` (`rediss://` with TLS). Redis
/// need not be there yet.
///
/// # Errors
/// [`OpenError::Unknown`] for another scheme; [`OpenError::Failed`] when the folder can't be made, read or locked;
/// [`OpenError::Refused`] when the URL makes no sense or Redis refuses for good.
pub async fn open_chunks(
    url: &str,
    options: &ChunkOptions,
) -> Result<Arc<dyn ChunkCache>, OpenError> {
    const PORT: &str = "chunk cache";
    if url.starts_with("redis://") || url.starts_with("rediss://") {
        let chunks = RedisChunks::open(url, options).await;
        let chunks = chunks.map_err(|refused| OpenError::Refused {
            port: PORT,
            reason: refused.to_string(),
        })?;
        return Ok(Arc::new(chunks));
    }
    let known = "disk:<path>, or redis://<host>:<port>/<database>";
    let path = disk_path(url).ok_or_else(|| unknown(url, PORT, known))?;
    match DiskChunks::open(Arc::new(Real), path, options).await {
        Ok(chunks) => Ok(Arc::new(chunks)),
        Err(error) => Err(OpenError::Failed {
            url: url.to_owned(),
            error,
        }),
    }
}

/// Opens the blob store that `url` names: `disk:<path>`, or `mongodb://<host>:<port>/<database>` for GridFS. MongoDB need not
/// be there yet.
///
/// # Errors
/// [`OpenError::Unknown`] for another scheme; [`OpenError::Failed`] when the folder can't be made, read or locked;
/// [`OpenError::Refused`] when the URL makes no sense or MongoDB refuses for good.
pub async fn open_blobs(url: &str) -> Result<Arc<dyn BlobStore>, OpenError> {
    const PORT: &str = "blob store";
    if mongo::is_mongodb(url) {
        let blobs = GridFsBlobs::open(url).await;
        let blobs = blobs.map_err(|refused| OpenError::Refused {
            port: PORT,
            reason: refused.to_string(),
        })?;
        return Ok(Arc::new(blobs));
    }
    let known = "disk:<path>, or mongodb://<host>:<port>/<database>";
    let path = disk_path(url).ok_or_else(|| unknown(url, PORT, known))?;
    match DiskBlobs::open(Arc::new(Real), path).await {
        Ok(blobs) => Ok(Arc::new(blobs)),
        Err(error) => Err(OpenError::Failed {
            url: url.to_owned(),
            error,
        }),
    }
}

/// Opens the event engine that `url` names: `local:`, or `amqp[s]://user:password@<host>:<port>/<virtual host>` for RabbitMQ,
/// which need not be there yet.
///
/// # Errors
/// [`OpenError::Unknown`] for another scheme; [`OpenError::Refused`] when the URL makes no sense or the broker refuses for good.
pub async fn open_events(url: &str) -> Result<Arc<dyn Events>, OpenError> {
    const PORT: &str = "event engine";
    if url.starts_with("amqp://") || url.starts_with("amqps://") {
        let events = RabbitEvents::open(url).await;
        let events = events.map_err(|error| OpenError::Refused {
            port: PORT,
            reason: error.to_string(),
        })?;
        return Ok(Arc::new(events));
    }
    match url {
        "local:" => Ok(Arc::new(LocalEvents::new())),
        _ => Err(unknown(
            url,
            PORT,
            "local:, or amqp://<user>:<password>@<host>:<port>/%2f",
        )),
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
        // Not more than the scheme is told: the rest may hold a password.
        url: url
            .split_inclusive(':')
            .next()
            .unwrap_or_default()
            .to_owned(),
        port,
        known,
    }
}
