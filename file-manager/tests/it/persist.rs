//! What becomes of a file that is taken from the queue, whatever goes wrong on the way.

use crate::support::{World, failure, reached, stored_at, until, why};
use file_manager::Config;
use protocol::{FileId, TransferStatus};
use std::num::NonZeroUsize;
use storage::{
    blobs::{BlobError, BlobStore, Source},
    chunks::ChunkError,
    faults::{BlobCall, ChunkCall},
};

const CONTENT: &[u8] = b"content of a file";

#[tokio::test]
async fn a_file_is_stored_indexed_and_reported() {
    let world = World::new().await;
    let mut upload = world.cached(CONTENT).await;
    upload.meta.tags = vec!["b".to_owned(), "a".to_owned(), "b".to_owned()];
    upload.meta.title = Some("title".to_owned());
    world.uploader.know(&upload);
    world.store(&upload).await;

    let reports = world.uploader.reports();
    assert_eq!(reports.len(), 1);
    assert_eq!(
        (reports[0].upload_id, reports[0].attempt),
        (upload.upload_id, 1)
    );
    let entry = world.indexed(upload.file_id).await.unwrap();
    assert_eq!(entry.tenant, upload.tenant);
    assert_eq!(entry.info.status, TransferStatus::UploadedSuccessfully);
    assert_eq!(entry.info.stored_at, Some(stored_at(&reports[0])));
    assert_eq!(entry.info.tags, ["b", "a"]);
    assert_eq!(entry.info.title.as_deref(), Some("title"));
    assert_eq!(
        (entry.info.attempts, entry.info.received_at),
        (1, upload.received_at.unwrap())
    );
    assert_eq!(
        world.blobs.size(upload.file_id).await.unwrap(),
        upload.meta.size
    );
    assert!(world.is_queue_empty().await);
}

#[tokio::test]
async fn what_each_failure_means() {
    let table: [(fn() -> BlobError, bool); 3] = [
        (|| BlobError::Damaged(why()), true),
        (|| BlobError::Failed(why()), false),
        (|| BlobError::NotFound(FileId::new()), false),
    ];
    for (fault, permanent) in table {
        let world = World::new().await;
        world.fail_put(fault);
        let upload = world.cached(CONTENT).await;
        let running = world.run();
        world.submit(&upload, 1).await;
        let reports = world.uploader.wait_for_reports(1).await;
        running.stop().await;
        assert_eq!(failure(&reports[0]).0, permanent, "{}", fault());
        assert_eq!(world.indexed(upload.file_id).await, None, "{}", fault());
        assert!(world.is_queue_empty().await, "{}", fault());
    }
}

#[tokio::test]
async fn a_store_that_fails_once_succeeds_at_the_second_attempt() {
    let world = World::new().await;
    world.fail_put(|| BlobError::Failed(why()));
    let upload = world.cached(CONTENT).await;
    let running = world.run();
    world.submit(&upload, 1).await;
    world.uploader.wait_for_reports(1).await;
    assert_eq!(
        world.uploader.status(upload.upload_id),
        TransferStatus::Retrying
    );
    world.submit(&upload, 2).await;
    let reports = world.uploader.wait_for_reports(2).await;
    running.stop().await;
    stored_at(&reports[1]);
    assert_eq!(
        world.indexed(upload.file_id).await.unwrap().info.attempts,
        2
    );
}

#[tokio::test]
async fn a_copy_of_another_digest_fails_for_good() {
    let world = World::apart_from_its_cache().await;
    let mut upload = world.cached(CONTENT).await;
    let digest = upload.computed_digest.as_mut().unwrap();
    digest.bytes[0] ^= 1;
    world.uploader.know(&upload);
    let running = world.run();
    world.submit(&upload, 1).await;
    let reports = world.uploader.wait_for_reports(1).await;
    running.stop().await;
    let (permanent, reason) = failure(&reports[0]);
    assert!(permanent && reason.contains("digest"), "{reason}");
    assert!(matches!(
        world.blobs.size(upload.file_id).await,
        Err(BlobError::NotFound(_))
    ));
}

#[tokio::test]
async fn a_request_without_a_digest_fails_for_good() {
    let world = World::new().await;
    let mut upload = world.cached(CONTENT).await;
    upload.computed_digest = None;
    world.uploader.know(&upload);
    let running = world.run();
    world.submit(&upload, 1).await;
    let reports = world.uploader.wait_for_reports(1).await;
    running.stop().await;
    assert!(failure(&reports[0]).0);
}

#[tokio::test]
async fn an_unreachable_store_costs_no_attempt() {
    let parallel = NonZeroUsize::new(2).unwrap();
    let world = World::with(Config {
        parallel,
        ..Config::default()
    })
    .await;
    world.blob_faults.unreachable();
    let mut uploads = Vec::new();
    for _ in 0..5 {
        uploads.push(world.cached(CONTENT).await);
        world.submit(uploads.last().unwrap(), 1).await;
    }
    let running = world.run();
    until("three probes", || {
        world.blob_faults.calls(BlobCall::Ping) >= 3
    })
    .await;
    assert!(
        world
            .manager
            .paused()
            .unwrap()
            .contains("by order of the test")
    );
    assert_eq!(world.uploader.reports(), []);
    // Only what was in hand was tried, and once: the rest waits in the queue, the probe alone asks.
    assert!(world.blob_faults.calls(BlobCall::Put) <= parallel.get());

    world.blob_faults.heal();
    let reports = world.uploader.wait_for_reports(uploads.len()).await;
    assert_eq!(world.manager.paused(), None);
    running.stop().await;
    for upload in &uploads {
        let of_upload: Vec<_> = reports
            .iter()
            .filter(|report| report.upload_id == upload.upload_id)
            .collect();
        assert_eq!(of_upload.len(), 1);
        assert_eq!(of_upload[0].attempt, 1);
        stored_at(of_upload[0]);
    }
    assert!(world.is_queue_empty().await);
}

