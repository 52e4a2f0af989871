//! A broker that is killed or frozen: what it confirmed is delivered, and everything goes on by itself.

use super::{node::Node, until, within};
use protocol::UploadId;
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use storage::{
    conformance::{news, work},
    events::{EventError, Events, Shard},
    open_events,
};
use tokio::task::JoinHandle;

/// The deadline of a call, and something for the machine.
const SOON: Duration = Duration::from_secs(7);

/// How long a process may take to work again with a broker that is back: the longest pause between two attempts, and a
/// deadline for one that came too early.
const RECOVERY: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
struct Ids(Arc<Mutex<BTreeSet<UploadId>>>);

impl Ids {
    fn add(&self, ids: impl IntoIterator<Item = UploadId>) {
        self.0.lock().expect("no panic").extend(ids);
    }

    fn len(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }

    fn is_within(&self, other: &Self) -> bool {
        let all = other.0.lock().expect("no panic").clone();
        self.0.lock().expect("no panic").is_subset(&all)
    }
}

/// Queues batch after batch until told to stop; notes what was confirmed.
fn publish(events: Arc<dyn Events>, confirmed: Ids, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while !stop.load(Ordering::SeqCst) {
            let batch: Vec<_> = (0..50).map(|_| work(1)).collect();
            let ids: Vec<_> = batch.iter().map(|work| work.upload.upload_id).collect();
            match events.queue(batch).await {
                Ok(()) => confirmed.add(ids),
                Err(EventError::Unavailable(_)) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    })
}

