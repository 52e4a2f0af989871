//! Events that come twice, late or beside another, and reports that are hard to deliver.

use crate::support::{Running, World, on_every_store, owner_of, reached, stored_at, until, why};
use file_manager::index::IndexedFile;
use protocol::{TransferStatus, upload::PersistFile};
use storage::{
    blobs::{BlobError, BlobStore},
    faults::BlobCall,
};

on_every_store!(
    a_redelivered_event_changes_nothing,
    two_consumers_of_one_event_make_one_entry,
    a_failure_beside_a_success_is_none,
    a_report_is_repeated_until_the_uploader_takes_it,
    what_is_not_reported_is_not_acknowledged,
    a_file_stored_after_its_upload_failed_is_taken_back,
    a_late_success_of_an_earlier_attempt_stays_for_the_present_one,
    a_file_whose_upload_nobody_knows_stays,
    an_entry_of_another_consumer_that_died_is_taken_back,
);

const CONTENT: &[u8] = b"content of a file";

async fn a_redelivered_event_changes_nothing(world: &World) {
    let upload = world.stored(CONTENT).await;
    let entry = world.indexed(upload.file_id).await;

    let running = world.run();
    world
        .events
        .queue(vec![PersistFile {
            upload: upload.clone(),
            attempt: 1,
        }])
        .await
        .unwrap();
    let reports = world.uploader.wait_for_reports(2).await;
    running.stop().await;
    assert_eq!(reports[0], reports[1]);
    assert_eq!(world.indexed(upload.file_id).await, entry);
    assert!(world.is_queue_empty().await);
}

async fn two_consumers_of_one_event_make_one_entry(world: &World) {
    let upload = world.cached(CONTENT).await;
    let managers = [world.manager.clone(), world.second_manager().await];
    let gate = world.blob_faults.gate(BlobCall::Put);
    let running = managers.map(Running::start);
    for taken in 1..=2 {
        world.submit(&upload, 1).await;
        reached(&gate, taken).await;
    }
    gate.open();
    let reports = world.uploader.wait_for_reports(2).await;
    for running in running {
        running.stop().await;
    }
    assert_eq!(reports[0], reports[1]);
    assert_eq!(
        world.indexed(upload.file_id).await.unwrap().info.stored_at,
        Some(stored_at(&reports[0]))
    );
    assert!(world.is_queue_empty().await);
}

async fn a_failure_beside_a_success_is_none(world: &World) {
    let upload = world.cached(CONTENT).await;
    let managers = [world.manager.clone(), world.second_manager().await];
    let gate = world.blob_faults.gate(BlobCall::Put);
    let [first, second] = managers.map(Running::start);
    for taken in 1..=2 {
        world.submit(&upload, 1).await;
        reached(&gate, taken).await;
    }
    // One of the two fails; whichever reports first, the file is stored in the end.
    world.fail_put(|| BlobError::Failed(why()));
    gate.open();
    world.uploader.wait_for_reports(2).await;
    first.stop().await;
    second.stop().await;
    assert!(world.indexed(upload.file_id).await.is_some());
}

async fn a_report_is_repeated_until_the_uploader_takes_it(world: &World) {
    let upload = world.cached(CONTENT).await;
    world.uploader.set_down(true);
    let running = world.run();
    world.submit(&upload, 1).await;
    until("two reports refused", || world.uploader.refused() >= 2).await;
    // Whoever could be told of success must find the file.
    let entry = world
        .indexed(upload.file_id)
        .await
        .expect("the index comes before the report");
    world.uploader.set_down(false);
    let reports = world.uploader.wait_for_reports(1).await;
    running.stop().await;
    assert_eq!(Some(stored_at(&reports[0])), entry.info.stored_at);
    assert_eq!(world.blob_faults.calls(BlobCall::Put), 1);
    assert!(world.is_queue_empty().await);
}

