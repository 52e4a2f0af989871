//! Opening uploads: keys and quotas.

use super::{Change, Fresh, at, digest, owner, upload};
use crate::store::Opened;
use futures::future::join_all;
use protocol::{
    BatchId, ErrorCode, PoolId, Refusal, UploadId, UploadKey,
    identity::Owner,
    upload::{FileMeta, Upload},
};

pub(super) async fn what_is_opened_is_found_whole(fresh: Fresh) {
    let bare = fresh.opened(upload(&owner("anna"))).await;
    let full = upload(&owner("börje \"b\""));
    let full = Upload {
        meta: FileMeta {
            name: "träd's \"picture\".jpg".to_owned(),
            size: i64::MAX as u64,
            content_type: Some("image/jpeg".to_owned()),
            digest: Some(digest(9)),
            pool: Some(PoolId::new()),
            captured_at: Some("1969-12-31T23:59:59.999999Z".parse().unwrap()),
            batch: Some(BatchId::new()),
            title: Some("a title".to_owned()),
            description: Some("a description".to_owned()),
            tags: vec!["one".to_owned(), "t\"wo".to_owned()],
        },
        ..full
    };
    fresh.opened(full.clone()).await;
    for upload in [bare, full] {
        assert_eq!(
            fresh.store.upload(upload.upload_id).await.unwrap().as_ref(),
            Some(&upload)
        );
        assert_eq!(
            fresh.store.upload_of_file(upload.file_id).await.unwrap(),
            Some(upload)
        );
    }
    let unknown = upload(&owner("anna"));
    assert_eq!(fresh.store.upload(unknown.upload_id).await.unwrap(), None);
    assert_eq!(
        fresh.store.upload_of_file(unknown.file_id).await.unwrap(),
        None
    );
}

pub(super) async fn a_key_opens_one_upload_per_owner(fresh: Fresh) {
    let (anna, berta) = (owner("anna"), owner("berta"));
    let key = Some(UploadKey::new());
    let first = upload(&anna);
    assert_eq!(
        fresh.store.open(&first, key, None).await.unwrap(),
        Opened::Created
    );
    let ended = fresh.changed(first.upload_id, Change::Abort, at(1)).await;
    // The upload is found as it stands now, and the second one leaves nothing behind.
    let second = upload(&anna);
    assert_eq!(
        fresh.store.open(&second, key, None).await.unwrap(),
        Opened::Existing(Box::new(ended))
    );
    assert_eq!(fresh.store.upload(second.upload_id).await.unwrap(), None);

    assert_eq!(
        fresh.store.open(&upload(&berta), key, None).await.unwrap(),
        Opened::Created
    );
    assert_eq!(
        fresh
            .store
            .open(&upload(&anna), Some(UploadKey::new()), None)
            .await
            .unwrap(),
        Opened::Created
    );
    assert_eq!(
        fresh.store.open(&upload(&anna), None, None).await.unwrap(),
        Opened::Created
    );
    assert_eq!(
        fresh.store.open(&upload(&anna), None, None).await.unwrap(),
        Opened::Created
    );
}

pub(super) async fn a_race_of_one_key_opens_one_upload(fresh: Fresh) {
    let anna = owner("anna");
    let key = Some(UploadKey::new());
    let uploads: Vec<Upload> = (0..50).map(|_| upload(&anna)).collect();
    let opened = join_all(
        uploads
            .iter()
            .map(|upload| fresh.store.open(upload, key, None)),
    )
    .await;
    let winner = opened
        .iter()
        .position(|opened| matches!(opened, Ok(Opened::Created)))
        .unwrap();
    for (number, opened) in opened.into_iter().enumerate() {
        if number != winner {
            assert_eq!(
                opened.unwrap(),
                Opened::Existing(Box::new(uploads[winner].clone()))
            );
        }
    }
}

fn sized(upload: Upload, size: u64) -> Upload {
    Upload {
        meta: FileMeta {
            size,
            ..upload.meta.clone()
        },
        ..upload
    }
}

impl Fresh {
    /// Opens an upload of a size under a quota of 100 bytes.
    async fn open_sized(&self, owner: &Owner, size: u64) -> (Opened, UploadId) {
        let upload = sized(upload(owner), size);
        (
            self.store.open(&upload, None, Some(100)).await.unwrap(),
            upload.upload_id,
        )
    }

    /// Makes an open upload a file whose first attempt ends with a change.
    async fn resolved(&self, id: UploadId, change: Change) {
        self.changed(id, Change::Cache { digest: digest(1) }, at(1))
            .await;
        self.dispatched(at(1)).await;
        self.changed(id, change, at(2)).await;
    }
}

pub(super) async fn a_quota_counts_what_is_under_way_and_stored(fresh: Fresh) {
    let anna = owner("anna");
    let (opened, first) = fresh.open_sized(&anna, 60).await;
    assert_eq!(opened, Opened::Created);
    let (opened, refused) = fresh.open_sized(&anna, 41).await;
    assert_eq!(opened, Opened::QuotaExceeded { used: 60 });
    assert_eq!(fresh.store.upload(refused).await.unwrap(), None);
    assert_eq!(
        fresh.open_sized(&owner("berta"), 100).await.0,
        Opened::Created
    );
    fresh.resolved(first, Change::Store { attempt: 1 }).await;
    assert_eq!(
        fresh.open_sized(&anna, 41).await.0,
        Opened::QuotaExceeded { used: 60 }
    );
    assert_eq!(fresh.open_sized(&anna, 40).await.0, Opened::Created);
}

pub(super) async fn a_quota_gets_back_what_is_not_stored(fresh: Fresh) {
    let anna = owner("anna");
    let refusal = Refusal::bare(ErrorCode::TypeForbidden);
    for change in [Change::Abort, Change::Expire, Change::Reject(refusal)] {
        let (opened, id) = fresh.open_sized(&anna, 100).await;
        assert_eq!(opened, Opened::Created, "before {change:?}");
        fresh.changed(id, change, at(1)).await;
    }
    let (opened, failed) = fresh.open_sized(&anna, 100).await;
    assert_eq!(opened, Opened::Created);
    fresh
        .resolved(
            failed,
            Change::Fail {
                attempt: 1,
                reason: String::new(),
            },
        )
        .await;
    assert_eq!(fresh.open_sized(&anna, 100).await.0, Opened::Created);
    assert_eq!(
        fresh.open_sized(&anna, 1).await.0,
        Opened::QuotaExceeded { used: 100 }
    );
}

pub(super) async fn a_race_never_passes_the_quota(fresh: Fresh) {
    let anna = owner("anna");
    let uploads: Vec<Upload> = (0..20).map(|_| sized(upload(&anna), 10)).collect();
    let opened = join_all(
        uploads
            .iter()
            .map(|upload| fresh.store.open(upload, None, Some(95))),
    )
    .await;
    let created = opened
        .iter()
        .filter(|opened| matches!(opened, Ok(Opened::Created)))
        .count();
    assert_eq!(created, 9);
}
