//! Lists a disk's blobs one folder at a time.

use super::{Inner, unreachable};
use crate::{
    blobs::{BlobError, StoredBlob},
    fs::{Fs, Worker},
};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use protocol::FileId;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Every blob of the store.
pub(super) async fn blobs(
    inner: Arc<Inner>,
    worker: Worker,
) -> Result<BoxStream<'static, Result<StoredBlob, BlobError>>, BlobError> {
    let root = inner.root.clone();
    let folders = worker.run(move |fs| folders(fs, &root)).await?;
    let blobs = stream::iter(folders).then(move |folder| {
        let worker = worker.clone();
        async move { worker.run(move |fs| blobs_in(fs, &folder)).await }
    });
    Ok(blobs
        .map_ok(|blobs| stream::iter(blobs.into_iter().map(Ok)))
        .try_flatten()
        .boxed())
}

/// The hex folders.
fn folders(fs: &dyn Fs, path: &Path) -> Result<Vec<PathBuf>, BlobError> {
    let is_hex =
        |name: &str| name.len() == 2 && name.bytes().all(|digit| digit.is_ascii_hexdigit());
    let entries = fs.list(path).map_err(|error| unreachable(&error))?;
    let folders = entries
        .into_iter()
        .filter(|entry| entry.is_folder && entry.name.to_str().is_some_and(is_hex));
    Ok(folders.map(|entry| path.join(entry.name)).collect())
}

fn blobs_in(fs: &dyn Fs, folder: &Path) -> Result<Vec<StoredBlob>, BlobError> {
    let mut blobs = Vec::new();
    for entry in fs.list(folder).map_err(|error| unreachable(&error))? {
        let Some(file) = entry
            .name
            .to_str()
            .and_then(|name| name.parse::<FileId>().ok())
        else {
            continue;
        };
        match fs.metadata(&folder.join(entry.name)) {
            // A link changes the attributes of the file, so that tells when it was stored, or later.
            Ok(metadata) => blobs.push(StoredBlob {
                file,
                size: metadata.len,
                stored: metadata.changed,
                whole: true,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreachable(&error)),
        }
    }
    Ok(blobs)
}
