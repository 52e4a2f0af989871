//! What nobody can work on is put aside.

use super::{Namespace, until, waiting_in};
use lapin::{BasicProperties, options::BasicPublishOptions};
use storage::conformance::work;

#[tokio::test]
async fn unreadable_work_is_put_aside() {
    let namespace = Namespace::new();
    let events = namespace.events().await;
    let channel = namespace.channel().await;
    let (queue, dead) = (
        format!("{}.work", namespace.prefix),
        format!("{}.dead", namespace.prefix),
    );
    for poison in [&b"{\"attempt\": "[..], b"", b"\xff\x00", b"{}"] {
        channel
            .basic_publish(
                queue.as_str().into(),
                queue.as_str().into(),
                BasicPublishOptions::default(),
                poison,
                BasicProperties::default(),
            )
            .await
            .expect("it is sent");
    }
    let healthy = work(1);
    events
        .queue(vec![healthy.clone()])
        .await
        .expect("it answers");

    // One at a time, so that poison would hold up everything behind it.
    let mut consumer = events.consume(1).await.expect("it answers");
    let delivery = consumer.next().await.expect("there is work");
    assert_eq!(delivery.event(), &healthy);
    delivery.ack().await.expect("it is taken");
    until("poison is put aside", async || {
        waiting_in(&channel, &dead).await == 4
    })
    .await;
    drop(consumer);
    namespace.remove().await;
}

#[tokio::test]
async fn work_that_comes_back_for_ever_is_put_aside() {
    let namespace = Namespace::new();
    let events = namespace.events().await;
    events.queue(vec![work(1)]).await.expect("it answers");
    let channel = namespace.channel().await;
    let dead = format!("{}.dead", namespace.prefix);
    let mut consumer = events.consume(1).await.expect("it answers");
    for turn in 0..100 {
        assert_eq!(waiting_in(&channel, &dead).await, 0, "turn {turn}");
        let delivery = consumer.next().await.expect("ordinary nacks bury nothing");
        delivery.nack().await.expect("it goes back");
    }
    let delivery = consumer.next().await.expect("the limit is not yet passed");
    delivery.nack().await.expect("the broker takes the answer");
    until("it counts as poison", async || {
        waiting_in(&channel, &dead).await == 1
    })
    .await;
    drop(consumer);
    namespace.remove().await;
}

#[tokio::test]
async fn a_deleted_queue_is_made_again() {
    let namespace = Namespace::new();
    let events = namespace.events().await;
    let mut consumer = events.consume(1).await.expect("it answers");
    events.queue(vec![work(1)]).await.expect("it answers");
    consumer
        .next()
        .await
        .expect("there is work")
        .ack()
        .await
        .expect("it is taken");
    namespace.remove().await;
    let expected = work(1);
    let queue = async {
        until("work can be queued again", async || {
            events.queue(vec![expected.clone()]).await.is_ok()
        })
        .await;
    };
    let (delivery, ()) = tokio::join!(consumer.next(), queue);
    assert_eq!(delivery.expect("it comes back").event(), &expected);
    drop(consumer);
    namespace.remove().await;
}
