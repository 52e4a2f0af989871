//! News reach those who asked for their shard, and nobody waits for a slow one.

use super::Namespace;
use futures::FutureExt;
use protocol::{Topic, UserId, upload::Published};
use storage::{
    conformance::news,
    events::{News, Shard},
};

/// News of a user in this shard.
fn news_of(shard: Shard, offset: u64) -> Published {
    let mut news = news(offset);
    loop {
        news.notification.topic = Topic::User(UserId::new());
        if Shard::of(&news) == shard {
            return news;
        }
    }
}

fn shard(number: usize) -> Shard {
    Shard::all().nth(number).expect("there are so many")
}

async fn hears(listener: &mut dyn News) -> (Shard, u64) {
    let news = listener.next().await.expect("there is news");
    (Shard::of(&news), news.notification.offset)
}

#[tokio::test]
async fn only_what_is_wanted_arrives() {
    let namespace = Namespace::new();
    let (teller, first, second) =
        tokio::join!(namespace.events(), namespace.events(), namespace.events());
    first.bind(shard(1)).await.expect("it answers");
    second.bind(shard(2)).await.expect("it answers");
    let mut one = first.listen().await.expect("it answers");
    let mut two = second.listen().await.expect("it answers");
    second.bind(Shard::ADMIN).await.expect("it answers");

    let told = (1..=30).map(|offset| match offset % 3 {
        0 => news(offset),
        1 => news_of(shard(1), offset),
        _ => news_of(shard(2), offset),
    });
    teller.tell(told.collect()).await.expect("it answers");
    for offset in (1..=30).filter(|offset| offset % 3 == 1) {
        assert_eq!(hears(&mut *one).await, (shard(1), offset));
    }
    for offset in (1..=30).filter(|offset| offset % 3 != 1) {
        let expected = if offset % 3 == 0 {
            Shard::ADMIN
        } else {
            shard(2)
        };
        assert_eq!(hears(&mut *two).await, (expected, offset));
    }

    second.unbind(shard(2)).await.expect("it answers");
    let told = vec![news_of(shard(2), 31), news_of(shard(1), 32), news(33)];
    teller.tell(told).await.expect("it answers");
    assert_eq!(hears(&mut *one).await, (shard(1), 32));
    assert_eq!(hears(&mut *two).await, (Shard::ADMIN, 33));
    drop((one, two));
    namespace.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_listener_misses_old_news_and_holds_nobody_up() {
    let namespace = Namespace::new();
    let (teller, hearer) = tokio::join!(namespace.events(), namespace.events());
    hearer.bind(Shard::ADMIN).await.expect("it answers");
    let mut slow = hearer.listen().await.expect("it answers");
    for batch in 0..60 {
        let told = (1..=1000).map(|offset| news(batch * 1000 + offset));
        teller
            .tell(told.collect())
            .await
            .expect("nobody is waited for");
    }
    let (mut heard, mut last) = (0, 0);
    while last < 60_000 {
        let (_, offset) = hears(&mut *slow).await;
        assert!(offset > last, "in order");
        (heard, last) = (heard + 1, offset);
    }
    // The broker keeps 2 MiB of them, each of more than 128 bytes; 64 messages of up to 64 news are on their way.
    let bound = (2 << 20) / 128 + 64 * 64;
    assert!(
        heard <= bound,
        "{heard} news were kept for a listener that does not listen"
    );
    assert!(slow.next().now_or_never().is_none());
    drop(slow);
    namespace.remove().await;
}
