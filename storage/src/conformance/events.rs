//! What every event engine does.

use super::{case, news, work};
use crate::events::{EventError, Events, News, Shard};
use async_trait::async_trait;
use futures::{FutureExt, future::join_all};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};
use tokio::sync::Notify;

/// An event engine with nothing in it.
#[async_trait]
pub trait EventFixture: Send + Sync {
    /// Opens the engine.
    async fn open(&self) -> Arc<dyn Events>;
}

/// Runs the suite.
///
/// # Panics
/// When the adapter does not do what the port says.
pub async fn events<F: EventFixture>(make: impl Fn() -> F) {
    case("work is taken once", once(&make())).await;
    case("a consumer that waits gets what comes", waits(&make())).await;
    case("what is not done goes back", goes_back(&make())).await;
    case(
        "a consumer holds no more than its prefetch",
        prefetch(&make()),
    )
    .await;
    case("consumers share the work", shared(&make())).await;
    case(
        "what a consumer did not hand out goes to others",
        released(&make()),
    )
    .await;
    case(
        "a durable engine keeps work, another does not",
        durable(&make()),
    )
    .await;
    case("all listeners hear the news in order", heard(&make())).await;
    case("what is bound is heard", bound(&make())).await;
    case("closing ends those who wait", closed(&make())).await;
}

async fn once(fixture: &impl EventFixture) {
    let events = fixture.open().await;
    let all = [work(1), work(2), work(3)];
    events.queue(all.to_vec()).await.expect("it answers");
    let mut consumer = events.consume(10).await.expect("it answers");
    for expected in &all {
        let delivery = consumer.next().await.expect("there is work");
        assert_eq!(delivery.event(), expected);
        delivery.ack().await.expect("it is taken");
    }
    drop(consumer);
    let mut consumer = events.consume(10).await.expect("it answers");
    let last = work(1);
    events.queue(vec![last.clone()]).await.expect("it answers");
    assert_eq!(
        consumer.next().await.expect("there is work").event(),
        &last,
        "what is done does not come again"
    );
}

async fn waits(fixture: &impl EventFixture) {
    let events = fixture.open().await;
    let mut consumer = events.consume(1).await.expect("it answers");
    let expected = work(1);
    let (delivery, queued) = tokio::join!(consumer.next(), events.queue(vec![expected.clone()]));
    queued.expect("it answers");
    assert_eq!(delivery.expect("there is work").event(), &expected);
}

async fn goes_back(fixture: &impl EventFixture) {
    let events = fixture.open().await;
    let expected = work(2);
    events
        .queue(vec![expected.clone()])
        .await
        .expect("it answers");
    let mut consumer = events.consume(1).await.expect("it answers");
    consumer
        .next()
        .await
        .expect("there is work")
        .nack()
        .await
        .expect("it goes back");
    let dropped = consumer.next().await.expect("it came back");
    assert_eq!(dropped.event(), &expected);
    drop(dropped);
    let delivery = consumer.next().await.expect("it came back");
    assert_eq!(delivery.event(), &expected);
    drop((delivery, consumer));

    let mut other = events.consume(1).await.expect("it answers");
    let delivery = other
        .next()
        .await
        .expect("a lost consumer's work goes to another");
    assert_eq!(delivery.event(), &expected);
    delivery.ack().await.expect("it is taken");
}

async fn prefetch(fixture: &impl EventFixture) {
    let events = fixture.open().await;
    let mut narrow = events.consume(2).await.expect("it answers");
    events
        .queue(vec![work(1), work(1), work(1)])
        .await
        .expect("it answers");
    let first = narrow.next().await.expect("there is work");
    let second = narrow.next().await.expect("there is work");
    assert!(narrow.next().now_or_never().is_none(), "two are unanswered");

    let mut other = events.consume(1).await.expect("it answers");
    let third = other
        .next()
        .await
        .expect("what one can't take another gets");
    assert_ne!(third.event(), first.event());
    assert_ne!(third.event(), second.event());
    third.nack().await.expect("it goes back");
    drop(other);
    first.ack().await.expect("it is taken");
    let again = narrow.next().await.expect("there is room for one more");
    assert_ne!(again.event(), second.event());
}

async fn shared(fixture: &impl EventFixture) {
    let events = fixture.open().await;
    let all: Vec<_> = (0..200).map(|_| work(1)).collect();
    let ids: BTreeSet<_> = all.iter().map(|work| work.upload.upload_id).collect();
    let done = Arc::new(Mutex::new(Vec::new()));
    let finished = Arc::new(Notify::new());
    let mut consumers = Vec::new();
    for number in 0..4 {
        let mut consumer = events.consume(3).await.expect("it answers");
        let (done, finished) = (Arc::clone(&done), Arc::clone(&finished));
        consumers.push(tokio::spawn(async move {
            for turn in 0.. {
                let Ok(delivery) = consumer.next().await else {
                    return;
                };
                if turn % 7 == number {
                    delivery.nack().await.expect("it goes back");
                    continue;
                }
                let id = delivery.event().upload.upload_id;
                delivery.ack().await.expect("it is taken");
                let mut done = done.lock().expect("no panic");
                done.push(id);
                if done.len() == 200 {
                    finished.notify_one();
                }
            }
        }));
    }
    events.queue(all).await.expect("it answers");
    finished.notified().await;
    events.close().await;
    join_all(consumers)
        .await
        .into_iter()
        .for_each(|consumer| consumer.expect("it ends"));
    let done = done.lock().expect("no panic");
    assert_eq!(done.len(), 200);
    assert_eq!(done.iter().copied().collect::<BTreeSet<_>>(), ids);
}

