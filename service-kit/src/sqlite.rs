//! How a service's SQLite file is opened: write-ahead log, every commit synced, and patience with others that have it open.

use std::{path::Path, time::Duration};

use sqlx::{
    Connection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::time::{Instant, sleep};

/// How long to wait before opening a file again that others are opening.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// The file at `path`; a statement waits at most `patience` for another process that has locked it (a backup, a shell).
#[must_use]
pub fn file(path: &Path, patience: Duration) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(patience)
        // What is needed to undo a savepoint, and what a statement sorts, a page at most: else each takes a file of its own, made
        // and removed in the system's folder for such files.
        .pragma("temp_store", "memory")
}

/// The same file for one of several connections that only read. Each keeps little of it in memory, 512 KiB: nearly all of it is in
/// the system's cache, and every connection of every file would fill up what it may.
#[must_use]
pub fn for_readers(file: SqliteConnectOptions) -> SqliteConnectOptions {
    file.pragma("query_only", "on").pragma("cache_size", "-512")
}

/// Opens `connections` to a file at most, each when it is needed. `pool` may set what else a pool can be told.
///
/// # Errors
/// When the file can't be opened, also because others have kept it locked for `patience`.
pub async fn connect(
    pool: SqlitePoolOptions,
    connections: u32,
    file: SqliteConnectOptions,
    patience: Duration,
) -> Result<SqlitePool, sqlx::Error> {
    // A file does not hang up: no connection needs to be tested or renewed.
    let pool = pool
        .max_connections(connections)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .before_acquire(|connection, _| {
            // SQLite undoes a transaction by itself when the disk is full. sqlx tries to undo it once more, fails, and takes it
            // for a transaction that is still open, in which no other can begin.
            let is_free = !connection.is_in_transaction();
            Box::pin(async move { Ok(is_free) })
        });
    let deadline = Instant::now() + patience;
    loop {
        match pool.clone().connect_with(file.clone()).await {
            // SQLite does not wait for others that switch a new file to write-ahead logging at the same moment.
            Err(error) if is_busy(&error) && Instant::now() < deadline => sleep(BUSY_PAUSE).await,
            connected => return connected,
        }
    }
}

/// Whether another connection holds the lock: the low byte of the engine's code says so.
fn is_busy(error: &sqlx::Error) -> bool {
    const SQLITE_BUSY: i32 = 5;
    let code = error.as_database_error().and_then(|error| error.code());
    code.and_then(|code| code.parse::<i32>().ok())
        .is_some_and(|code| code & 0xff == SQLITE_BUSY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_transaction_that_sqlite_has_undone_is_followed_by_others() {
        let folder = tempfile::tempdir().unwrap();
        let patience = Duration::from_secs(5);
        let new = file(&folder.path().join("a.db"), patience).create_if_missing(true);
        let pool = connect(SqlitePoolOptions::new(), 1, new, patience).await;
        let pool = pool.unwrap();
        let table =
            "CREATE TABLE numbers (number INTEGER PRIMARY KEY); INSERT INTO numbers VALUES (1)";
        sqlx::raw_sql(table).execute(&pool).await.unwrap();
        for number in 2..4 {
            let mut undone = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
            let again = sqlx::query("INSERT OR ROLLBACK INTO numbers VALUES (1)");
            again.execute(&mut *undone).await.unwrap_err();
            drop(undone);
            let mut next = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
            let insert = sqlx::query("INSERT INTO numbers VALUES ($1)").bind(number);
            insert.execute(&mut *next).await.unwrap();
            next.commit().await.unwrap();
        }
        let numbers: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM numbers")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(numbers, 3);
    }
}
