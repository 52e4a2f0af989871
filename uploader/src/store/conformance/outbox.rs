//! The outbox: what is due, what is in flight, what is lost.

use super::{Change, Fresh, at, digest, owner, upload};
use crate::store::{Dispatch, Dispatched, OutboxDepth, Queued};
use futures::FutureExt;
use protocol::{TransferStatus, UploadId};

const ALL: Dispatch = Dispatch {
    queued: Vec::new(),
    now: jiff::Timestamp::MAX,
    lost_before: jiff::Timestamp::MIN,
    unqueued_before: jiff::Timestamp::MIN,
    max_in_flight: 1_000,
    limit: 1_000,
};

/// Makes three files, at seconds 1, 2 and 3.
async fn three(fresh: &Fresh) -> [UploadId; 3] {
    let anna = owner("anna");
    [
        fresh.cached(upload(&anna), at(1)).await.upload_id,
        fresh.cached(upload(&anna), at(2)).await.upload_id,
        fresh.cached(upload(&anna), at(3)).await.upload_id,
    ]
}

fn ids(taken: &Dispatched) -> Vec<UploadId> {
    taken
        .work
        .iter()
        .map(|work| work.upload.upload_id)
        .collect()
}

pub(super) async fn attempts_are_taken_when_due_in_order(fresh: Fresh) {
    let [first, second, third] = three(&fresh).await;
    assert_eq!(
        fresh.store.outbox_depth().await.unwrap(),
        OutboxDepth {
            waiting: 3,
            dispatched: 0
        }
    );
    let none = fresh
        .store
        .dispatch(Dispatch { now: at(0), ..ALL })
        .await
        .unwrap();
    assert_eq!(
        none,
        Dispatched {
            work: vec![],
            next_due: Some(at(1)),
            oldest_dispatch: None,
            is_full: false,
        }
    );

    let one = fresh
        .store
        .dispatch(Dispatch {
            now: at(2),
            limit: 1,
            ..ALL
        })
        .await
        .unwrap();
    assert_eq!(ids(&one), [first]);
    assert_eq!(
        (one.next_due, one.oldest_dispatch),
        (Some(at(2)), Some(at(2)))
    );
    let work = &one.work[0];
    assert_eq!(
        (work.attempt, work.upload.attempts, work.upload.status),
        (1, 1, TransferStatus::Storing)
    );
    assert_eq!(
        fresh.store.upload(first).await.unwrap().as_ref(),
        Some(&work.upload)
    );

    assert_eq!(fresh.dispatched(at(2)).await, [(second, 1)]);
    assert_eq!(fresh.dispatched(at(4)).await, [(third, 1)]);
    assert_eq!(fresh.dispatched(at(5)).await, []);
    assert_eq!(
        fresh.store.outbox_depth().await.unwrap(),
        OutboxDepth {
            waiting: 0,
            dispatched: 3
        }
    );
}

pub(super) async fn attempts_in_flight_are_bounded(fresh: Fresh) {
    let [first, second, third] = three(&fresh).await;
    let two = || Dispatch {
        now: at(5),
        max_in_flight: 2,
        ..ALL
    };
    let taken = fresh.store.dispatch(two()).await.unwrap();
    assert_eq!(ids(&taken), [first, second]);
    // There is no time to wait for: only a report makes room.
    assert_eq!((taken.next_due, taken.is_full), (None, true));
    assert_eq!(fresh.store.dispatch(two()).await.unwrap().work, []);
    fresh
        .changed(first, Change::Store { attempt: 1 }, at(6))
        .await;
    assert_eq!(ids(&fresh.store.dispatch(two()).await.unwrap()), [third]);
}

pub(super) async fn a_lost_attempt_is_taken_again(fresh: Fresh) {
    let [first, ..] = three(&fresh).await;
    assert_eq!(fresh.dispatched(at(1)).await, [(first, 1)]);
    let lost = |second| Dispatch {
        now: at(2),
        lost_before: at(second),
        limit: 1,
        ..ALL
    };
    assert_ne!(ids(&fresh.store.dispatch(lost(0)).await.unwrap()), [first]);
    let again = fresh.store.dispatch(lost(1)).await.unwrap();
    assert_eq!(ids(&again), [first]);
    // It is the same attempt still, and counted once.
    assert_eq!(
        (again.work[0].attempt, again.work[0].upload.attempts),
        (1, 1)
    );
    assert_eq!(again.oldest_dispatch, Some(at(2)));
}

