//! `POST /uploads/{id}/end`.

use crate::support::{Harness, caller, complete, meta, refused};
use futures::future::join_all;
use protocol::{ErrorCode, Refusal, TransferStatus, UploadId};

#[tokio::test]
async fn a_rejected_upload_repeats_its_code() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let (upload, generation) = h.filled(&anna, meta("setup.bin", 10)).await;
    let refusal = Refusal::new(ErrorCode::TypeForbidden, "it is a program");
    let ended = h
        .end(
            &anna,
            upload.upload_id,
            TransferStatus::Rejected,
            Some(refusal),
        )
        .await
        .unwrap();
    assert_eq!(
        (ended.status, ended.code),
        (TransferStatus::Rejected, Some(ErrorCode::TypeForbidden))
    );
    assert_eq!(ended.reason.as_deref(), Some("it is a program"));
    assert_eq!(
        h.sealed(upload.upload_id).await,
        None,
        "its bytes are freed"
    );
    for _ in 0..2 {
        let problem = refused(
            h.submit(&complete(&anna, &upload, generation)).await,
            ErrorCode::TypeForbidden,
        );
        assert_eq!(problem.detail.as_deref(), Some("it is a program"));
    }
    assert!(h.told(&anna).await.is_empty());
}

#[tokio::test]
async fn an_upload_ends_once() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let (upload, generation) = h.filled(&anna, meta("photo.jpg", 10)).await;
    let abort = || h.end(&anna, upload.upload_id, TransferStatus::Aborted, None);
    let aborted = abort().await.unwrap();
    assert_eq!(aborted.status, TransferStatus::Aborted);
    assert_eq!(h.sealed(upload.upload_id).await, None);
    assert_eq!(abort().await.unwrap(), aborted);
    let refusal = Refusal::bare(ErrorCode::TypeForbidden);
    let late = h
        .end(
            &anna,
            upload.upload_id,
            TransferStatus::Rejected,
            Some(refusal),
        )
        .await
        .unwrap();
    assert_eq!(late, aborted);
    refused(
        h.submit(&complete(&anna, &upload, generation)).await,
        ErrorCode::Aborted,
    );
}

#[tokio::test]
async fn a_file_is_not_ended() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let file = h.cached(&anna).await;
    let answer = h
        .end(&anna, file.upload_id, TransferStatus::Aborted, None)
        .await
        .unwrap();
    assert_eq!(answer, file);
    assert_eq!(h.sealed(file.upload_id).await, Some(true));
}

#[tokio::test]
async fn only_the_owner_ends_and_only_so() {
    let h = Harness::new().await;
    let (anna, berta) = (caller("anna"), caller("berta"));
    let id = h
        .open(&anna, None, meta("photo.jpg", 10))
        .await
        .unwrap()
        .upload_id;
    refused(
        h.end(&berta, id, TransferStatus::Aborted, None).await,
        ErrorCode::NotFound,
    );
    refused(
        h.end(&anna, UploadId::new(), TransferStatus::Aborted, None)
            .await,
        ErrorCode::NotFound,
    );
    refused(
        h.end(&anna, id, TransferStatus::Rejected, None).await,
        ErrorCode::InvalidMessage,
    );
    for status in TransferStatus::ALL {
        if !matches!(status, TransferStatus::Aborted | TransferStatus::Rejected) {
            refused(
                h.end(&anna, id, status, None).await,
                ErrorCode::InvalidMessage,
            );
        }
    }
    assert_eq!(h.upload(id).await.status, TransferStatus::Open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_of_abort_and_complete_has_one_outcome() {
    let h = Harness::new().await;
    let anna = caller("anna");
    for _ in 0..10 {
        let (upload, generation) = h.filled(&anna, meta("photo.jpg", 10)).await;
        let request = complete(&anna, &upload, generation);
        let (submits, abort) = tokio::join!(
            join_all((0..3).map(|_| h.submit(&request))),
            h.end(&anna, upload.upload_id, TransferStatus::Aborted, None),
        );
        let present = h.upload(upload.upload_id).await;
        assert_eq!(abort.unwrap(), present);
        for submit in submits {
            match present.status {
                TransferStatus::Aborted => drop(refused(submit, ErrorCode::Aborted)),
                _ => assert_eq!(submit.unwrap(), present),
            }
        }
        let held = (present.status == TransferStatus::Cached).then_some(true);
        assert_eq!(h.sealed(upload.upload_id).await, held);
    }
}