async fn what_is_not_reported_is_not_acknowledged(world: &World) {
    let upload = world.cached(CONTENT).await;
    world.uploader.set_down(true);
    let running = world.run();
    world.submit(&upload, 1).await;
    until("a report refused", || world.uploader.refused() >= 1).await;
    running.stop().await;
    let entry = world.indexed(upload.file_id).await.unwrap();

    world.uploader.set_down(false);
    let running = world.run();
    let reports = world.uploader.wait_for_reports(1).await;
    running.stop().await;
    assert_eq!(Some(stored_at(&reports[0])), entry.info.stored_at);
    assert!(world.is_queue_empty().await);
}

async fn a_file_stored_after_its_upload_failed_is_taken_back(world: &World) {
    let upload = world.cached(CONTENT).await;
    let gate = world.blob_faults.gate(BlobCall::Put);
    // The service's own sweep is held back, so that what the test's own removes can be counted.
    let listing = world.blob_faults.gate(BlobCall::List);
    let running = world.run();
    world.submit(&upload, 1).await;
    reached(&gate, 1).await;
    world
        .uploader
        .set_status(upload.upload_id, TransferStatus::UploadFailed);
    gate.open();
    world.uploader.wait_for_reports(1).await;
    running.stop().await;

    assert_eq!(world.indexed(upload.file_id).await, None);
    assert!(world.is_queue_empty().await);
    let answer = world
        .get(
            &owner_of(&upload),
            &format!("/files/{}/content", upload.file_id),
        )
        .await;
    assert_eq!(
        (answer.status.as_u16(), &*answer.code()),
        (404, "not-found")
    );
    listing.open();
    let swept = world.manager.sweep().await.unwrap();
    assert_eq!((swept.removed, swept.pending, swept.stray), (1, 0, 0));
    assert!(matches!(
        world.blobs.size(upload.file_id).await,
        Err(BlobError::NotFound(_))
    ));
}

async fn a_late_success_of_an_earlier_attempt_stays_for_the_present_one(world: &World) {
    let upload = world.cached(CONTENT).await;
    let gate = world.blob_faults.gate(BlobCall::Put);
    let running = world.run();
    world.submit(&upload, 1).await;
    reached(&gate, 1).await;
    world.uploader.begin(upload.upload_id, 2);
    gate.open();
    world.uploader.wait_for_reports(1).await;
    assert_eq!(
        world.uploader.status(upload.upload_id),
        TransferStatus::Storing
    );
    world.submit(&upload, 2).await;
    let reports = world.uploader.wait_for_reports(2).await;
    running.stop().await;
    assert_eq!(stored_at(&reports[0]), stored_at(&reports[1]));
    assert_eq!(
        world.uploader.status(upload.upload_id),
        TransferStatus::UploadedSuccessfully
    );
    assert!(world.indexed(upload.file_id).await.is_some());
    assert_eq!(world.blob_faults.calls(BlobCall::Put), 1);
}

async fn a_file_whose_upload_nobody_knows_stays(world: &World) {
    let upload = world.cached(CONTENT).await;
    world.uploader.forget(upload.upload_id);
    let running = world.run();
    world.submit(&upload, 1).await;
    world.uploader.wait_for_reports(1).await;
    running.stop().await;
    assert!(world.indexed(upload.file_id).await.is_some());
    assert!(world.is_queue_empty().await);
}

/// Two consumers have the event: one indexes the file and dies before it reports, while the other fails it for good.
async fn an_entry_of_another_consumer_that_died_is_taken_back(world: &World) {
    let upload = world.cached(CONTENT).await;
    let index = world.index().await;
    let mut info = upload.file().unwrap();
    info.stored_at = Some(info.received_at);
    let entry = IndexedFile {
        tenant: upload.tenant.clone(),
        info,
    };
    world.uploader.before_next_report(async move {
        index.insert(&entry).await.unwrap();
    });
    world.fail_put(|| BlobError::Damaged(why()));
    let running = world.run();
    world.submit(&upload, 1).await;
    world.uploader.wait_for_reports(1).await;
    running.stop().await;
    assert_eq!(
        world.uploader.status(upload.upload_id),
        TransferStatus::UploadFailed
    );
    assert_eq!(world.indexed(upload.file_id).await, None);
    assert!(world.is_queue_empty().await);
}
