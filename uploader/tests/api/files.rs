//! `GET /uploads` and `GET /files/{id}`: files that are not stored.

use crate::support::{Harness, caller, failure, meta, refused, success};
use protocol::{
    ErrorCode, FileId, TransferStatus,
    file::FilePage,
    upload::{FileMeta, Upload},
};

#[tokio::test]
async fn a_file_is_listed_until_it_is_stored() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let meta = FileMeta {
        content_type: Some("image/jpeg".to_owned()),
        title: Some("Sea".to_owned()),
        tags: vec!["summer".to_owned()],
        ..meta("sea.jpg", 10)
    };
    let (upload, generation) = h.filled(&anna, meta).await;
    let page = async || h.get::<FilePage>("/uploads?tenant=default").await.unwrap();
    assert_eq!(page().await, FilePage::default(), "it is no file yet");
    h.submit(&crate::support::complete(&anna, &upload, generation))
        .await
        .unwrap();
    let running = h.run();
    let work = h.work().await;
    let listed = page().await;
    assert_eq!((listed.files.len(), listed.next_cursor), (1, None));
    let file = &listed.files[0];
    assert_eq!(
        (file.file_id, file.upload_id),
        (upload.file_id, upload.upload_id)
    );
    assert_eq!(
        (file.status, file.attempts, file.stored_at),
        (TransferStatus::Storing, 1, None)
    );
    assert_eq!(
        (file.digest, Some(file.received_at)),
        (work.upload.computed_digest, work.upload.received_at)
    );
    assert_eq!(
        (file.name.as_str(), file.size, file.tags.as_slice()),
        ("sea.jpg", 10, &["summer".to_owned()][..])
    );
    h.report(upload.upload_id, 1, success()).await.unwrap();
    assert_eq!(page().await, FilePage::default());
    let found: Upload = h.get(&format!("/files/{}", upload.file_id)).await.unwrap();
    assert_eq!(found.status, TransferStatus::UploadedSuccessfully);
    refused(
        h.get::<()>(&format!("/files/{}", FileId::new())).await,
        ErrorCode::NotFound,
    );
    running.stop().await;
}

#[tokio::test]
async fn pages_follow_one_another() {
    let h = Harness::new().await;
    let (anna, berta) = (caller("anna"), caller("berta"));
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.insert(0, h.cached(&anna).await.file_id);
        h.cached(&berta).await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for files in [2, 2, 1] {
        let path = format!(
            "/uploads?tenant=default&owner={}&limit=2{cursor}",
            anna.user_id
        );
        let page: FilePage = h.get(&path).await.unwrap();
        assert_eq!(page.files.len(), files);
        seen.extend(page.files.into_iter().map(|file| file.file_id));
        cursor = page
            .next_cursor
            .map(|cursor| format!("&cursor={cursor}"))
            .unwrap_or_default();
    }
    assert_eq!(seen, expected);
    assert_eq!(cursor, "", "the last page says that it is the last");
}

#[tokio::test]
async fn filters_come_by_the_query() {
    let h = Harness::new().await;
    let anna = caller("anna");
    let running = h.run();
    let failed = h.cached(&anna).await;
    h.work().await;
    h.report(failed.upload_id, 1, failure(true)).await.unwrap();
    running.stop().await;
    let cached = h.cached(&anna).await;
    let found = async |filter: String| {
        let page: FilePage = h
            .get(&format!("/uploads?tenant=default&{filter}"))
            .await
            .unwrap();
        page.files
            .into_iter()
            .map(|file| file.file_id)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        found("status=upload_failed".to_owned()).await,
        [failed.file_id]
    );
    assert_eq!(
        found(format!("from={}", cached.received_at.unwrap())).await,
        [cached.file_id]
    );
    assert_eq!(
        found(format!("to={}", cached.received_at.unwrap())).await,
        [failed.file_id]
    );
    assert!(found("tag=none".to_owned()).await.is_empty());
    let elsewhere: FilePage = h.get("/uploads?tenant=elsewhere").await.unwrap();
    assert_eq!(elsewhere, FilePage::default());
}

#[tokio::test]
async fn a_list_that_can_not_be_is_refused() {
    let h = Harness::new().await;
    for query in [
        "",
        "tenant=default&limit=0",
        "tenant=default&limit=1001",
        "tenant=default&cursor=x",
        "tenant=default&status=lost",
    ] {
        refused(
            h.get::<FilePage>(&format!("/uploads?{query}")).await,
            ErrorCode::InvalidMessage,
        );
    }
}
