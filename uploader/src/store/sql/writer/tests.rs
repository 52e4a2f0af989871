//! What transactions that share a commit owe each other: nothing.

use super::{super::super::testing, *};
use futures::{FutureExt, future::join_all};
use protocol::{TenantId, Topic, event::Notification, upload::Published};

struct Bench {
    writer: Writer,
    signals: Arc<Signals>,
    news: mpsc::Receiver<Vec<Published>>,
    _home: testing::Home,
}

/// A writer over a table of numbers; a number whose parent is not a number fails only at the commit.
async fn bench() -> Bench {
    let (engine, home) = testing::engine().await;
    let (signals, news) = Signals::new();
    let signals = Arc::new(signals);
    let writer = Writer::start(Arc::new(engine), None, Arc::clone(&signals));
    let schema = "CREATE TABLE numbers (number BIGINT NOT NULL PRIMARY KEY, \
        parent BIGINT REFERENCES numbers (number) DEFERRABLE INITIALLY DEFERRED)";
    writer
        .run(move |tx| Box::pin(tx.execute(schema)))
        .await
        .unwrap();
    Bench {
        writer,
        signals,
        news,
        _home: home,
    }
}

fn insert(tx: &mut Tx, number: i64, parent: Option<i64>) -> BoxFuture<'_, Result<i64, StoreError>> {
    Box::pin(async move {
        sqlx::query("INSERT INTO numbers (number, parent) VALUES ($1, $2)")
            .bind(number)
            .bind(parent)
            .execute(&mut tx.db)
            .await?;
        Ok(number)
    })
}

async fn numbers(tx: &mut Tx) -> Result<Vec<i64>, StoreError> {
    let sql = "SELECT number FROM numbers ORDER BY number";
    Ok(sqlx::query_scalar(sql).fetch_all(&mut tx.db).await?)
}

impl Bench {
    async fn numbers(&self) -> Vec<i64> {
        self.writer.run(|tx| Box::pin(numbers(tx))).await.unwrap()
    }

    /// Runs inserts in one group, which begins with a transaction that ends when all of them are queued.
    async fn group(&self, inserts: &[(i64, Option<i64>)]) -> Vec<Result<i64, StoreError>> {
        let (all_wait, go_on) = oneshot::channel::<()>();
        let first = self.writer.run(move |_| {
            Box::pin(async move {
                let _ = go_on.await;
                Ok(())
            })
        });
        let group = inserts
            .iter()
            .map(|&(number, parent)| self.writer.run(move |tx| insert(tx, number, parent)));
        let group = join_all(group);
        let queued = async {
            // The inserts are polled before this, and a poll queues them.
            let _ = all_wait.send(());
        };
        tokio::join!(biased; first, group, queued).1
    }
}

#[tokio::test]
async fn a_failed_transaction_takes_no_other_with_it() {
    let bench = bench().await;
    let answers = bench
        .group(&[(1, None), (2, None), (1, None), (3, None)])
        .await;
    assert!(
        matches!(
            answers[..],
            [Ok(1), Ok(2), Err(StoreError::Invalid(_)), Ok(3)]
        ),
        "{answers:?}"
    );
    assert_eq!(bench.numbers().await, [1, 2, 3]);
}

#[tokio::test]
async fn a_failed_commit_is_answered_to_all_and_leaves_nothing() {
    let bench = bench().await;
    let answers = bench.group(&[(1, None), (2, Some(99)), (3, None)]).await;
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Err(StoreError::Invalid(_)))),
        "{answers:?}"
    );
    assert!(bench.numbers().await.is_empty());
    assert_eq!(bench.writer.run(|tx| insert(tx, 4, None)).await.unwrap(), 4);
    assert_eq!(bench.numbers().await, [4]);
}

#[tokio::test]
async fn a_transaction_takes_place_although_its_caller_went_away() {
    let bench = bench().await;
    let mut abandoned = Box::pin(bench.writer.run(|tx| {
        tx.effects.outbox = true;
        insert(tx, 1, None)
    }));
    assert!(abandoned.as_mut().now_or_never().is_none());
    drop(abandoned);
    bench.signals.outbox.notified().await;
    assert_eq!(bench.numbers().await, [1]);
}

#[tokio::test]
async fn only_what_was_committed_is_told() {
    let mut bench = bench().await;
    let tell = |number: i64, parent: Option<i64>, offset: u64| {
        bench.writer.run(move |tx| {
            tx.effects.news.push(news(offset));
            insert(tx, number, parent)
        })
    };
    tell(1, None, 1).await.unwrap();
    tell(1, None, 2).await.unwrap_err();
    tell(2, Some(99), 3).await.unwrap_err();
    tell(3, None, 4).await.unwrap();
    let told = [
        bench.news.try_recv().unwrap(),
        bench.news.try_recv().unwrap(),
    ]
    .concat();
    assert_eq!(told, [news(1), news(4)]);
    assert!(bench.news.try_recv().is_err());
}

fn news(offset: u64) -> Published {
    Published {
        tenant: TenantId::default(),
        notification: Notification {
            topic: Topic::Admin,
            epoch: "e".to_owned(),
            offset,
            event: "file.cached".to_owned(),
            time: jiff::Timestamp::UNIX_EPOCH,
            data: serde_json::Value::Null,
        },
    }
}

#[tokio::test]
async fn a_writer_that_panics_has_stopped() {
    let bench = bench().await;
    let panics = bench
        .writer
        .run(|_| -> BoxFuture<'_, Result<(), StoreError>> { panic!("on purpose") });
    assert!(matches!(panics.await, Err(StoreError::Closed)));
    bench.writer.stopped().await;
    assert!(matches!(
        bench.writer.run(|tx| insert(tx, 1, None)).await,
        Err(StoreError::Closed)
    ));
}
