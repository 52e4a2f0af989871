//! What the sweeper finds, and what it removes.

use crate::support::{World, on_every_store, owner_of, why};
use file_manager::Config;
use futures::StreamExt;
use protocol::{Digest, DigestAlgorithm, TransferStatus, upload::Upload};
use std::sync::Arc;
use storage::{
    blobs::{BlobError, BlobStore, Source},
    faults::{BlobCall, FaultyChunks},
};

on_every_store!(
    a_sweep_removes_only_what_has_failed,
    a_sweep_leaves_young_blobs_alone,
    a_sweep_with_an_unsure_uploader_removes_nothing,
    what_a_broken_put_left_is_removed_when_its_upload_has_failed,
    what_a_broken_put_left_stays_while_its_upload_is_under_way,
    a_file_without_its_blob_is_reported_and_stays,
    entries_of_failed_uploads_are_taken_back,
    several_sweeps_at_once_do_no_harm,
);

const CONTENT: &[u8] = b"content of a file";

fn source(world: &World, upload: &Upload) -> Source {
    Source {
        cache: world.chunks.clone(),
        upload: upload.upload_id,
        size: upload.meta.size,
        digest: upload.computed_digest.unwrap(),
    }
}

async fn a_sweep_removes_only_what_has_failed(world: &World) {
    let stored = world.stored(b"stored and indexed").await;
    let mut blobs = Vec::new();
    for status in TransferStatus::ALL {
        let upload = world.cached(CONTENT).await;
        let source = source(world, &upload);
        world.blobs.put(upload.file_id, &source).await.unwrap();
        world.uploader.set_status(upload.upload_id, status);
        blobs.push((upload, status));
    }
    let unknown = blobs[0].0.upload_id;
    world.uploader.forget(unknown);

    let swept = world.manager.sweep().await.unwrap();
    // Rejected, expired, aborted and failed go; cached, storing and retrying wait; the unknown and the one said to be
    // stored stay.
    assert_eq!((swept.removed, swept.pending, swept.stray), (4, 3, 2));
    assert_eq!((swept.missing, swept.taken_back), (0, 0));
    assert!(world.blobs.size(stored.file_id).await.is_ok());
    for (upload, status) in blobs {
        let may_go = status.is_final() && status != TransferStatus::UploadedSuccessfully;
        assert_eq!(
            world.blobs.size(upload.file_id).await.is_err(),
            may_go,
            "{status}"
        );
    }
}

async fn a_sweep_leaves_young_blobs_alone(world: &World) {
    let upload = world.stored(CONTENT).await;
    world
        .uploader
        .set_status(upload.upload_id, TransferStatus::UploadFailed);
    let patient = world.manager_with(Config::default()).await;
    assert_eq!(
        patient.sweep().await.unwrap().removed,
        0,
        "it is within its grace"
    );
    assert!(world.blobs.size(upload.file_id).await.is_ok());
}

async fn a_sweep_with_an_unsure_uploader_removes_nothing(world: &World) {
    let upload = world.stored(CONTENT).await;
    world.index().await.remove(upload.file_id).await.unwrap();
    world.uploader.set_down(true);
    assert!(world.manager.sweep().await.is_err());
    assert!(world.blobs.size(upload.file_id).await.is_ok());
}

/// A put that breaks off in the middle, as far as the store lets it leave something behind.
async fn broken_put(world: &World) -> Upload {
    let upload = world.cached(&vec![7; 3 << 20]).await;
    let damaged = Source {
        cache: Arc::new(FaultyChunks::new(world.chunks.clone()).elsewhere()),
        digest: Digest::new(DigestAlgorithm::Sha256, [7; 32]),
        ..source(world, &upload)
    };
    let refused = world.blobs.put(upload.file_id, &damaged).await;
    assert!(matches!(refused, Err(BlobError::Damaged(_))), "{refused:?}");
    upload
}

async fn blobs(world: &World) -> usize {
    world.blobs.list().await.unwrap().count().await
}

async fn what_a_broken_put_left_is_removed_when_its_upload_has_failed(world: &World) {
    let upload = broken_put(world).await;
    let left = blobs(world).await;
    world
        .uploader
        .set_status(upload.upload_id, TransferStatus::UploadFailed);
    let swept = world.manager.sweep().await.unwrap();
    assert_eq!(swept.removed, left as u64);
    assert_eq!(blobs(world).await, 0);
}

async fn what_a_broken_put_left_stays_while_its_upload_is_under_way(world: &World) {
    let upload = broken_put(world).await;
    let left = blobs(world).await;
    let swept = world.manager.sweep().await.unwrap();
    assert_eq!((swept.removed, swept.pending), (0, left as u64));
    // The next attempt goes on from there.
    world.store(&upload).await;
    assert!(world.indexed(upload.file_id).await.is_some());
    let swept = world.manager.sweep().await.unwrap();
    assert_eq!((swept.removed, swept.pending, swept.stray), (0, 0, 0));
}

async fn a_file_without_its_blob_is_reported_and_stays(world: &World) {
    let (lost, kept) = (world.stored(CONTENT).await, world.stored(b"other").await);
    world.blobs.remove(lost.file_id).await.unwrap();
    for _ in 0..2 {
        let swept = world.manager.sweep().await.unwrap();
        assert_eq!((swept.missing, swept.removed, swept.stray), (1, 0, 0));
    }
    assert!(world.indexed(lost.file_id).await.is_some());
    for (upload, status) in [(lost, 500), (kept, 200)] {
        let path = format!("/files/{}/content", upload.file_id);
        let answer = world.get(&owner_of(&upload), &path).await;
        assert_eq!(answer.status.as_u16(), status);
    }
}

async fn entries_of_failed_uploads_are_taken_back(world: &World) {
    let (failed, kept) = (world.stored(CONTENT).await, world.stored(b"other").await);
    world
        .uploader
        .set_status(failed.upload_id, TransferStatus::UploadFailed);
    let swept = world.manager.sweep().await.unwrap();
    // Its blob belongs to no file then, and goes as well.
    assert_eq!((swept.taken_back, swept.removed), (1, 1));
    assert_eq!(world.indexed(failed.file_id).await, None);
    assert!(world.indexed(kept.file_id).await.is_some());
    assert!(world.blobs.size(kept.file_id).await.is_ok());
}

async fn several_sweeps_at_once_do_no_harm(world: &World) {
    let stored = world.stored(b"stored and indexed").await;
    for _ in 0..20 {
        let upload = world.cached(CONTENT).await;
        let source = source(world, &upload);
        world.blobs.put(upload.file_id, &source).await.unwrap();
        let failed = TransferStatus::UploadFailed;
        world.uploader.set_status(upload.upload_id, failed);
    }
    let second = world.second_manager().await;
    let (one, other) = tokio::join!(world.manager.sweep(), second.sweep());
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(one.removed + other.removed >= 20, "{one:?} {other:?}");
    assert_eq!(blobs(world).await, 1);
    assert!(world.blobs.size(stored.file_id).await.is_ok());
}

/// A store that can't be asked is no store without the blobs.
#[tokio::test]
async fn an_unreachable_store_is_missing_nothing() {
    let world = World::new().await;
    world.stored(CONTENT).await;
    let unreachable = || BlobError::Unreachable(why());
    world
        .blob_faults
        .fail_always(BlobCall::Missing, unreachable);
    assert!(world.manager.sweep().await.is_err());
}
