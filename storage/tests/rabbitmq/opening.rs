//! Opening: what is wrong for good is said at once, what is only away is waited for.

use super::{Namespace, broker, within};
use lapin::{options::QueueDeclareOptions, types::FieldTable};
use std::{net::TcpListener, time::Duration};
use storage::{
    OpenError,
    conformance::{news, work},
    events::EventError,
    open_events,
};

/// The URL of the shared broker with another virtual host, and another user and password if they are given.
fn other(user: Option<&str>, vhost: &str) -> String {
    let broker = broker();
    let (own, place) = broker.split_once('@').expect("the URL has a user");
    let own = own.strip_prefix("amqp://").expect("it is of a broker");
    let user = user.unwrap_or(own);
    let (host, _) = place.split_once('/').expect("the URL has a virtual host");
    format!("amqp://{user}@{host}/{vhost}")
}

async fn refusal(url: &str) -> String {
    match open_events(url).await {
        Err(error @ OpenError::Refused { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it opened"),
    }
}

#[tokio::test]
async fn a_wrong_url_is_refused() {
    for (url, expected) in [
        (other(Some("nobody:hidden"), "%2f"), "ACCESS_REFUSED"),
        (other(Some("guest:hidden"), "%2f"), "ACCESS_REFUSED"),
        (other(None, "hidden-vhost"), "NOT_ALLOWED"),
        ("amqp://guest:hidden@localhost:port".to_owned(), "no URL"),
        ("amqp://guest:hidden@localhost/?x=y".to_owned(), "\"x\""),
    ] {
        let refusal = refusal(&url).await;
        assert!(refusal.contains(expected), "{refusal}");
        assert!(!refusal.contains(":hidden"), "{refusal}");
    }
}

#[tokio::test]
async fn queues_of_others_are_not_touched() {
    let namespace = Namespace::new();
    let channel = namespace.channel().await;
    let name = format!("{}.work", namespace.prefix);
    let options = QueueDeclareOptions::default();
    channel
        .queue_declare(name.into(), options, FieldTable::default())
        .await
        .expect("it answers");
    let refusal = refusal(&namespace.url()).await;
    assert!(refusal.contains("PRECONDITION_FAILED"), "{refusal}");
    namespace.remove().await;
}

#[tokio::test]
async fn a_broker_that_is_away_or_silent_is_unavailable_soon() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent_port = silent.local_addr().expect("it is bound").port();
    // Nobody listens on a port that was just given back.
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let away_port = free.local_addr().expect("it is bound").port();
    drop(free);
    for port in [away_port, silent_port] {
        let url = format!("amqp://guest:guest@127.0.0.1:{port}/%2f");
        let soon = Duration::from_secs(7);
        let opened = within(soon, "opening", open_events(&url)).await;
        let events = opened.expect("a broker may be away at the start");
        let queued = within(soon, "queueing", events.queue(vec![work(1)])).await;
        assert!(matches!(queued, Err(EventError::Unavailable(_))));
        let told = within(soon, "telling", events.tell(vec![news(1)])).await;
        assert!(matches!(told, Err(EventError::Unavailable(_))));
        let consumer = within(soon, "consuming", events.consume(1)).await;
        assert!(matches!(consumer, Err(EventError::Unavailable(_))));
        let listener = within(soon, "listening", events.listen()).await;
        assert!(matches!(listener, Err(EventError::Unavailable(_))));
        events.close().await;
        assert!(matches!(events.consume(1).await, Err(EventError::Closed)));
    }
}
