//! `PUT /file/update/status` and `PUT /file/update/statuses`.

use crate::support::{Harness, Running, caller, failure, meta, refused, success};
use futures::future::join_all;
use protocol::{
    ErrorCode, Topic, TransferStatus, UploadId,
    event::FileEvent,
    identity::Caller,
    upload::{AttemptOutcome, MAX_REPORTS, StatusesUpdated, UpdateStatus, UpdateStatuses, Upload},
};
use service_kit::config::Millis;
use std::time::Duration;
use storage::{chunks::ChunkError, faults::ChunkCall};

/// A file whose first attempt is under way.
async fn storing(h: &Harness, caller: &Caller) -> (Upload, Running) {
    let id = h.cached(caller).await.upload_id;
    let running = h.run();
    let work = h.work().await;
    assert_eq!((work.upload.upload_id, work.attempt), (id, 1));
    (work.upload, running)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stored_file_is_told_of_once_and_its_bytes_are_freed() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let (file, running) = storing(&h, &anna).await;
    let reports = join_all((0..20).map(|_| h.report(file.upload_id, 1, success()))).await;
    let stored = h.upload(file.upload_id).await;
    assert_eq!(
        (stored.status, stored.attempts),
        (TransferStatus::UploadedSuccessfully, 1)
    );
    assert!(reports.into_iter().all(|report| report.unwrap() == stored));
    assert_eq!(
        h.told(&anna).await,
        ["file.cached", "file.uploaded_successfully"]
    );
    assert_eq!(h.sealed(file.upload_id).await, None);
    running.stop().await;
}

#[tokio::test]
async fn reports_of_one_call_are_each_what_they_would_be_alone() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let (stored, running) = storing(&h, &anna).await;
    let failed = h.cached(&anna).await.upload_id;
    h.work().await;
    let of = |upload_id, attempt, outcome| UpdateStatus {
        upload_id,
        attempt,
        outcome,
    };
    let reports = UpdateStatuses {
        reports: vec![
            of(failed, 1, failure(true)),
            of(UploadId::new(), 1, success()),
            of(stored.upload_id, 2, success()),
            of(stored.upload_id, 1, success()),
            of(stored.upload_id, 1, failure(true)),
        ],
    };
    let updated: StatusesUpdated = h.put("/file/update/statuses", &reports).await.unwrap();
    assert_eq!(
        updated.statuses,
        [
            Some(TransferStatus::UploadFailed),
            None,
            Some(TransferStatus::Storing),
            Some(TransferStatus::UploadedSuccessfully),
            Some(TransferStatus::UploadedSuccessfully),
        ]
    );
    for upload in [stored.upload_id, failed] {
        assert_eq!(h.sealed(upload).await, None);
    }
    let too_many = UpdateStatuses {
        reports: vec![of(failed, 1, success()); MAX_REPORTS + 1],
    };
    let refusal = h.put::<_, StatusesUpdated>("/file/update/statuses", &too_many);
    assert_eq!(refusal.await.unwrap_err().status.as_u16(), 400);
    running.stop().await;
}

#[tokio::test]
async fn a_file_is_given_up_after_exactly_three_attempts() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let (file, running) = storing(&h, &anna).await;
    for attempt in [1, 2] {
        let retrying = h
            .report(file.upload_id, attempt, failure(false))
            .await
            .unwrap();
        assert_eq!(
            (retrying.status, retrying.attempts),
            (TransferStatus::Retrying, attempt)
        );
        assert_eq!(
            h.sealed(file.upload_id).await,
            Some(true),
            "its bytes are needed still"
        );
        let work = h.work().await;
        assert_eq!(
            (work.upload.upload_id, work.attempt),
            (file.upload_id, attempt + 1)
        );
        assert_eq!(work.upload.status, TransferStatus::Storing);
    }
    let failed = h.report(file.upload_id, 3, failure(false)).await.unwrap();
    assert_eq!(
        (failed.status, failed.attempts),
        (TransferStatus::UploadFailed, 3)
    );
    assert_eq!(failed.reason.as_deref(), Some("disk on fire"));
    assert_eq!(h.sealed(file.upload_id).await, None);
    assert_eq!(
        h.told(&anna).await,
        [
            "file.cached",
            "file.retrying",
            "file.retrying",
            "file.upload_failed"
        ]
    );
    // Nothing more is queued: the next work is another file's.
    let other = h.cached(&anna).await;
    assert_eq!(h.work().await.upload.upload_id, other.upload_id);
    assert_eq!(h.upload(file.upload_id).await, failed);
    running.stop().await;
}

