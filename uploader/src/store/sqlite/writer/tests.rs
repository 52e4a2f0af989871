//! What transactions that share a commit owe each other: nothing.

use super::*;
use futures::{FutureExt, future::join_all};
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

struct Bench {
    writer: Writer,
    signals: Arc<Signals>,
    _dir: TempDir,
}

/// A writer over a table of numbers; a number whose parent is not a number fails only at the commit.
async fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(dir.path().join("test.db"))
        .create_if_missing(true);
    let mut db = options.connect().await.unwrap();
    let schema = "CREATE TABLE numbers (number BIGINT NOT NULL PRIMARY KEY, \
        parent BIGINT REFERENCES numbers (number) DEFERRABLE INITIALLY DEFERRED)";
    sqlx::query(schema).execute(&mut db).await.unwrap();
    let (signals, _news) = Signals::new();
    let signals = Arc::new(signals);
    Bench {
        writer: Writer::start(db, Arc::clone(&signals)),
        signals,
        _dir: dir,
    }
}

fn insert(tx: &mut Tx, number: i64, parent: Option<i64>) -> BoxFuture<'_, Result<i64, StoreError>> {
    Box::pin(async move {
        sqlx::query("INSERT INTO numbers (number, parent) VALUES (?, ?)")
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
