//! Which blobs the sweeper removes.

use crate::support::World;
use file_manager::{Config, index::Index};
use protocol::TransferStatus;
use storage::blobs::{BlobStore, Source};

const CONTENT: &[u8] = b"content of a file";

#[tokio::test]
async fn a_sweep_removes_only_what_has_failed() {
    let world = World::new().await;
    let stored = world.stored(b"stored and indexed").await;
    let mut blobs = Vec::new();
    for status in TransferStatus::ALL {
        let upload = world.cached(CONTENT).await;
        let source = Source {
            cache: world.chunks.clone(),
            upload: upload.upload_id,
            size: upload.meta.size,
            digest: upload.computed_digest.unwrap(),
        };
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

#[tokio::test]
async fn a_sweep_leaves_young_blobs_and_an_unsure_uploader_alone() {
    let world = World::with(Config::default()).await;
    let upload = world.stored(CONTENT).await;
    world
        .uploader
        .set_status(upload.upload_id, TransferStatus::UploadFailed);
    world.index().await.remove(upload.file_id).await.unwrap();
    assert_eq!(
        world.manager.sweep().await.unwrap().removed,
        0,
        "it is within its grace"
    );

    let world = World::new().await;
    let upload = world.stored(CONTENT).await;
    world.index().await.remove(upload.file_id).await.unwrap();
    world.uploader.set_down(true);
    assert!(world.manager.sweep().await.is_err());
    assert!(world.blobs.size(upload.file_id).await.is_ok());
}
