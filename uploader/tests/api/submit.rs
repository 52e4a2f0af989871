//! `POST /file/upload`.

use crate::support::{Harness, caller, complete, digest, meta, refused, soon, success};
use futures::future::join_all;
use protocol::{
    Digest, DigestAlgorithm, ErrorCode, TransferStatus, UploadId,
    upload::{FileMeta, SubmitFile, Upload},
};
use std::time::Duration;
use storage::{chunks::ChunkError, faults::ChunkCall};

#[tokio::test]
async fn a_complete_upload_becomes_a_file() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let meta = FileMeta {
        digest: Some(digest(1)),
        ..meta("photo.jpg", 10)
    };
    let (upload, generation) = h.filled(&anna, meta).await;
    let request = SubmitFile {
        announced: Some(digest(1)),
        ..complete(&anna, &upload, generation)
    };
    let file = h.submit(&request).await.unwrap();
    assert_eq!(file.status, TransferStatus::Cached);
    assert_eq!((file.computed_digest, file.attempts), (Some(digest(1)), 0));
    assert!(file.received_at.is_some());
    assert_eq!(h.upload(upload.upload_id).await, file);
    assert_eq!(
        h.get::<Upload>(&format!("/files/{}", file.file_id))
            .await
            .unwrap(),
        file
    );
    assert_eq!(h.sealed(upload.upload_id).await, Some(true));
    assert_eq!(h.told(&anna).await, ["file.cached"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeating_repeats_the_answer_and_nothing_else() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let (upload, generation) = h.filled(&anna, meta("photo.jpg", 10)).await;
    let request = complete(&anna, &upload, generation);
    let answers = join_all((0..20).map(|_| h.submit(&request))).await;
    let file = h.upload(upload.upload_id).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap() == file));
    assert_eq!(h.told(&anna).await, ["file.cached"]);

    let running = h.run();
    assert_eq!(h.work().await.attempt, 1);
    assert_eq!(
        h.submit(&request).await.unwrap().status,
        TransferStatus::Storing
    );
    h.report(file.upload_id, 1, success()).await.unwrap();
    assert_eq!(
        h.submit(&request).await.unwrap().status,
        TransferStatus::UploadedSuccessfully
    );
    running.stop().await;
}

#[tokio::test]
async fn another_users_upload_does_not_exist() {
    let h = Harness::new().await;
    let (anna, berta) = (caller("anna"), caller("berta"));
    let (upload, generation) = h.filled(&anna, meta("photo.jpg", 10)).await;
    refused(
        h.submit(&complete(&berta, &upload, generation)).await,
        ErrorCode::NotFound,
    );
    let unknown = SubmitFile {
        upload_id: UploadId::new(),
        ..complete(&anna, &upload, generation)
    };
    refused(h.submit(&unknown).await, ErrorCode::NotFound);
    assert_eq!(h.upload(upload.upload_id).await, upload);
}

#[tokio::test]
async fn the_size_must_be_the_one_announced() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let (upload, generation) = h.filled(&anna, meta("photo.jpg", 10)).await;
    let sized = |size| SubmitFile {
        size,
        ..complete(&anna, &upload, generation)
    };
    for size in [0, 9] {
        let problem = refused(h.submit(&sized(size)).await, ErrorCode::Incomplete);
        assert_eq!(problem.extensions["expected"], size);
    }
    refused(h.submit(&sized(11)).await, ErrorCode::SizeExceeded);
    assert_eq!(h.upload(upload.upload_id).await, upload, "it stays open");
    h.submit(&sized(10)).await.unwrap();
}

#[tokio::test]
async fn a_wrong_digest_ends_the_upload() {
    let h = Harness::new().await;
    let anna = caller("anna");
    for at_start in [true, false] {
        let announced = Some(digest(2));
        let meta = FileMeta {
            digest: announced.filter(|_| at_start),
            ..meta("photo.jpg", 10)
        };
        let (upload, generation) = h.filled(&anna, meta).await;
        let good = complete(&anna, &upload, generation);
        let bad = SubmitFile {
            announced: announced.filter(|_| !at_start),
            ..good.clone()
        };
        refused(h.submit(&bad).await, ErrorCode::DigestMismatch);
        let rejected = h.upload(upload.upload_id).await;
        assert_eq!(
            (rejected.status, rejected.code),
            (TransferStatus::Rejected, Some(ErrorCode::DigestMismatch))
        );
        assert_eq!(
            h.sealed(upload.upload_id).await,
            None,
            "its bytes are freed"
        );
        // It is permanent: not even the right digest helps any more.
        refused(h.submit(&good).await, ErrorCode::DigestMismatch);
    }
    assert!(h.told(&anna).await.is_empty());
}

#[tokio::test]
async fn a_digest_of_another_kind_is_a_mistake_and_no_mismatch() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let (upload, generation) = h.filled(&anna, meta("photo.jpg", 10)).await;
    let blake3 = Digest::new(DigestAlgorithm::Blake3, [1; 32]);
    let good = complete(&anna, &upload, generation);
    refused(
        h.submit(&SubmitFile {
            announced: Some(blake3),
            ..good.clone()
        })
        .await,
        ErrorCode::InvalidMessage,
    );
    refused(
        h.submit(&SubmitFile {
            computed: blake3,
            ..good.clone()
        })
        .await,
        ErrorCode::InvalidMessage,
    );
    h.submit(&good).await.unwrap();
}

