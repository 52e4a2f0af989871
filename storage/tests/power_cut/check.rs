//! What must hold of a disk after a cut.

use crate::life::{Life, Planned, Promises, Stores};
use bytes::Bytes;
use futures::TryStreamExt;
use protocol::FileId;
use std::{collections::BTreeMap, fs, path::Path, sync::Arc};
use storage::{
    blobs::BlobStore,
    chunks::{CachedUpload, ChunkCache, ChunkError, Hold},
    conformance::collect,
    fs::{PowerCut, Survives},
};

pub(crate) async fn check(
    life: &Life,
    promises: &Promises,
    survives: Survives,
    disk: PowerCut,
    folder: &Path,
) {
    let stores = Stores::open(&disk, folder)
        .await
        .expect("what a cut left can be opened");
    let cached = check_cache(life, promises, survives, &stores).await;
    check_usage(life, &cached, &stores).await;
    check_blobs(life, promises, &stores).await;
    for planned in &life.uploads {
        finish(planned, &stores).await;
    }
    check_cleared(life, &stores, folder).await;
}

/// Uploads are whole prefixes of what was sent, and as long as promised.
async fn check_cache(
    life: &Life,
    promises: &Promises,
    survives: Survives,
    stores: &Stores,
) -> BTreeMap<usize, CachedUpload> {
    let mut cached = BTreeMap::new();
    for listed in stores.cache.list().await.expect("it can be listed") {
        // A list says what is claimed; only a closer look verifies it.
        let upload = stores.cache.stat(listed.upload).await;
        let upload = upload.expect("it is there");
        let number = life
            .uploads
            .iter()
            .position(|planned| planned.upload == upload.upload);
        let number = number.expect("only what was opened is there");
        let planned = &life.uploads[number];
        let held = stores
            .cache
            .read(upload.upload, 0..upload.held)
            .await
            .expect("it is held");
        let held = collect(held).await;
        assert!(
            planned.bytes.starts_with(&held),
            "upload {number} holds what was never sent ({survives:?})"
        );
        assert!(
            !upload.sealed || upload.held == planned.size(),
            "upload {number} is sealed and not whole"
        );
        cached.insert(number, upload);
    }
    for (number, planned) in life.uploads.iter().enumerate() {
        let is_promised = promises.sealed.contains(&planned.upload);
        let is_sealed = cached.get(&number).is_some_and(|upload| upload.sealed);
        assert!(
            is_sealed || !is_promised,
            "upload {number} was sealed ({survives:?})"
        );
        if let (Survives::Everything, Some(acknowledged)) =
            (survives, promises.acknowledged.get(&planned.upload))
        {
            let held = cached.get(&number).map_or(0, |upload| upload.held);
            assert!(
                held >= *acknowledged,
                "upload {number} lost acknowledged bytes: {held} of {acknowledged}"
            );
        }
    }
    cached
}

async fn check_usage(life: &Life, cached: &BTreeMap<usize, CachedUpload>, stores: &Stores) {
    let usage = stores.cache.usage().await.expect("it is known");
    let held: u64 = cached.values().map(|upload| upload.held).sum();
    let promised: u64 = cached
        .keys()
        .map(|number| life.uploads[*number].size())
        .sum();
    assert_eq!((usage.held, usage.reserved), (held, promised - held));
}

/// Blobs are whole, and all that were promised are there.
async fn check_blobs(life: &Life, promises: &Promises, stores: &Stores) {
    let blobs: Vec<_> = stores
        .blobs
        .list()
        .await
        .expect("it answers")
        .try_collect()
        .await
        .expect("it can be listed");
    for blob in &blobs {
        let planned = life
            .uploads
            .iter()
            .find(|planned| planned.file == blob.file)
            .expect("it was put");
        assert_eq!(content(stores, blob.file).await, planned.bytes);
    }
    for file in &promises.stored {
        assert!(
            blobs.iter().any(|blob| blob.file == *file),
            "a stored file is gone"
        );
    }
}

async fn content(stores: &Stores, file: FileId) -> Vec<u8> {
    let size = stores.blobs.size(file).await.expect("it is there");
    collect(stores.blobs.read(file, 0..size).await.expect("it is there")).await
}

/// Whatever became of an upload, it can be finished and stored.
async fn finish(planned: &Planned, stores: &Stores) {
    let cache: &Arc<dyn ChunkCache> = &stores.cache;
    match cache.open(planned.upload, planned.size()).await {
        Ok(Hold { generation, held }) => {
            let start = usize::try_from(held).expect("it is in memory");
            let rest = Bytes::copy_from_slice(&planned.bytes[start..]);
            cache
                .append(planned.upload, generation, held, vec![rest.into()])
                .await
                .expect("it continues");
            cache
                .seal(planned.upload, generation)
                .await
                .expect("all is held");
        }
        Err(ChunkError::Sealed(_)) => {}
        Err(other) => panic!("{other}"),
    }
    stores
        .blobs
        .put(planned.file, &planned.source(cache))
        .await
        .expect("it can be stored");
    assert_eq!(content(stores, planned.file).await, planned.bytes);
}

/// Nothing is left that nobody knows of.
async fn check_cleared(life: &Life, stores: &Stores, folder: &Path) {
    for planned in &life.uploads {
        stores
            .cache
            .remove(planned.upload)
            .await
            .expect("it can be removed");
        stores
            .blobs
            .remove(planned.file)
            .await
            .expect("it can be removed");
    }
    let usage = stores.cache.usage().await.expect("it is known");
    assert_eq!((usage.held, usage.reserved), (0, 0));
    let mut left = files(folder);
    left.retain(|path| !path.ends_with("/lock") && !path.ends_with("chunks/records"));
    assert!(left.is_empty(), "{left:?}");
}

fn files(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("it is a folder") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path.display().to_string());
        }
    }
    files
}
