//! What the sweeper asks for.

use super::{Fresh, at, owner, upload};
use protocol::{TenantId, Topic, TransferStatus, UploadId, upload::Upload};
use std::collections::HashMap;

pub(super) async fn overdue_uploads_are_open_ones_past_their_time(fresh: Fresh) {
    let until = |second| Upload {
        expires_at: at(second),
        ..upload(&owner("anna"))
    };
    let late = fresh.opened(until(20)).await.upload_id;
    let early = fresh.opened(until(10)).await.upload_id;
    fresh.opened(until(30)).await;
    fresh.cached(until(5), at(1)).await;
    assert_eq!(fresh.store.overdue(at(9), 10).await.unwrap(), []);
    assert_eq!(
        fresh.store.overdue(at(20), 10).await.unwrap(),
        [early, late]
    );
    assert_eq!(fresh.store.overdue(at(20), 1).await.unwrap(), [early]);
}

pub(super) async fn old_outcomes_are_purged_except_failed_files(fresh: Fresh) {
    let mut uploads = Vec::new();
    for status in TransferStatus::ALL {
        uploads.push((status, fresh.brought_to(status, at(10)).await.upload_id));
    }
    assert_eq!(fresh.store.purge(at(10), 100).await.unwrap(), 0);
    assert_eq!(
        fresh.store.purge(at(11), 1).await.unwrap(),
        1,
        "no more than the limit"
    );
    assert_eq!(fresh.store.purge(at(11), 100).await.unwrap(), 3);
    for (status, id) in uploads {
        let purged = status.is_final() && status != TransferStatus::UploadFailed;
        assert_eq!(
            fresh.store.upload(id).await.unwrap().is_none(),
            purged,
            "{status}"
        );
    }
}

pub(super) async fn statuses_are_of_known_uploads(fresh: Fresh) {
    let open = fresh.opened(upload(&owner("anna"))).await.upload_id;
    let aborted = fresh
        .brought_to(TransferStatus::Aborted, at(1))
        .await
        .upload_id;
    let statuses = fresh
        .store
        .statuses(&[open, UploadId::new(), aborted])
        .await
        .unwrap();
    assert_eq!(
        statuses,
        HashMap::from([
            (open, TransferStatus::Open),
            (aborted, TransferStatus::Aborted)
        ])
    );
    assert!(fresh.store.statuses(&[]).await.unwrap().is_empty());
}

/// The oldest number, the head, and the numbers that are there.
async fn log(fresh: &Fresh, topic: Topic) -> (u64, u64, Vec<u64>) {
    let page = fresh
        .store
        .log(topic, &TenantId::default(), 0, 100)
        .await
        .unwrap();
    (
        page.oldest,
        page.head,
        page.notifications
            .iter()
            .map(|entry| entry.offset)
            .collect(),
    )
}

pub(super) async fn logs_are_trimmed_from_the_beginning(fresh: Fresh) {
    let anna = owner("anna");
    let user = Topic::User(anna.id);
    // The clock was set back between the third and the fourth.
    for second in [1, 2, 9, 3, 9, 9] {
        fresh.cached(upload(&anna), at(second)).await;
    }
    fresh.cached(upload(&owner("berta")), at(9)).await;
    assert_eq!(fresh.store.trim_logs(100, at(1), 100).await.unwrap(), 0);
    assert_eq!(log(&fresh, user).await, (1, 6, vec![1, 2, 3, 4, 5, 6]));

    // The fourth is too old, so what is before it goes too: a log has no holes.
    assert_eq!(fresh.store.trim_logs(100, at(4), 100).await.unwrap(), 2);
    assert_eq!(log(&fresh, user).await, (5, 6, vec![5, 6]));
    assert_eq!(log(&fresh, Topic::Admin).await, (5, 7, vec![5, 6, 7]));
    assert_eq!(fresh.store.trim_logs(2, at(4), 100).await.unwrap(), 1);
    assert_eq!(log(&fresh, Topic::Admin).await, (6, 7, vec![6, 7]));
}

pub(super) async fn an_emptied_log_goes_on_from_its_head(fresh: Fresh) {
    let anna = owner("anna");
    let user = Topic::User(anna.id);
    for _ in 0..3 {
        fresh.cached(upload(&anna), at(1)).await;
    }
    assert_eq!(
        fresh.store.trim_logs(0, at(0), 1).await.unwrap(),
        1,
        "no more than the limit"
    );
    assert_eq!(fresh.store.trim_logs(0, at(0), 100).await.unwrap(), 1);
    assert_eq!(fresh.store.trim_logs(0, at(0), 100).await.unwrap(), 0);
    assert_eq!(log(&fresh, user).await, (4, 3, vec![]));
    fresh.cached(upload(&anna), at(9)).await;
    assert_eq!(log(&fresh, user).await, (4, 4, vec![4]));
}
