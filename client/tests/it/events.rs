//! Notifications: in order, none twice, and honest about what was missed.

use crate::script::{Peer, Script, USER, notification, soon, user_topic};
use client::{Event, Events};
use protocol::{
    Topic, TransferStatus,
    message::{ClientMessage, ServerMessage, Subscribed},
    topic::{Position, Since, TopicState},
};

const STATUS: TransferStatus = TransferStatus::Cached;

async fn offsets(events: &mut Events, count: usize) -> Vec<u64> {
    let mut offsets = Vec::new();
    while offsets.len() < count {
        match soon(events.next()).await.unwrap() {
            Event::Notification(notification) => offsets.push(notification.offset),
            Event::Topic(_) => {}
            Event::Missed(topic) => panic!("{topic} was missed"),
        }
    }
    offsets
}

fn since(offset: u64) -> Since {
    Since::from([(
        Topic::User(USER),
        Position {
            epoch: "e1".to_owned(),
            offset,
        },
    )])
}

/// The next socket, its session opened with the user's topic; returns what the client has seen.
async fn welcome(script: &Script, topic: TopicState) -> (Peer, Option<Since>) {
    let mut peer = script.upgrade().await;
    let connect = peer.connect().await;
    peer.accept(connect.id, 30_000, &[topic]).await;
    (peer, connect.since)
}

#[tokio::test]
async fn what_was_missed_comes_after_a_reconnect_and_nothing_twice() {
    let script = Script::new().await;
    let connecting = tokio::spawn(script.client().connect_with_events());
    let (mut peer, seen) = welcome(&script, user_topic(4, false)).await;
    assert_eq!(seen, None);
    let (_client, mut events) = soon(connecting).await.unwrap().unwrap();
    assert_eq!(
        soon(events.next()).await,
        Some(Event::Topic(user_topic(4, false)))
    );
    peer.notify(5, STATUS).await;
    peer.notify(6, STATUS).await;
    assert_eq!(offsets(&mut events, 2).await, [5, 6]);
    peer.vanish();
    let (mut peer, seen) = welcome(&script, user_topic(8, true)).await;
    assert_eq!(seen, Some(since(6)));
    for offset in [6, 7, 8, 8, 9] {
        peer.notify(offset, STATUS).await;
    }
    assert_eq!(offsets(&mut events, 3).await, [7, 8, 9]);
    assert_eq!(*events.positions(), since(9));
}

#[tokio::test]
async fn positions_kept_by_the_program_are_used() {
    let script = Script::new().await;
    let connecting = tokio::spawn(script.client().since(since(2)).connect_with_events());
    let (mut peer, seen) = welcome(&script, user_topic(3, true)).await;
    assert_eq!(seen, Some(since(2)));
    peer.notify(3, STATUS).await;
    let (_client, mut events) = soon(connecting).await.unwrap().unwrap();
    assert_eq!(offsets(&mut events, 1).await, [3]);
}

#[tokio::test]
async fn a_loss_is_told() {
    let script = Script::new().await;
    let connecting = tokio::spawn(script.client().since(since(2)).connect_with_events());
    let new_epoch = TopicState {
        epoch: "e2".to_owned(),
        ..user_topic(1, false)
    };
    let (mut peer, _) = welcome(&script, new_epoch.clone()).await;
    let (_client, mut events) = soon(connecting).await.unwrap().unwrap();
    assert_eq!(soon(events.next()).await, Some(Event::Topic(new_epoch)));
    for offset in [2, 4] {
        peer.say(ServerMessage::Notification(notification(
            "e2", offset, STATUS,
        )))
        .await;
    }
    assert_eq!(offsets(&mut events, 1).await, [2]);
    assert_eq!(
        soon(events.next()).await,
        Some(Event::Missed(Topic::User(USER))),
        "3 never came"
    );
    assert_eq!(offsets(&mut events, 1).await, [4]);
}

#[tokio::test]
async fn subscriptions_are_renewed_with_what_was_seen() {
    let script = Script::new().await;
    let (client, mut peer) = script.connected().await;
    let state = |offset| TopicState {
        topic: Topic::Admin,
        epoch: "a".to_owned(),
        offset,
        recovered: false,
    };
    let subscribing = {
        let client = client.clone();
        tokio::spawn(async move { client.subscribe(Topic::Admin).await })
    };
    let ClientMessage::Subscribe(subscribe) = peer.other().await else {
        panic!("it subscribes")
    };
    assert_eq!((subscribe.topic, subscribe.since), (Topic::Admin, None));
    peer.say(ServerMessage::Subscribed(Subscribed {
        id: subscribe.id,
        state: state(7),
    }))
    .await;
    assert_eq!(soon(subscribing).await.unwrap().unwrap(), state(7));
    peer.vanish();
    let mut peer = script.upgrade().await;
    let connect = peer.connect().await;
    assert_eq!(
        connect.since, None,
        "the topic is not one that is always on"
    );
    peer.accept(connect.id, 30_000, &[]).await;
    let ClientMessage::Subscribe(subscribe) = peer.other().await else {
        panic!("it subscribes again")
    };
    assert_eq!(
        subscribe.since,
        Some(Position {
            epoch: "a".to_owned(),
            offset: 7
        })
    );
}
