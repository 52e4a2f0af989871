//! Several uploaders on one database: each does its part, and makes up for one that died.

use crate::support::{Harness, caller, complete, failure, meta, soon, success};
use futures::future::join_all;
use protocol::{TransferStatus, UploadId, upload::PersistFile};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
    time::Duration,
};
use storage::events::Events;
use uploader::{Swept, sweep};

/// More than a relay that is alive needs to say that it has queued what it took.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_attempt_is_queued_once_by_whichever_is_there() {
    let one = Harness::replica().await;
    let two = one.beside().await;
    let anna = caller("anna");
    let running = [one.run(), two.run()];
    let both = [&one, &two];
    let files = join_all((0..40).map(|number| both[number % 2].cached(&anna))).await;
    let mut attempts: BTreeMap<UploadId, u32> = BTreeMap::new();
    for number in 0..files.len() {
        let PersistFile { upload, attempt } = one.work().await;
        *attempts.entry(upload.upload_id).or_default() += attempt;
        // Reports come to any of them.
        both[number % 2]
            .report(upload.upload_id, attempt, success())
            .await
            .unwrap();
    }
    assert_eq!(attempts.len(), files.len());
    assert!(attempts.values().all(|attempts| *attempts == 1));
    // Had there been more in the queue, this would not be next.
    let last = two.cached(&anna).await;
    assert_eq!(one.work().await.upload.upload_id, last.upload_id);
    for running in running {
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_is_queued_in_order_however_many_turns_it_takes() {
    let one = Harness::replica().await;
    let anna = caller("anna");
    let mut waiting = Vec::new();
    for _ in 0..6 {
        let files = join_all((0..50).map(|_| one.cached(&anna))).await;
        waiting.extend(files.into_iter().map(|file| file.upload_id));
        one.advance(Duration::from_secs(1));
    }
    let running = one.run();
    for together in waiting.chunks(50) {
        let mut queued = BTreeSet::new();
        for _ in together {
            queued.insert(one.work().await.upload.upload_id);
        }
        assert_eq!(queued, together.iter().copied().collect());
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_nobody_was_woken_for_is_found() {
    let one = Harness::replica().await;
    let two = one.beside().await;
    let running = two.run();
    // The first has no relay that runs, so nobody but the second can queue it.
    let file = one.cached(&caller("anna")).await;
    assert_eq!(two.work().await.upload.upload_id, file.upload_id);
    one.report(file.upload_id, 1, failure(false)).await.unwrap();
    assert_eq!(two.work().await.attempt, 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_relay_took_and_did_not_queue_is_queued_by_another() {
    let dead = Harness::replica().await;
    // The engine is away for as long as it lives: it dies while it insists.
    dead.events.fail_next(usize::MAX);
    let running = dead.run();
    let file = dead.cached(&caller("anna")).await;
    soon(async {
        while dead.events.failed.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(
        dead.upload(file.upload_id).await.status,
        TransferStatus::Storing
    );
    running.stop().await;
    dead.events.fail_next(0);

    let other = dead.beside().await;
    let running = other.run();
    other.advance(LONG);
    let work = other.work().await;
    assert_eq!((work.upload.upload_id, work.attempt), (file.upload_id, 1));
    let stored = other.report(file.upload_id, 1, success()).await.unwrap();
    assert_eq!(
        (stored.status, stored.attempts),
        (TransferStatus::UploadedSuccessfully, 1)
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_queued_and_takes_long_is_not_queued_again() {
    let h = Harness::replica().await;
    let anna = caller("anna");
    let running = h.run();
    let slow = h.cached(&anna).await;
    assert_eq!(h.work().await.upload.upload_id, slow.upload_id);
    // What the relay has queued, it notes at the latest when it stops.
    let other = h.cached(&anna).await;
    assert_eq!(h.work().await.upload.upload_id, other.upload_id);
    running.stop().await;

    let again = h.beside().await;
    again.advance(LONG);
    let running = again.run();
    let last = again.cached(&anna).await;
    let mut seen = BTreeSet::new();
    while !seen.contains(&last.upload_id) {
        seen.insert(again.work().await.upload.upload_id);
    }
    assert!(!seen.contains(&slow.upload_id), "it is in the queue still");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sweeps_at_once_do_each_thing_once() {
    let one = Harness::replica().await;
    let two = one.beside().await;
    let anna = caller("anna");
    let late = join_all((0..30).map(|_| one.filled(&anna, meta("late", 10)))).await;
    let orphan = UploadId::new();
    one.chunks.open(orphan, 10).await.unwrap();
    one.advance(Duration::from_secs(24 * 3600));
    let file = one.cached(&anna).await;
    let (first, second) = tokio::join!(sweep(&one.uploader), sweep(&two.uploader));
    assert_eq!(first.unwrap().expired + second.unwrap().expired, 30);
    for (upload, _) in late {
        assert_eq!(
            two.upload(upload.upload_id).await.status,
            TransferStatus::Expired
        );
        assert_eq!(one.sealed(upload.upload_id).await, None);
    }
    assert_eq!(one.sealed(orphan).await, None);
    assert_eq!(two.upload(file.upload_id).await, file);
    assert_eq!(one.sealed(file.upload_id).await, Some(true));
    assert_eq!(sweep(&two.uploader).await.unwrap(), Swept::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_completed_and_ended_at_whichever() {
    let one = Harness::replica().await;
    let two = one.beside().await;
    let anna = caller("anna");
    let (upload, generation) = one.filled(&anna, meta("photo.jpg", 10)).await;
    let request = complete(&anna, &upload, generation);
    let (first, second) = tokio::join!(one.submit(&request), two.submit(&request));
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(two.told(&anna).await, ["file.cached"]);
    let open = two.open(&anna, None, meta("other.jpg", 10)).await.unwrap();
    let ended = one
        .end(&anna, open.upload_id, TransferStatus::Aborted, None)
        .await
        .unwrap();
    assert_eq!(two.upload(open.upload_id).await, ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_are_told_by_the_one_that_committed_them() {
    let one = Harness::replica().await;
    let two = one.beside().await;
    let anna = caller("anna");
    let running = [one.run(), two.run()];
    let mut news = one.events.listen().await.unwrap();
    let files = [one.cached(&anna).await, two.cached(&anna).await];
    let mut told = BTreeSet::new();
    while told.len() < 2 * files.len() {
        let heard = soon(news.next()).await.unwrap().notification;
        told.insert((heard.topic, heard.offset));
    }
    for running in running {
        running.stop().await;
    }
}
