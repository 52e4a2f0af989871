//! How a service's SQLite file is opened: write-ahead log, every commit synced, and patience with others that have it open.

use std::{path::Path, time::Duration};

use sqlx::{
    SqlitePool,
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
        .max_lifetime(None);
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
