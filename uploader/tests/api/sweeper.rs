//! What outlives its time, and what a crash leaves behind.

use crate::support::{Harness, caller, failure, meta, soon, success};
use futures::future::join_all;
use protocol::{Topic, TransferStatus, UploadId};
use service_kit::config::Millis;
use std::time::Duration;
use uploader::{Swept, sweep};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn an_open_upload_expires_and_frees_its_bytes() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let (late, _) = h.filled(&anna, meta("late", 10)).await;
    let file = h.cached(&anna).await;
    h.advance(HOUR * 23);
    let (fresh, _) = h.filled(&anna, meta("fresh", 10)).await;
    assert_eq!(sweep(&h.uploader).await.unwrap(), Swept::default());
    h.advance(HOUR);
    assert_eq!(
        sweep(&h.uploader).await.unwrap(),
        Swept {
            expired: 1,
            ..Swept::default()
        }
    );
    assert_eq!(
        h.upload(late.upload_id).await.status,
        TransferStatus::Expired
    );
    assert_eq!(h.sealed(late.upload_id).await, None);
    assert_eq!(h.upload(fresh.upload_id).await, fresh);
    assert_eq!(h.sealed(fresh.upload_id).await, Some(false));
    assert_eq!(h.upload(file.upload_id).await, file);
}

#[tokio::test]
async fn a_sealed_upload_that_nobody_completes_expires_too() {
    let h = Harness::new().await;
    let (upload, generation) = h.filled(&caller("anna"), meta("photo.jpg", 10)).await;
    // The database was away when its state should have been committed, and the client never came back.
    h.chunks.seal(upload.upload_id, generation).await.unwrap();
    h.advance(HOUR * 24);
    assert_eq!(sweep(&h.uploader).await.unwrap().expired, 1);
    assert_eq!(
        h.upload(upload.upload_id).await.status,
        TransferStatus::Expired
    );
    assert_eq!(h.sealed(upload.upload_id).await, None);
}

#[tokio::test]
async fn more_uploads_expire_than_fit_one_batch() {
    let h = Harness::with(|config| config.upload_lifetime = Millis(0)).await;
    let anna = caller("anna");
    join_all((0..450).map(|_| h.open(&anna, None, meta("photo.jpg", 10)))).await;
    assert_eq!(sweep(&h.uploader).await.unwrap().expired, 450);
}

#[tokio::test]
async fn orphans_in_the_cache_go_after_a_grace() {
    let h = Harness::new().await;
    let orphan = UploadId::new();
    h.chunks.open(orphan, 10).await.unwrap();
    let (open, _) = h.filled(&caller("anna"), meta("open", 10)).await;
    assert_eq!(
        sweep(&h.uploader).await.unwrap(),
        Swept::default(),
        "it may be about to be known"
    );
    h.advance(HOUR);
    assert_eq!(
        sweep(&h.uploader).await.unwrap(),
        Swept {
            orphans: 1,
            ..Swept::default()
        }
    );
    assert_eq!(h.sealed(orphan).await, None);
    assert_eq!(h.sealed(open.upload_id).await, Some(false));
}

#[tokio::test]
async fn outcomes_are_kept_for_a_week_and_failures_for_good() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let running = h.run();
    let stored = h.cached(&anna).await.upload_id;
    h.work().await;
    h.report(stored, 1, success()).await.unwrap();
    let failed = h.cached(&anna).await.upload_id;
    h.work().await;
    h.report(failed, 1, failure(true)).await.unwrap();
    running.stop().await;
    let aborted = h
        .open(&anna, None, meta("photo.jpg", 10))
        .await
        .unwrap()
        .upload_id;
    h.end(&anna, aborted, TransferStatus::Aborted, None)
        .await
        .unwrap();

    h.advance(HOUR * (7 * 24 - 1));
    assert_eq!(sweep(&h.uploader).await.unwrap().outcomes, 0);
    h.advance(HOUR * 2);
    assert_eq!(sweep(&h.uploader).await.unwrap().outcomes, 2);
    assert_eq!(h.upload(failed).await.status, TransferStatus::UploadFailed);
    for gone in [stored, aborted] {
        assert!(h.get::<()>(&format!("/uploads/{gone}")).await.is_err());
    }
}

#[tokio::test]
async fn logs_are_trimmed_by_number_and_by_age() {
    let h = Harness::with(|config| config.log_keep = 3).await;
    let anna = caller("anna");
    for _ in 0..5 {
        h.cached(&anna).await;
    }
    assert_eq!(sweep(&h.uploader).await.unwrap().logs, 2);
    let log = h.log(Topic::User(anna.user_id), &anna.tenant).await;
    assert_eq!((log.oldest, log.head, log.notifications.len()), (3, 5, 3));
    assert_eq!(log.notifications[0].offset, 3);
    h.advance(HOUR * 24 * 31);
    assert_eq!(sweep(&h.uploader).await.unwrap().logs, 2);
    let log = h.log(Topic::User(anna.user_id), &anna.tenant).await;
    assert_eq!((log.oldest, log.head, log.notifications.len()), (6, 5, 0));
}

#[tokio::test]
async fn the_service_sweeps_when_it_starts() {
    let h = Harness::new().await;
    let (upload, _) = h.filled(&caller("anna"), meta("photo.jpg", 10)).await;
    h.advance(HOUR * 24);
    let running = h.run();
    soon(async {
        while h.sealed(upload.upload_id).await.is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(
        h.upload(upload.upload_id).await.status,
        TransferStatus::Expired
    );
    running.stop().await;
}
