use super::*;
use axum::{Json, Router, routing::get};
use protocol::UserId;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::{
    events::LocalEvents,
    faults::{EventCall, FaultyEvents},
};

const SOON: Duration = Duration::from_secs(5);

/// An uploader whose every log has come as far as `head`.
fn uploader(log: &str, head: &Arc<AtomicU64>) -> Peer {
    let (log, in_heads, in_pages) = (log.to_owned(), head.clone(), head.clone());
    let heads = move || async move {
        Json(vec![LogHead {
            log,
            epoch: "one".to_owned(),
            head: in_heads.load(Ordering::SeqCst),
        }])
    };
    let page = move || async move {
        let head = in_pages.load(Ordering::SeqCst);
        Json(LogPage {
            epoch: "one".to_owned(),
            head,
            oldest: 1,
            notifications: Vec::new(),
        })
    };
    let router = Router::new()
        .route("/notifications", get(page))
        .route("/notifications/heads", get(heads));
    Peer::local("uploader", router)
}

#[tokio::test]
async fn heads_are_compared_as_soon_as_news_are_heard_again() {
    let (topic, tenant) = (Topic::User(UserId::new()), TenantId::default());
    let log = topic.log_name(&tenant);
    let head = Arc::new(AtomicU64::new(7));
    let events = Arc::new(FaultyEvents::new(Arc::new(LocalEvents::new())));
    let topics = Topics::new(uploader(&log, &head), events.clone(), 100);
    let mut ear = Ear::new();
    let subscribed = topics.subscribe(ear.sender(), topic, &tenant, None).await;
    assert_eq!(subscribed.expect("it answers").1.offset, 7);
    assert_eq!(events.script().calls(EventCall::Bind), 1);

    let heard = async {
        // What is compared when the first listener begins.
        let hint = ear.next().await;
        assert!(matches!(hint, Some(Hint::Head { offset: 7, .. })));
        head.store(9, Ordering::SeqCst);
        events.cut_listeners();
        let hint = ear.next().await;
        assert!(matches!(hint, Some(Hint::Head { offset: 9, .. })));
    };
    let hour = Duration::from_secs(3600);
    tokio::select! {
        () = topics.fan_out() => panic!("the engine is not closed"),
        () = topics.compare_heads(hour) => panic!("it never ends"),
        heard = tokio::time::timeout(SOON, heard) => heard.expect("it comes at once"),
    }
}