#[tokio::test]
async fn an_old_generation_is_superseded() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let (upload, generation) = h.filled(&anna, meta("photo.jpg", 10)).await;
    let newer = h.chunks.resume(upload.upload_id).await.unwrap().generation;
    refused(
        h.submit(&complete(&anna, &upload, generation)).await,
        ErrorCode::Superseded,
    );
    assert_eq!(h.sealed(upload.upload_id).await, Some(false));
    h.submit(&complete(&anna, &upload, newer)).await.unwrap();
}

#[tokio::test]
async fn an_engine_that_fails_leaves_the_upload_open() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let (upload, generation) = h.filled(&anna, meta("photo.jpg", 10)).await;
    let request = complete(&anna, &upload, generation);
    h.faults.fail_next(ChunkCall::Seal, 1, || {
        ChunkError::Unavailable("away".to_owned())
    });
    assert!(
        refused(h.submit(&request).await, ErrorCode::Unavailable)
            .retry_after()
            .is_some()
    );
    h.faults.fail_next(ChunkCall::Seal, 1, || {
        ChunkError::Full("no room".to_owned())
    });
    assert!(
        refused(h.submit(&request).await, ErrorCode::StorageFull)
            .retry_after()
            .is_some()
    );
    h.faults
        .fail_next(ChunkCall::Seal, 1, || ChunkError::OutOfOrder {
            expected: 4,
        });
    assert_eq!(
        refused(h.submit(&request).await, ErrorCode::Incomplete).extensions["expected"],
        4
    );
    assert_eq!(h.upload(upload.upload_id).await, upload);
    assert!(h.told(&anna).await.is_empty());
    h.submit(&request).await.unwrap();
    assert_eq!(h.told(&anna).await, ["file.cached"]);
}

#[tokio::test]
async fn bytes_that_the_cache_lost_are_asked_for_again() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let upload = h.open(&anna, None, meta("photo.jpg", 10)).await.unwrap();
    let problem = refused(
        h.submit(&complete(&anna, &upload, 1)).await,
        ErrorCode::Incomplete,
    );
    assert_eq!(problem.extensions["expected"], 0);
}

#[tokio::test]
async fn a_crash_after_sealing_is_made_up_for() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let (upload, generation) = h.filled(&anna, meta("photo.jpg", 10)).await;
    h.chunks.seal(upload.upload_id, generation).await.unwrap();
    let h = h.restart().await;
    // The gateway has no generation to show for a sealed upload.
    let file = h.submit(&complete(&anna, &upload, u64::MAX)).await.unwrap();
    assert_eq!(file.status, TransferStatus::Cached);
}

#[tokio::test]
async fn an_upload_that_ends_while_it_is_sealed_stays_ended() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let (upload, generation) = h.filled(&anna, meta("photo.jpg", 10)).await;
    let gate = h.faults.gate(ChunkCall::Seal);
    let request = complete(&anna, &upload, generation);
    let (submitted, ()) = tokio::join!(h.submit(&request), async {
        soon(gate.reached(1)).await;
        h.end(&anna, upload.upload_id, TransferStatus::Aborted, None)
            .await
            .unwrap();
        gate.open();
    });
    refused(submitted, ErrorCode::Aborted);
    assert_eq!(h.sealed(upload.upload_id).await, None);
    assert!(h.told(&anna).await.is_empty());
}

#[tokio::test]
async fn a_late_duplicate_finds_the_file_although_its_bytes_are_freed() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let (upload, generation) = h.filled(&anna, meta("photo.jpg", 10)).await;
    let request = complete(&anna, &upload, generation);
    let running = h.run();
    // Both find the upload open and come to the seal; the file is stored before the cache tells the late one so.
    let gate = h.faults.gate(ChunkCall::Seal);
    let mut late = std::pin::pin!(h.submit(&request));
    tokio::select! {
        _ = late.as_mut() => panic!("the gate is closed"),
        () = soon(gate.reached(1)) => {}
    }
    let first = async {
        let submitted = h.submit(&request).await;
        h.report(h.work().await.upload.upload_id, 1, success())
            .await
            .unwrap();
        submitted
    };
    gate.open();
    // Nobody polls the late one until the first is through.
    assert_eq!(first.await.unwrap().status, TransferStatus::Cached);
    assert_eq!(h.sealed(upload.upload_id).await, None);
    assert_eq!(
        late.await.unwrap().status,
        TransferStatus::UploadedSuccessfully
    );
    assert_eq!(
        h.told(&anna).await,
        ["file.cached", "file.uploaded_successfully"]
    );
    running.stop().await;
}

#[tokio::test]
async fn an_expired_upload_says_so() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let (upload, generation) = h.filled(&anna, meta("photo.jpg", 10)).await;
    h.advance(Duration::from_secs(24 * 3600));
    assert_eq!(uploader::sweep(&h.uploader).await.unwrap().expired, 1);
    refused(
        h.submit(&complete(&anna, &upload, generation)).await,
        ErrorCode::Expired,
    );
}