#[tokio::test]
async fn an_unreachable_cache_costs_no_attempt() {
    let world = World::new().await;
    let upload = world.cached(CONTENT).await;
    world
        .chunk_faults
        .fail_everything(|| ChunkError::Unavailable(why()));
    let running = world.run();
    world.submit(&upload, 1).await;
    until("two probes", || {
        world.chunk_faults.calls(ChunkCall::Usage) >= 2
    })
    .await;
    assert!(world.manager.paused().is_some());
    assert_eq!(world.uploader.reports(), []);
    world.chunk_faults.heal();
    let reports = world.uploader.wait_for_reports(1).await;
    running.stop().await;
    stored_at(&reports[0]);
}

/// The store's answer says that the content is damaged, but it could not even be looked at.
#[tokio::test]
async fn a_verdict_without_the_cache_is_none() {
    let world = World::new().await;
    let upload = world.cached(CONTENT).await;
    world.fail_put(|| BlobError::Damaged(why()));
    world
        .chunk_faults
        .fail_next(ChunkCall::Sealed, 1, || ChunkError::Unavailable(why()));
    let running = world.run();
    world.submit(&upload, 1).await;
    let reports = world.uploader.wait_for_reports(1).await;
    running.stop().await;
    stored_at(&reports[0]);
}

#[tokio::test]
async fn work_that_waits_for_a_store_goes_back_at_shutdown() {
    let world = World::new().await;
    world.blob_faults.unreachable();
    let upload = world.cached(CONTENT).await;
    let running = world.run();
    world.submit(&upload, 1).await;
    until("a probe", || world.blob_faults.calls(BlobCall::Ping) >= 1).await;
    running.stop().await;
    assert_eq!(world.uploader.reports(), []);
    assert!(!world.is_queue_empty().await);
}

#[tokio::test]
async fn lost_content_fails_for_good_with_a_reason() {
    let world = World::new().await;
    let upload = world.cached(CONTENT).await;
    world.chunks.remove(upload.upload_id).await.unwrap();
    let running = world.run();
    world.submit(&upload, 1).await;
    let reports = world.uploader.wait_for_reports(1).await;
    running.stop().await;
    let (permanent, reason) = failure(&reports[0]);
    assert!(
        permanent && reason.contains("the cached content is lost"),
        "{reason}"
    );
}

#[tokio::test]
async fn content_freed_after_its_blob_was_put_is_not_lost() {
    let world = World::new().await;
    let upload = world.cached(CONTENT).await;
    let source = Source {
        cache: world.chunks.clone(),
        upload: upload.upload_id,
        size: upload.meta.size,
        digest: upload.computed_digest.unwrap(),
    };
    world.blobs.put(upload.file_id, &source).await.unwrap();
    world.chunks.remove(upload.upload_id).await.unwrap();
    // Even a store that does not look before it reads.
    world.fail_put(|| BlobError::Damaged(why()));
    let running = world.run();
    world.submit(&upload, 1).await;
    let reports = world.uploader.wait_for_reports(1).await;
    running.stop().await;
    stored_at(&reports[0]);
    assert!(world.indexed(upload.file_id).await.is_some());
}

#[tokio::test]
async fn at_most_so_many_files_are_stored_at_once() {
    let parallel = NonZeroUsize::new(2).unwrap();
    let world = World::with(Config {
        parallel,
        ..Config::default()
    })
    .await;
    let gate = world.blob_faults.gate(BlobCall::Put);
    for _ in 0..6 {
        let upload = world.cached(CONTENT).await;
        world.submit(&upload, 1).await;
    }
    let running = world.run();
    reached(&gate, 2).await;
    gate.open();
    world.uploader.wait_for_reports(6).await;
    running.stop().await;
    assert_eq!(world.blobs.most_running(), 2);
}

#[tokio::test]
async fn shutdown_finishes_the_file_in_hand() {
    let world = World::new().await;
    let upload = world.cached(CONTENT).await;
    let gate = world.blob_faults.gate(BlobCall::Put);
    let running = world.run();
    world.submit(&upload, 1).await;
    reached(&gate, 1).await;
    running.begin_stop();
    gate.open();
    running.join().await.unwrap();
    stored_at(&world.uploader.reports()[0]);
    assert!(world.is_queue_empty().await);
}

#[tokio::test]
async fn a_queue_that_ends_early_is_an_error() {
    let world = World::new().await;
    let running = world.run();
    world.events.close().await;
    assert!(running.join().await.is_err());
}

#[tokio::test]
async fn without_the_chunk_cache_it_is_not_ready() {
    let world = World::new().await;
    assert_eq!(world.manager.ready().await, Ok(()));
    world.chunk_faults.unavailable();
    let missing = world.manager.ready().await.unwrap_err();
    assert!(missing.contains("chunk cache"), "{missing}");
    world.chunk_faults.heal();
    assert_eq!(world.manager.ready().await, Ok(()));
}
