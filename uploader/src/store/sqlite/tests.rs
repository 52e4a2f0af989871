//! A file that can't grow.

use super::{
    super::{Signals, StoreError},
    sql::writer::{Tx, Writer},
    testing,
};
use std::sync::Arc;

async fn execute(tx: &mut Tx, sql: &'static str) -> Result<(), StoreError> {
    sqlx::raw_sql(sql).execute(&mut tx.db).await?;
    Ok(())
}

async fn numbers(tx: &mut Tx) -> Result<Vec<i64>, StoreError> {
    let sql = "SELECT number FROM numbers ORDER BY number";
    Ok(sqlx::query_scalar(sql).fetch_all(&mut tx.db).await?)
}

#[tokio::test]
async fn a_full_database_says_so_to_all_and_goes_on() {
    let (engine, _home) = testing::engine().await;
    let (signals, _news) = Signals::new();
    let writer = Writer::start(Arc::new(engine), None, Arc::new(signals));
    let run = |sql| writer.run(move |tx| Box::pin(execute(tx, sql)));
    run("CREATE TABLE numbers (number BIGINT NOT NULL)")
        .await
        .unwrap();
    run("CREATE TABLE blobs (blob BLOB)").await.unwrap();
    run("PRAGMA max_page_count = 8").await.unwrap();
    let (huge, small) = tokio::join!(
        biased;
        run("INSERT INTO blobs (blob) VALUES (zeroblob(1000000))"),
        run("INSERT INTO numbers (number) VALUES (1)"),
    );
    assert!(matches!(huge, Err(StoreError::Full(_))), "{huge:?}");
    // Whether SQLite undid the whole group or only the one is its own decision; either way the answer is true.
    let kept = writer.run(|tx| Box::pin(numbers(tx))).await.unwrap();
    match small {
        Ok(()) => assert_eq!(kept, [1]),
        Err(error) => assert!(
            matches!(error, StoreError::Full(_)) && kept.is_empty(),
            "{error} {kept:?}"
        ),
    }
    run("INSERT INTO numbers (number) VALUES (2)")
        .await
        .unwrap();
    let kept = writer.run(|tx| Box::pin(numbers(tx))).await.unwrap();
    assert!(kept.contains(&2));
}
