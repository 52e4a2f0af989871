//! `POST /uploads` and `GET /uploads/{id}`.

use crate::support::{Harness, caller, complete, meta, refused};
use axum::http::{Method, StatusCode};
use futures::future::join_all;
use jiff::SignedDuration;
use protocol::{
    ErrorCode, PoolId, TransferStatus, UploadId, UploadKey,
    file::FilePage,
    upload::{FileMeta, OpenUpload},
};
use service_kit::config::ByteSize;

#[tokio::test]
async fn an_opened_upload_is_found() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let upload = h.open(&anna, None, meta("photo.jpg", 10)).await.unwrap();
    assert_eq!(upload.status, TransferStatus::Open);
    assert_eq!(
        (upload.owner.id, upload.owner.name.as_str()),
        (anna.user_id, "anna")
    );
    assert_eq!(
        (upload.attempts, upload.received_at, upload.computed_digest),
        (0, None, None)
    );
    assert_eq!(
        upload.expires_at,
        upload.opened_at + SignedDuration::from_hours(24)
    );
    assert_eq!(h.upload(upload.upload_id).await, upload);
    refused(
        h.get::<()>(&format!("/uploads/{}", UploadId::new())).await,
        ErrorCode::NotFound,
    );
    refused(
        h.get::<()>("/uploads/none").await,
        ErrorCode::InvalidMessage,
    );
    // It is no file yet.
    refused(
        h.get::<()>(&format!("/files/{}", upload.file_id)).await,
        ErrorCode::NotFound,
    );
}

#[tokio::test]
async fn a_key_repeats_the_answer_with_the_present_status() {
    let h = Harness::new().await;
    let anna = caller("anna");
    // The database keeps microseconds; a finer time is still the same time.
    let captured_at = Some("2026-05-04T03:02:01.123456789Z".parse().unwrap());
    let meta = || FileMeta {
        captured_at,
        tags: vec!["a".to_owned()],
        ..meta("photo.jpg", 10)
    };
    let request = OpenUpload {
        caller: anna.clone(),
        key: Some(UploadKey::new()),
        meta: meta(),
    };
    let send = async || {
        h.peer
            .request(Method::POST, "/uploads")
            .json(&request)
            .send()
            .await
            .unwrap()
            .status()
    };
    assert_eq!(send().await, StatusCode::CREATED);
    assert_eq!(send().await, StatusCode::OK);

    let first = h.open(&anna, request.key, meta()).await.unwrap();
    h.end(&anna, first.upload_id, TransferStatus::Aborted, None)
        .await
        .unwrap();
    let again = h.open(&anna, request.key, meta()).await.unwrap();
    assert_eq!(
        (again.upload_id, again.status),
        (first.upload_id, TransferStatus::Aborted)
    );

    let other = FileMeta {
        tags: vec![],
        ..meta()
    };
    refused(h.open(&anna, request.key, other).await, ErrorCode::Conflict);
    let other_owner = h.open(&caller("berta"), request.key, meta()).await.unwrap();
    assert_ne!(other_owner.upload_id, first.upload_id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_of_one_key_opens_one_upload() {
    let h = Harness::new().await;
    let (anna, key) = (caller("anna"), Some(UploadKey::new()));
    let opened = join_all((0..50).map(|_| h.open(&anna, key, meta("photo.jpg", 10)))).await;
    let first = opened[0].as_ref().unwrap();
    assert!(opened.iter().all(|upload| upload.as_ref() == Ok(first)));
}

#[tokio::test]
async fn a_refused_open_leaves_nothing_behind() {
    let h = Harness::with(|config| {
        config.max_file_bytes = ByteSize(100);
        config.user_quota_bytes = Some(ByteSize(100));
    })
    .await;
    let anna = caller("anna");
    let refusals = [
        (meta("empty", 0), ErrorCode::EmptyFile),
        (meta("a/b", 1), ErrorCode::NameInvalid),
        (meta("..", 1), ErrorCode::NameInvalid),
        (meta("large", 101), ErrorCode::FileTooLarge),
        (
            FileMeta {
                pool: Some(PoolId::new()),
                ..meta("pooled", 1)
            },
            ErrorCode::NotFound,
        ),
        (
            FileMeta {
                title: Some("x".repeat(5_000)),
                ..meta("titled", 1)
            },
            ErrorCode::InvalidMessage,
        ),
    ];
    for (meta, code) in refusals {
        let key = UploadKey::new();
        refused(h.open(&anna, Some(key), meta).await, code);
        // The key was not used, and no byte counts for the quota.
        let upload = h
            .open(&anna, Some(key), self::meta("good", 100))
            .await
            .unwrap();
        h.end(&anna, upload.upload_id, TransferStatus::Aborted, None)
            .await
            .unwrap();
    }
    let page: FilePage = h.get("/uploads?tenant=default").await.unwrap();
    assert_eq!(page, FilePage::default());
}

#[tokio::test]
async fn the_quota_counts_what_is_under_way() {
    let h = Harness::with(|config| config.user_quota_bytes = Some(ByteSize(100))).await;
    let anna = caller("anna");
    let (upload, generation) = h.filled(&anna, meta("first", 60)).await;
    let problem = refused(
        h.open(&anna, None, meta("second", 41)).await,
        ErrorCode::QuotaExceeded,
    );
    assert_eq!(problem.detail.as_deref(), Some("60 of 100 bytes are used"));
    h.open(&caller("berta"), None, meta("other", 100))
        .await
        .unwrap();
    h.submit(&complete(&anna, &upload, generation))
        .await
        .unwrap();
    refused(
        h.open(&anna, None, meta("second", 41)).await,
        ErrorCode::QuotaExceeded,
    );
    h.open(&anna, None, meta("third", 40)).await.unwrap();
}

#[tokio::test]
async fn no_time_that_a_device_claims_breaks_a_list() {
    let h = Harness::new().await;
    let anna = caller("anna");
    for captured_at in [
        "9999-12-30T22:00:00.999999999Z",
        "-009999-01-02T01:59:59Z",
        "1969-12-31T23:59:59.9999995Z",
    ] {
        let meta = FileMeta {
            captured_at: Some(captured_at.parse().unwrap()),
            ..meta("photo.jpg", 10)
        };
        let (upload, generation) = h.filled(&anna, meta).await;
        h.submit(&complete(&anna, &upload, generation))
            .await
            .unwrap();
        assert_eq!(h.upload(upload.upload_id).await.meta, upload.meta);
    }
    let page: FilePage = h.get("/uploads?tenant=default").await.unwrap();
    assert_eq!(page.files.len(), 3);
}