#[tokio::test]
async fn events_say_which_attempt_failed_and_why() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let (file, running) = storing(&h, &anna).await;
    h.report(file.upload_id, 1, failure(false)).await.unwrap();
    assert_eq!(h.work().await.attempt, 2);
    h.report(file.upload_id, 2, success()).await.unwrap();
    let log = h
        .log(Topic::User(anna.user_id), &anna.tenant)
        .await
        .notifications;
    let events = log
        .into_iter()
        .map(|entry| serde_json::from_value::<FileEvent>(entry.data).unwrap());
    let said: Vec<_> = events
        .map(|event| (event.status, event.attempt, event.reason))
        .collect();
    assert_eq!(
        said,
        [
            (TransferStatus::Cached, None, None),
            (
                TransferStatus::Retrying,
                Some(1),
                Some("disk on fire".to_owned())
            ),
            (TransferStatus::UploadedSuccessfully, Some(2), None),
        ]
    );
    running.stop().await;
}

#[tokio::test]
async fn a_permanent_error_ends_at_once() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let (file, running) = storing(&h, &anna).await;
    let failed = h.report(file.upload_id, 1, failure(true)).await.unwrap();
    assert_eq!(
        (failed.status, failed.attempts),
        (TransferStatus::UploadFailed, 1)
    );
    assert_eq!(h.told(&anna).await, ["file.cached", "file.upload_failed"]);
    assert_eq!(h.sealed(file.upload_id).await, None);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicate_failures_count_as_one_attempt() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let (file, running) = storing(&h, &anna).await;
    let reports = join_all((0..20).map(|_| h.report(file.upload_id, 1, failure(false)))).await;
    assert!(
        reports
            .into_iter()
            .all(|report| report.unwrap().attempts <= 2)
    );
    assert_eq!(h.work().await.attempt, 2);
    assert_eq!(h.upload(file.upload_id).await.attempts, 2);
    assert_eq!(h.told(&anna).await, ["file.cached", "file.retrying"]);
    running.stop().await;
}

#[tokio::test]
async fn a_report_on_an_old_attempt_changes_nothing() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let (file, running) = storing(&h, &anna).await;
    h.report(file.upload_id, 1, failure(false)).await.unwrap();
    let second = h.work().await.upload;
    for outcome in [success(), failure(false), failure(true)] {
        assert_eq!(
            h.report(file.upload_id, 1, outcome.clone()).await.unwrap(),
            second
        );
        assert_eq!(
            h.report(file.upload_id, 3, outcome).await.unwrap(),
            second,
            "an attempt that was never made"
        );
    }
    let stored = h.report(file.upload_id, 2, success()).await.unwrap();
    assert_eq!(stored.status, TransferStatus::UploadedSuccessfully);
    for outcome in [success(), failure(false), failure(true)] {
        assert_eq!(
            h.report(file.upload_id, 2, outcome).await.unwrap(),
            stored,
            "a final state stays"
        );
    }
    assert_eq!(
        h.told(&anna).await,
        ["file.cached", "file.retrying", "file.uploaded_successfully"]
    );
    running.stop().await;
}

