//! State changes: each from one state only, each once.

use super::{Change, Fresh, at, digest, owner, upload};
use futures::future::join_all;
use protocol::{ErrorCode, Refusal, TransferStatus, UploadId};

/// Every change, for an upload whose first attempt is under way if one is.
fn all() -> [Change; 7] {
    let reason = || "because".to_owned();
    [
        Change::Reject(Refusal::bare(ErrorCode::DigestMismatch)),
        Change::Abort,
        Change::Expire,
        Change::Cache { digest: digest(2) },
        Change::Store { attempt: 1 },
        Change::Retry {
            attempt: 1,
            reason: reason(),
            due_at: at(70),
        },
        Change::Fail {
            attempt: 1,
            reason: reason(),
        },
    ]
}

pub(super) async fn each_change_starts_from_one_state_only(fresh: Fresh) {
    for status in TransferStatus::ALL {
        for change in all() {
            let before = fresh.brought_to(status, at(5)).await;
            assert_eq!(before.status, status);
            let expected = match status {
                TransferStatus::Open => matches!(
                    change,
                    Change::Reject(_) | Change::Abort | Change::Expire | Change::Cache { .. }
                ),
                TransferStatus::Storing => {
                    matches!(
                        change,
                        Change::Store { .. } | Change::Retry { .. } | Change::Fail { .. }
                    )
                }
                _ => false,
            };
            let head = fresh
                .store
                .log(protocol::Topic::Admin, &before.tenant, 0, 0)
                .await
                .unwrap()
                .head;
            let applied = fresh
                .store
                .apply(before.upload_id, change.clone(), at(6))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(applied.changed, expected, "{change:?} from {status}");
            let after = fresh.store.upload(before.upload_id).await.unwrap().unwrap();
            assert_eq!(applied.upload, after);
            if !expected {
                assert_eq!(after, before, "{change:?} from {status}");
                let log = fresh
                    .store
                    .log(protocol::Topic::Admin, &before.tenant, 0, 0)
                    .await
                    .unwrap();
                assert_eq!(log.head, head, "{change:?} from {status} told somebody");
            }
        }
    }
}

pub(super) async fn an_unknown_upload_is_not_changed(fresh: Fresh) {
    for change in all() {
        assert_eq!(
            fresh
                .store
                .apply(UploadId::new(), change, at(1))
                .await
                .unwrap(),
            None
        );
    }
}

pub(super) async fn a_race_of_one_change_is_won_once(fresh: Fresh) {
    let id = fresh.opened(upload(&owner("anna"))).await.upload_id;
    let cache = || {
        fresh
            .store
            .apply(id, Change::Cache { digest: digest(1) }, at(1))
    };
    let won = join_all((0..20).map(|_| cache())).await.into_iter();
    assert_eq!(
        won.filter(|applied| applied.as_ref().unwrap().as_ref().unwrap().changed)
            .count(),
        1
    );

    fresh.dispatched(at(1)).await;
    let store = || fresh.store.apply(id, Change::Store { attempt: 1 }, at(2));
    let retry = || {
        fresh.store.apply(
            id,
            Change::Retry {
                attempt: 1,
                reason: String::new(),
                due_at: at(3),
            },
            at(2),
        )
    };
    let (stored, retried) = tokio::join!(
        join_all((0..10).map(|_| store())),
        join_all((0..10).map(|_| retry()))
    );
    let won = stored.into_iter().chain(retried);
    assert_eq!(
        won.filter(|applied| applied.as_ref().unwrap().as_ref().unwrap().changed)
            .count(),
        1
    );
}

pub(super) async fn what_a_change_says_is_kept(fresh: Fresh) {
    let id = fresh.opened(upload(&owner("anna"))).await.upload_id;
    let refusal = Refusal::new(ErrorCode::DigestMismatch, "it is another file");
    let rejected = fresh.changed(id, Change::Reject(refusal), at(1)).await;
    assert_eq!(rejected.code, Some(ErrorCode::DigestMismatch));
    assert_eq!(rejected.reason.as_deref(), Some("it is another file"));

    let cached = fresh.cached(upload(&owner("anna")), at(2)).await;
    assert_eq!(
        (cached.received_at, cached.computed_digest),
        (Some(at(2)), Some(digest(1)))
    );
    assert_eq!((cached.attempts, cached.reason), (0, None));
    let id = cached.upload_id;
    fresh.dispatched(at(2)).await;
    let retry = Change::Retry {
        attempt: 1,
        reason: "no room".to_owned(),
        due_at: at(9),
    };
    let retrying = fresh.changed(id, retry, at(3)).await;
    assert_eq!(
        (retrying.attempts, retrying.reason.as_deref()),
        (1, Some("no room"))
    );
    assert_eq!(
        (retrying.received_at, retrying.computed_digest),
        (Some(at(2)), Some(digest(1)))
    );
    fresh.dispatched(at(9)).await;
    let stored = fresh
        .changed(id, Change::Store { attempt: 2 }, at(10))
        .await;
    assert_eq!(
        (stored.attempts, stored.reason, stored.received_at),
        (2, None, Some(at(2)))
    );
}