/// Consumes until closed; notes what was delivered. It is opened once and never again.
async fn consume(events: &Arc<dyn Events>, delivered: Ids) -> JoinHandle<()> {
    let mut consumer = events.consume(20).await.expect("it answers");
    tokio::spawn(async move {
        loop {
            match consumer.next().await {
                Ok(delivery) => {
                    delivered.add([delivery.event().upload.upload_id]);
                    // It may be refused, by a broker that is gone: then the work comes again.
                    let _ = delivery.ack().await;
                }
                Err(EventError::Closed) => return,
                Err(error) => panic!("a consumer comes back by itself: {error}"),
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_loses_nothing_that_it_confirmed() {
    let mut node = Node::start().await;
    let url = node.url("killed");
    let publisher = open_events(&url).await.expect("it is there");
    let worker = open_events(&url).await.expect("it is there");
    let (confirmed, delivered) = (Ids::default(), Ids::default());
    node.remembers("killed.work").await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = publish(Arc::clone(&publisher), confirmed.clone(), Arc::clone(&stop));
    let consuming = [
        consume(&worker, delivered.clone()).await,
        consume(&worker, delivered.clone()).await,
    ];
    for _ in 0..2 {
        let before = confirmed.len();
        until("work is confirmed", async || confirmed.len() > before + 500).await;
        node.kill();
        node.restart().await;
        let (restarted, before) = (Instant::now(), delivered.len());
        until("consumers come back", async || delivered.len() > before).await;
        assert!(
            restarted.elapsed() < RECOVERY,
            "work again only {:?} after the broker was back",
            restarted.elapsed()
        );
    }
    let before = confirmed.len();
    until("work is confirmed again", async || confirmed.len() > before).await;
    stop.store(true, Ordering::SeqCst);
    publishing.await.expect("it ends");
    until("everything confirmed is delivered", async || {
        confirmed.is_within(&delivered)
    })
    .await;
    worker.close().await;
    for consumer in consuming {
        consumer.await.expect("it ends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bindings_come_back_with_the_broker() {
    let mut node = Node::start().await;
    let events = open_events(&node.url("bindings"))
        .await
        .expect("it is there");
    events.bind(Shard::ADMIN).await.expect("it answers");
    let mut listener = events.listen().await.expect("it answers");
    events.tell(vec![news(1)]).await.expect("it answers");
    assert_eq!(
        listener.next().await.expect("it came").notification.offset,
        1
    );

    node.kill();
    let lost = within(SOON, "a listener learns of the loss", listener.next()).await;
    assert!(matches!(lost, Err(EventError::Unavailable(_))));
    // A wish may be said while the broker is away, too.
    let user = Shard::all().next().expect("there are some");
    let bound = within(SOON, "binding", events.bind(user)).await;
    assert!(matches!(bound, Ok(()) | Err(EventError::Unavailable(_))));
    drop(listener);
    node.restart().await;
    let mut again = None;
    until("one can listen again", async || {
        again = events.listen().await.ok();
        again.is_some()
    })
    .await;
    until("news can be told again", async || {
        events.tell(vec![news(2)]).await.is_ok()
    })
    .await;
    let mut listener = again.expect("it listens");
    let heard = within(SOON, "hearing", listener.next()).await;
    assert_eq!(heard.expect("it came").notification.offset, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_broker_is_unavailable_soon_and_used_again_when_it_wakes() {
    let node = Node::start().await;
    let events = open_events(&node.url("frozen")).await.expect("it is there");
    let mut consumer = events.consume(2).await.expect("it answers");
    let mut listener = events.listen().await.expect("it answers");
    events.queue(vec![work(1)]).await.expect("it answers");
    let in_hand = consumer.next().await.expect("there is work");

    node.freeze();
    let (queued, told, bound, consumed) = tokio::join!(
        within(SOON, "queueing", events.queue(vec![work(1)])),
        within(SOON, "telling", events.tell(vec![news(1)])),
        within(SOON, "binding", events.bind(Shard::ADMIN)),
        within(SOON, "consuming", events.consume(1)),
    );
    for (call, unavailable) in [
        (
            "queueing",
            matches!(queued, Err(EventError::Unavailable(_))),
        ),
        ("telling", matches!(told, Err(EventError::Unavailable(_)))),
        ("binding", matches!(bound, Err(EventError::Unavailable(_)))),
        (
            "consuming",
            matches!(consumed, Err(EventError::Unavailable(_))),
        ),
    ] {
        assert!(unavailable, "{call}");
    }
    let lost = within(SOON, "the listener learns of it", listener.next()).await;
    assert!(matches!(lost, Err(EventError::Unavailable(_))));
    // What was in hand then is delivered again: its connection was given up.
    let expected = in_hand.event().upload.upload_id;
    let acked = within(SOON, "acknowledging", in_hand.ack()).await;
    assert!(matches!(acked, Err(EventError::Unavailable(_))));

    node.thaw();
    let delivery = within(Duration::from_secs(30), "work comes again", consumer.next()).await;
    assert_eq!(
        delivery.expect("it comes").event().upload.upload_id,
        expected
    );
    until("work can be queued", async || {
        events.queue(vec![work(1)]).await.is_ok()
    })
    .await;
    until("one can listen", async || events.listen().await.is_ok()).await;
    events.bind(Shard::ADMIN).await.expect("it answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_short_of_memory_takes_no_work_but_still_hears_of_work_that_is_done() {
    let node = Node::start().await;
    let events = open_events(&node.url("full")).await.expect("it is there");
    events
        .queue(vec![work(1), work(1)])
        .await
        .expect("it answers");
    let mut consumer = events.consume(1).await.expect("it answers");
    let first = consumer.next().await.expect("there is work");
    node.limit_memory("1MB").await;
    until("publishers are refused", async || {
        let queued = within(SOON, "queueing", events.queue(vec![work(2)])).await;
        matches!(queued, Err(EventError::Unavailable(reason)) if reason.contains("short of memory"))
    })
    .await;
    first.ack().await.expect("answers are taken");
    let second = within(SOON, "the next", consumer.next()).await;
    let second = second.expect("there is more");
    assert_eq!(second.event().attempt, 1);
    second.ack().await.expect("answers are taken");

    node.limit_memory("512MB").await;
    until("work can be queued again", async || {
        events.queue(vec![work(3)]).await.is_ok()
    })
    .await;
    loop {
        // What was queued in vain may come, too.
        let delivery = consumer.next().await.expect("there is more");
        let attempt = delivery.event().attempt;
        delivery.ack().await.expect("it is taken");
        if attempt == 3 {
            return;
        }
    }
}