#[tokio::test]
async fn a_report_without_an_attempt_changes_nothing() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let open = h.open(&anna, None, meta("photo.jpg", 10)).await.unwrap();
    let cached = h.cached(&anna).await;
    for attempt in [0, 1] {
        assert_eq!(
            h.report(open.upload_id, attempt, success()).await.unwrap(),
            open
        );
        assert_eq!(
            h.report(cached.upload_id, attempt, failure(true))
                .await
                .unwrap(),
            cached
        );
        refused(
            h.report(UploadId::new(), attempt, success()).await,
            ErrorCode::NotFound,
        );
    }
    assert_eq!(h.told(&anna).await, ["file.cached"]);
}

#[tokio::test]
async fn a_retry_waits_for_its_time() {
    let h = Harness::with(|config| config.retry_backoff = Millis::hours(1)).await;
    let anna = caller("anna");
    let (file, running) = storing(&h, &anna).await;
    h.report(file.upload_id, 1, failure(false)).await.unwrap();
    // Another file passes it by.
    let other = h.cached(&anna).await;
    assert_eq!(h.work().await.upload.upload_id, other.upload_id);
    assert_eq!(
        h.upload(file.upload_id).await.status,
        TransferStatus::Retrying
    );
    h.report(other.upload_id, 1, success()).await.unwrap();
    h.advance(Duration::from_secs(3600));
    // Another file wakes the relay, which finds that time has passed.
    let last = h.cached(&anna).await.upload_id;
    let mut taken =
        [h.work().await, h.work().await].map(|work| (work.upload.upload_id, work.attempt));
    taken.sort_unstable_by_key(|(_, attempt)| *attempt);
    assert_eq!(taken, [(last, 1), (file.upload_id, 2)]);
    running.stop().await;
}

#[tokio::test]
async fn bytes_that_could_not_be_freed_are_swept_later() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let (file, running) = storing(&h, &anna).await;
    h.faults.fail_always(ChunkCall::Remove, || {
        ChunkError::Unavailable("away".to_owned())
    });
    let stored = h.report(file.upload_id, 1, success()).await.unwrap();
    assert_eq!(stored.status, TransferStatus::UploadedSuccessfully);
    assert_eq!(h.sealed(file.upload_id).await, Some(true));
    h.faults.heal();
    assert_eq!(uploader::sweep(&h.uploader).await.unwrap().leftovers, 1);
    assert_eq!(h.sealed(file.upload_id).await, None);
    running.stop().await;
}

#[tokio::test]
async fn a_repeated_report_frees_what_the_first_did_not_come_to() {
    let h = Harness::new().await;
    let (file, running) = storing(&h, &caller("anna")).await;
    // The process that took the first report dies between the commit and the freeing.
    h.faults.fail_next(ChunkCall::Remove, 1, || {
        ChunkError::Unavailable("away".to_owned())
    });
    let stored = h.report(file.upload_id, 1, success()).await.unwrap();
    assert_eq!(h.sealed(file.upload_id).await, Some(true));
    assert_eq!(
        h.report(file.upload_id, 1, success()).await.unwrap(),
        stored
    );
    assert_eq!(h.sealed(file.upload_id).await, None);
    running.stop().await;
}

#[tokio::test]
async fn a_file_whose_bytes_the_cache_lost_fails_with_that_reason() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let (file, running) = storing(&h, &anna).await;
    h.chunks.remove(file.upload_id).await.unwrap();
    let lost = AttemptOutcome::UploadFailed {
        reason: "the cached content is lost; send the file again\0".to_owned(),
        permanent: true,
    };
    let failed = h.report(file.upload_id, 1, lost).await.unwrap();
    assert_eq!(failed.status, TransferStatus::UploadFailed);
    let reason = failed.reason.unwrap();
    assert!(reason.starts_with("the cached content is lost; send the file again"));
    assert_eq!(h.told(&anna).await, ["file.cached", "file.upload_failed"]);
    // The owner sends it again, as another upload.
    let again = h.cached(&anna).await;
    assert_eq!(h.work().await.upload.upload_id, again.upload_id);
    running.stop().await;
}