pub(super) async fn an_attempt_that_may_not_be_queued_is_taken_again(fresh: Fresh) {
    let [first, second, third] = three(&fresh).await;
    assert_eq!(fresh.dispatched(at(3)).await.len(), 3);
    let queued = |upload, attempt| Queued { upload, attempt };
    let look = |queued, second| Dispatch {
        queued,
        now: at(10),
        lost_before: at(-1),
        unqueued_before: at(second),
        ..ALL
    };
    // What is known of another attempt says nothing about this one.
    let known = vec![queued(first, 1), queued(second, 2)];
    let taken = fresh.store.dispatch(look(known, 2)).await.unwrap();
    assert_eq!(taken.work, [], "it was dispatched too late to be missed");
    let taken = fresh.store.dispatch(look(vec![], 3)).await.unwrap();
    assert_eq!(ids(&taken), [second, third]);
    assert_eq!(taken.work[0].upload.attempts, 1, "it is not counted again");

    // Once taken again, it has to be queued again.
    let known = vec![queued(second, 1)];
    let taken = fresh.store.dispatch(look(known, 10)).await.unwrap();
    assert_eq!(ids(&taken), [third]);
    // A retry is another attempt, of which nothing is known.
    let retry = Change::Retry {
        attempt: 1,
        reason: String::new(),
        due_at: at(11),
    };
    fresh.changed(first, retry, at(11)).await;
    assert_eq!(fresh.dispatched(at(12)).await, [(first, 2)]);
    let late = vec![queued(first, 1)];
    let taken = fresh.store.dispatch(look(late, 12)).await.unwrap();
    assert_eq!(ids(&taken), [third, first]);
    let taken = fresh.store.dispatch(look(vec![], 0)).await.unwrap();
    assert_eq!(taken.work, []);
}

pub(super) async fn a_new_process_takes_all_again(fresh: Fresh) {
    let [first, second, third] = three(&fresh).await;
    assert_eq!(fresh.dispatched(at(3)).await.len(), 3);
    fresh
        .changed(
            second,
            Change::Retry {
                attempt: 1,
                reason: String::new(),
                due_at: at(30),
            },
            at(4),
        )
        .await;
    fresh
        .changed(third, Change::Store { attempt: 1 }, at(4))
        .await;
    assert_eq!(fresh.store.forget_dispatches().await.unwrap(), 1);
    assert_eq!(fresh.dispatched(at(5)).await, [(first, 1)]);
    assert_eq!(fresh.dispatched(at(30)).await, [(second, 2)]);
}

pub(super) async fn a_resolved_attempt_is_gone(fresh: Fresh) {
    let [first, second, third] = three(&fresh).await;
    assert_eq!(fresh.dispatched(at(3)).await.len(), 3);
    fresh
        .changed(first, Change::Store { attempt: 1 }, at(4))
        .await;
    fresh
        .changed(
            second,
            Change::Fail {
                attempt: 1,
                reason: String::new(),
            },
            at(4),
        )
        .await;
    fresh
        .changed(
            third,
            Change::Retry {
                attempt: 1,
                reason: String::new(),
                due_at: at(9),
            },
            at(4),
        )
        .await;
    assert_eq!(
        fresh.store.outbox_depth().await.unwrap(),
        OutboxDepth {
            waiting: 1,
            dispatched: 0
        }
    );
    assert_eq!(fresh.dispatched(at(8)).await, []);
    assert_eq!(fresh.dispatched(at(9)).await, [(third, 2)]);
    // A report on the attempt before changes nothing any more.
    let old = fresh
        .store
        .apply(third, Change::Store { attempt: 1 }, at(10))
        .await
        .unwrap()
        .unwrap();
    assert!(!old.changed);
    assert_eq!(
        (old.upload.status, old.upload.attempts),
        (TransferStatus::Storing, 2)
    );
}

pub(super) async fn a_change_of_the_outbox_is_signalled(fresh: Fresh) {
    let is_told = |signal: &tokio::sync::Notify| signal.notified().now_or_never().is_some();
    let signalled = || is_told(&fresh.signals.outbox);
    let has_room = || is_told(&fresh.signals.room);
    let id = fresh.opened(upload(&owner("anna"))).await.upload_id;
    assert!(!signalled(), "opening has nothing to do with the outbox");
    fresh
        .changed(id, Change::Cache { digest: digest(1) }, at(1))
        .await;
    assert!(signalled() && !has_room());
    fresh.dispatched(at(1)).await;
    fresh.changed(id, Change::Store { attempt: 1 }, at(1)).await;
    assert!(has_room() && !signalled());
}
