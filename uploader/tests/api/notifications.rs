//! `GET /notifications`, `GET /notifications/heads`, and what listeners hear.

use crate::support::{Harness, caller, refused, soon};
use futures::future::join_all;
use protocol::{
    ErrorCode, Topic,
    upload::{LogHead, LogPage},
};
use std::collections::BTreeMap;
use storage::events::Events;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_hear_everything_once_and_in_order() {
    let h = Harness::new().await;
    let callers = [caller("anna"), caller("berta")];
    let mut news = h.events.listen().await.unwrap();
    let running = h.run();
    join_all((0..40).map(|number| h.cached(&callers[number % 2]))).await;
    let mut heard: BTreeMap<Topic, Vec<u64>> = BTreeMap::new();
    for _ in 0..80 {
        let published = soon(news.next()).await.unwrap();
        heard
            .entry(published.notification.topic)
            .or_default()
            .push(published.notification.offset);
    }
    assert_eq!(heard[&Topic::Admin], (1..=40).collect::<Vec<u64>>());
    for caller in &callers {
        assert_eq!(
            heard[&Topic::User(caller.user_id)],
            (1..=20).collect::<Vec<u64>>()
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn a_log_is_read_by_the_page() {
    let h = Harness::new().await;
    let anna = caller("anna");
    for _ in 0..3 {
        h.cached(&anna).await;
    }
    let page = async |after: u64, limit: u32| {
        let path = format!(
            "/notifications?topic=user%3A{}&tenant=default&after={after}&limit={limit}",
            anna.user_id
        );
        let page: LogPage = h.get(&path).await.unwrap();
        assert_eq!((page.head, page.oldest), (3, 1));
        page.notifications
            .into_iter()
            .map(|entry| entry.offset)
            .collect::<Vec<_>>()
    };
    assert_eq!(page(0, 2).await, [1, 2]);
    assert_eq!(page(2, u32::MAX).await, [3]);
    assert!(page(0, 0).await.is_empty());
    for query in [
        "",
        "topic=weather&tenant=default&after=0&limit=1",
        "topic=admin&after=0&limit=1",
    ] {
        refused(
            h.get::<LogPage>(&format!("/notifications?{query}")).await,
            ErrorCode::InvalidMessage,
        );
    }
}

#[tokio::test]
async fn heads_are_the_same_ones_after_a_restart() {
    let h = Harness::new().await;
    let anna = caller("anna");
    h.cached(&anna).await;
    let path = format!(
        "/notifications/heads?log=admin:default&log=user:{}&log=user:nobody",
        anna.user_id
    );
    let heads: Vec<LogHead> = h.get(&path).await.unwrap();
    assert_eq!(
        heads.iter().map(|head| head.head).collect::<Vec<_>>(),
        [1, 1, 0]
    );
    assert_eq!(heads[1].log, format!("user:{}", anna.user_id));
    let h = h.restart().await;
    assert_eq!(h.get::<Vec<LogHead>>(&path).await.unwrap(), heads);
    assert_eq!(
        h.get::<Vec<LogHead>>("/notifications/heads").await.unwrap(),
        []
    );
    let many = format!("/notifications/heads?{}", "log=a&".repeat(1001));
    refused(
        h.get::<Vec<LogHead>>(&many).await,
        ErrorCode::InvalidMessage,
    );
}