async fn released(fixture: &impl EventFixture) {
    let events = fixture.open().await;
    let all: Vec<_> = (0..10).map(|_| work(1)).collect();
    events.queue(all.clone()).await.expect("it answers");
    let mut greedy = events.consume(10).await.expect("it answers");
    let in_hand = greedy.next().await.expect("there is work");
    drop(greedy);
    let mut other = events.consume(10).await.expect("it answers");
    let mut ids = BTreeSet::from([in_hand.event().upload.upload_id]);
    while ids.len() < 10 {
        let delivery = other.next().await.expect("there is work");
        ids.insert(delivery.event().upload.upload_id);
        delivery.ack().await.expect("it is taken");
    }
    assert!(other.next().now_or_never().is_none(), "one is in hand");
    in_hand
        .nack()
        .await
        .expect("work outlives the consumer it came by");
    other.next().await.expect("it goes back");
}

async fn durable(fixture: &impl EventFixture) {
    let events = fixture.open().await;
    let expected = work(1);
    events
        .queue(vec![expected.clone()])
        .await
        .expect("it answers");
    events.close().await;
    let durable = events.durable();
    drop(events);
    let events = fixture.open().await;
    let mut consumer = events.consume(1).await.expect("it answers");
    if durable {
        let delivery = consumer.next().await.expect("there is work");
        assert_eq!(delivery.event(), &expected);
    } else {
        assert!(consumer.next().now_or_never().is_none());
    }
}

async fn heard(fixture: &impl EventFixture) {
    let events = fixture.open().await;
    events.bind(Shard::of(&news(1))).await.expect("it answers");
    events
        .tell(vec![news(1)])
        .await
        .expect("nobody needs to listen");
    let mut first = events.listen().await.expect("it answers");
    events
        .tell(vec![news(2), news(3)])
        .await
        .expect("it answers");
    let mut second = events.listen().await.expect("it answers");
    events.tell(vec![news(4)]).await.expect("it answers");
    assert_eq!(hear(&mut *first, 3).await, [2, 3, 4]);
    assert_eq!(
        hear(&mut *second, 1).await,
        [4],
        "a listener hears from when it began"
    );
    drop(first);
    events.tell(vec![news(5)]).await.expect("it answers");
    assert_eq!(hear(&mut *second, 1).await, [5]);

    // More than a slow listener can lag behind: it misses some, and goes on in order.
    let mut slow = events.listen().await.expect("it answers");
    events
        .tell((6..=10_000).map(news).collect())
        .await
        .expect("a slow listener holds nobody up");
    let mut last = 0;
    while last < 10_000 {
        let offset = slow
            .next()
            .await
            .expect("there is more")
            .notification
            .offset;
        assert!(offset > last);
        last = offset;
    }
}

async fn bound(fixture: &impl EventFixture) {
    let events = fixture.open().await;
    let shard = Shard::of(&news(1));
    let mut early = events.listen().await.expect("it answers");
    events.bind(shard).await.expect("it answers");
    events.bind(shard).await.expect("once more changes nothing");
    events.tell(vec![news(1)]).await.expect("it answers");
    let mut late = events.listen().await.expect("it answers");
    events.tell(vec![news(2)]).await.expect("it answers");
    assert_eq!(hear(&mut *early, 2).await, [1, 2]);
    assert_eq!(hear(&mut *late, 1).await, [2], "it was bound before");

    for other in Shard::all().filter(|other| *other != shard) {
        events.bind(other).await.expect("it answers");
    }
    for other in Shard::all() {
        events.unbind(other).await.expect("it answers");
    }
    events.unbind(shard).await.expect("it is unbound already");
    // What is not bound may be heard or not.
    events.bind(shard).await.expect("it answers");
    events.tell(vec![news(3)]).await.expect("it answers");
    assert_eq!(hear(&mut *early, 1).await, [3]);
    assert_eq!(hear(&mut *late, 1).await, [3]);
}

async fn hear(listener: &mut dyn News, count: usize) -> Vec<u64> {
    let mut heard = Vec::new();
    while heard.len() < count {
        heard.push(
            listener
                .next()
                .await
                .expect("there is news")
                .notification
                .offset,
        );
    }
    heard
}

async fn closed(fixture: &impl EventFixture) {
    let events = fixture.open().await;
    let mut listening = events.listen().await.expect("it answers");
    let mut busy = events.consume(1).await.expect("it answers");
    events.queue(vec![work(1)]).await.expect("it answers");
    let in_hand = busy.next().await.expect("there is work");
    let mut waiting = events.consume(1).await.expect("it answers");

    let (work, news, more, ()) = tokio::join!(
        waiting.next(),
        listening.next(),
        busy.next(),
        events.close()
    );
    assert!(matches!(work, Err(EventError::Closed)));
    assert!(matches!(news, Err(EventError::Closed)));
    assert!(matches!(more, Err(EventError::Closed)));
    in_hand
        .ack()
        .await
        .expect("work in hand can still be answered");
    assert!(matches!(
        events.queue(vec![super::work(1)]).await,
        Err(EventError::Closed)
    ));
    assert!(matches!(
        events.tell(vec![super::news(1)]).await,
        Err(EventError::Closed)
    ));
    assert!(matches!(events.listen().await, Err(EventError::Closed)));
    let mut late = events.consume(1).await;
    if let Ok(late) = &mut late {
        assert!(matches!(late.next().await, Err(EventError::Closed)));
    }
}
