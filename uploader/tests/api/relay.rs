//! From the outbox to the queue.

use crate::support::{Harness, caller, failure, soon, success};
use protocol::TransferStatus;
use service_kit::config::Millis;
use std::{collections::BTreeSet, num::NonZeroU32, sync::atomic::Ordering, time::Duration};

#[tokio::test]
async fn what_was_not_resolved_is_queued_again_after_a_restart() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let running = h.run();
    let retried = h.cached(&anna).await.upload_id;
    assert_eq!(h.work().await.attempt, 1);
    h.report(retried, 1, failure(false)).await.unwrap();
    assert_eq!(h.work().await.attempt, 2);
    let stored = h.cached(&anna).await.upload_id;
    h.work().await;
    h.report(stored, 1, success()).await.unwrap();
    let storing = h.cached(&anna).await.upload_id;
    h.work().await;
    running.stop().await;
    let cached = h.cached(&anna).await.upload_id;

    let h = h.restart().await;
    let running = h.run();
    let mut again = BTreeSet::new();
    for _ in 0..3 {
        let work = h.work().await;
        again.insert((work.upload.upload_id, work.attempt));
    }
    assert_eq!(
        again,
        BTreeSet::from([(retried, 2), (storing, 1), (cached, 1)])
    );
    // Queueing an attempt again does not count as another one.
    assert_eq!(h.upload(retried).await.attempts, 2);
    assert_eq!(h.upload(storing).await.attempts, 1);
    assert_eq!(
        h.upload(stored).await.status,
        TransferStatus::UploadedSuccessfully
    );
    running.stop().await;
}

#[tokio::test]
async fn an_engine_that_is_away_costs_no_attempt() {
    let h = Harness::new().await;
    let anna = caller("anna");
    h.events.fail_next(2);
    let running = h.run();
    let file = h.cached(&anna).await;
    let work = h.work().await;
    assert_eq!((work.upload.upload_id, work.attempt), (file.upload_id, 1));
    assert_eq!(h.events.failed.load(Ordering::SeqCst), 2);
    assert_eq!(h.upload(file.upload_id).await.attempts, 1);
    running.stop().await;
}

#[tokio::test]
async fn an_attempt_that_nobody_reports_on_is_queued_again() {
    let h = Harness::with(|config| config.redispatch_after = Millis::hours(1)).await;
    let anna = caller("anna");
    let running = h.run();
    let file = h.cached(&anna).await;
    assert_eq!(h.work().await.upload.upload_id, file.upload_id);
    h.advance(Duration::from_secs(3601));
    let other = h.cached(&anna).await;
    let again = [h.work().await, h.work().await];
    let again = again.map(|work| (work.upload.upload_id, work.attempt));
    assert_eq!(
        BTreeSet::from(again),
        BTreeSet::from([(file.upload_id, 1), (other.upload_id, 1)])
    );
    assert_eq!(h.upload(file.upload_id).await.attempts, 1);
    running.stop().await;
}

#[tokio::test]
async fn the_queue_is_bounded() {
    let h = Harness::with(|config| config.max_in_flight = NonZeroU32::new(2).unwrap()).await;
    let anna = caller("anna");
    for _ in 0..5 {
        h.cached(&anna).await;
    }
    let running = h.run();
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        let id = h.work().await.upload.upload_id;
        seen.insert(id);
        let page: protocol::file::FilePage = h
            .get("/uploads?tenant=default&status=storing")
            .await
            .unwrap();
        assert!(page.files.len() <= 2);
        h.report(id, 1, success()).await.unwrap();
    }
    assert_eq!(seen.len(), 5);
    running.stop().await;
}

#[tokio::test]
async fn a_closed_engine_does_not_keep_the_service_from_stopping() {
    let h = Harness::new().await;
    let running = h.run();
    storage::events::Events::close(&*h.events).await;
    let file = h.cached(&caller("anna")).await;
    soon(async {
        while h.upload(file.upload_id).await.status == TransferStatus::Cached {
            tokio::task::yield_now().await;
        }
    })
    .await;
    running.stop().await;
}
