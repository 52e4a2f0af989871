use super::{testing::Listener, *};
use crate::socket::event::Event;
use axum::{Json, Router, extract::Query, routing::get};
use futures::FutureExt;
use protocol::UserId;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::{
    events::LocalEvents,
    faults::{EventCall, FaultyEvents},
};

const SOON: Duration = Duration::from_secs(5);

/// An uploader whose every log has come as far as `head`.
fn uploader(head: &Arc<AtomicU64>) -> Peer {
    let (in_heads, in_pages) = (head.clone(), head.clone());
    let heads = move |Query(asked): Query<Vec<(String, String)>>| async move {
        let head = |(_, log): (String, String)| LogHead {
            log,
            epoch: "one".to_owned(),
            head: in_heads.load(Ordering::SeqCst),
            oldest: 1,
        };
        Json(asked.into_iter().map(head).collect::<Vec<_>>())
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
    let topics = Topics::new(uploader(&head), events.clone(), 100);
    let mut session = Listener::of(&topics);
    let subscribed = topics.subscribe(&session.ear, topic, &tenant, None).await;
    let (cursor, state) = subscribed.expect("it answers");
    assert_eq!(state.offset, 7);
    session.ear.begin(cursor);
    assert_eq!(events.script().calls(EventCall::Bind), 1);

    let heard = async {
        head.store(9, Ordering::SeqCst);
        events.cut_listeners();
        assert!(matches!(session.event().await, Event::Behind));
        let gap = Gap {
            topic,
            log: log.as_str().into(),
            after: 7,
        };
        assert_eq!(session.ear.gaps(), [gap]);
    };
    let hour = Duration::from_secs(3600);
    tokio::select! {
        () = topics.fan_out() => panic!("the engine is not closed"),
        () = topics.compare_heads(hour) => panic!("it never ends"),
        heard = tokio::time::timeout(SOON, heard) => heard.expect("it comes at once"),
    }
}

/// Tells notifications of a user's topic, all that wait together.
async fn tell(topics: &Topics, offsets: std::ops::RangeInclusive<u64>, topic: Topic) {
    let published = |offset| Published {
        notification: notification(topic, offset),
        tenant: TenantId::default(),
    };
    topics.tell_all(&mut offsets.map(published).collect()).await;
}

/// A notification of a user's topic.
fn notification(topic: Topic, offset: u64) -> Notification {
    Notification {
        topic,
        epoch: "one".to_owned(),
        offset,
        event: "file.cached".to_owned(),
        time: jiff::Timestamp::UNIX_EPOCH,
        data: serde_json::Value::Null,
    }
}

#[tokio::test]
async fn a_notification_is_encoded_once_for_all_who_hear_it() {
    let (topic, tenant) = (Topic::User(UserId::new()), TenantId::default());
    let head = Arc::new(AtomicU64::new(0));
    let uploader = uploader(&head);
    let topics = Topics::new(uploader, Arc::new(LocalEvents::new()), 100);
    // More than are written to in one go.
    let sessions: Vec<_> = (0..2 * SLICE + 1).map(|_| Listener::of(&topics)).collect();
    for session in &sessions {
        let subscribed = topics.subscribe(&session.ear, topic, &tenant, None).await;
        session.ear.begin(subscribed.expect("it answers").0);
    }
    tell(&topics, 1..=1, topic).await;
    let sent: Vec<_> = sessions.iter().map(|session| session.line.take()).collect();
    let frame = &sent[0][0];
    for frames in &sent {
        assert_eq!(frames.len(), 1, "each hears it once");
        assert_eq!(frames[0].as_ptr(), frame.as_ptr(), "the same bytes");
    }
    drop(sessions);
    assert!(topics.listeners().present().is_empty());
}

#[tokio::test]
async fn what_is_told_before_the_topic_begins_is_read_from_the_log() {
    let (topic, tenant) = (Topic::User(UserId::new()), TenantId::default());
    let head = Arc::new(AtomicU64::new(7));
    let uploader = uploader(&head);
    let topics = Topics::new(uploader, Arc::new(LocalEvents::new()), 100);
    let session = Listener::of(&topics);
    let subscribed = topics.subscribe(&session.ear, topic, &tenant, None).await;
    tell(&topics, 8..=8, topic).await;
    assert!(
        session.line.take().is_empty(),
        "not before the client is told that it hears"
    );
    session.ear.begin(subscribed.expect("it answers").0);
    assert_eq!(session.ear.gaps()[0].after, 7);
    tell(&topics, 9..=9, topic).await;
    assert!(session.line.take().is_empty(), "not before what was missed");
    let page = |offsets: std::ops::RangeInclusive<u64>| LogPage {
        epoch: "one".to_owned(),
        head: *offsets.end(),
        oldest: 1,
        notifications: offsets.map(|offset| notification(topic, offset)).collect(),
    };
    let log = topic.log_name(&tenant);
    session.ear.read(&log, page(8..=9));
    assert_eq!(session.line.take().len(), 2);
    tell(&topics, 10..=10, topic).await;
    assert_eq!(session.line.take(), [encode(notification(topic, 10))]);
}

#[tokio::test]
async fn whoever_reads_too_slowly_is_told_of_the_gap_once() {
    let (topic, tenant) = (Topic::User(UserId::new()), TenantId::default());
    let head = Arc::new(AtomicU64::new(0));
    let uploader = uploader(&head);
    let topics = Topics::new(uploader, Arc::new(LocalEvents::new()), 100);
    let mut session = Listener::of(&topics);
    let subscribed = topics.subscribe(&session.ear, topic, &tenant, None).await;
    session.ear.begin(subscribed.expect("it answers").0);
    for offset in 1..=4 {
        tell(&topics, offset..=offset, topic).await;
    }
    assert_eq!(
        session.line.take().len(),
        1,
        "the first one is beyond the bound"
    );
    assert!(matches!(session.event().await, Event::Behind));
    assert!(session.event().now_or_never().is_none());
    assert_eq!(session.ear.gaps()[0].after, 1);
    topics.unsubscribe(&topic.log_name(&tenant), &session.ear);
    assert!(session.ear.gaps().is_empty());
}

#[tokio::test]
async fn news_that_wait_together_are_sent_together() {
    let (one, other) = (Topic::User(UserId::new()), Topic::User(UserId::new()));
    let tenant = TenantId::default();
    let head = Arc::new(AtomicU64::new(0));
    let uploader = uploader(&head);
    let topics = Topics::new(uploader, Arc::new(LocalEvents::new()), 100);
    let mut sessions = Vec::new();
    for topic in [one, other] {
        let session = Listener::of(&topics);
        let subscribed = topics.subscribe(&session.ear, topic, &tenant, None).await;
        session.ear.begin(subscribed.expect("it answers").0);
        sessions.push(session);
    }
    let told = [(one, 1), (other, 1), (one, 2), (other, 3)];
    let mut batch = told
        .map(|(topic, offset)| Published {
            notification: notification(topic, offset),
            tenant: TenantId::default(),
        })
        .to_vec();
    topics.tell_all(&mut batch).await;
    let frames = |topic, offsets: &[u64]| -> Bytes {
        let frames = offsets
            .iter()
            .map(|offset| encode(notification(topic, *offset)));
        frames.collect::<Vec<_>>().concat().into()
    };
    assert_eq!(sessions[0].line.take(), [frames(one, &[1, 2])]);
    assert_eq!(sessions[1].line.take(), [frames(other, &[1])]);
    assert_eq!(
        sessions[1].ear.gaps()[0].after,
        1,
        "what came out of order is read"
    );
}

#[tokio::test]
async fn a_session_that_is_over_holds_no_socket() {
    let head = Arc::new(AtomicU64::new(0));
    let topics = Topics::new(uploader(&head), Arc::new(LocalEvents::new()), 100);
    let Listener { ear, line, .. } = Listener::of(&topics);
    // A task that began for the session may go on for a while.
    let held = ear.clone();
    drop(ear);
    assert_eq!(Arc::strong_count(&line), 1);
    drop(held);
}
