//! The embedded engine: one SQLite file with write-ahead log, synced at every commit.

#[path = "../sql/mod.rs"]
mod sql;

use super::{STEPS, Signals, Store, StoreError};
use service_kit::{migrations, sqlite};
use sql::{Connection, SqlStore};
use sqlx::{
    ConnectOptions, Connection as _, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use std::{num::NonZeroU32, path::Path, sync::Arc, time::Duration};

/// The engine.
type Db = sqlx::Sqlite;

const TAGS_OF_UPLOAD: &str = "json_each(uploads.tags)";

/// Its planner needs no word for that.
const WHOLE_TABLES: [&str; 2] = ["", ""];

/// One process has the file.
const SHARED: bool = false;

/// How long a statement waits for another process that has locked the file (a backup, a shell).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The store in the file at `path`, which is made if it is not there. `readers` connections read.
pub(super) async fn open(
    path: &Path,
    readers: NonZeroU32,
    signals: Arc<Signals>,
) -> Result<Arc<dyn Store>, StoreError> {
    let file = sqlite::file(path, BUSY_TIMEOUT);
    let mut db = file.clone().create_if_missing(true).connect().await?;
    migrations::run_on_sqlite(&mut db, STEPS).await?;
    let read_only = sqlite::for_readers(file.clone().read_only(true));
    let pool = SqlitePoolOptions::new();
    let readers = sqlite::connect(pool, readers.get(), read_only, BUSY_TIMEOUT).await?;
    let engine = Engine { file, readers };
    Ok(Arc::new(SqlStore::new(engine, Some(db), signals)))
}

struct Engine {
    file: SqliteConnectOptions,
    readers: SqlitePool,
}

impl Engine {
    async fn begin(&self, kept: &mut Option<Connection>) -> Result<Connection, StoreError> {
        let mut db = match kept.take() {
            Some(db) => db,
            None => self.file.connect().await?,
        };
        match sqlx::raw_sql("BEGIN IMMEDIATE; SAVEPOINT job")
            .execute(&mut db)
            .await
        {
            Ok(_) => Ok(db),
            Err(error) => {
                *kept = self.abandon(db).await;
                Err(error.into())
            }
        }
    }

    /// SQLite may have undone the transaction itself, after which there is nothing to roll back.
    async fn abandon(&self, mut db: Connection) -> Option<Connection> {
        if let Err(error) = sqlx::raw_sql("ROLLBACK").execute(&mut db).await {
            tracing::debug!(%error, "nothing to roll back");
        }
        Some(db)
    }

    /// A file answers or fails; it is not silent.
    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        work.await
    }

    async fn read<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut db = self.readers.acquire().await?;
        work(&mut db).await
    }

    async fn close(&self, db: Connection) {
        if let Err(error) = db.close().await {
            tracing::warn!(%error, "the uploads database did not close cleanly");
        }
    }
}

#[cfg(test)]
mod testing {
    use super::{BUSY_TIMEOUT, Engine};
    use service_kit::sqlite;

    /// Gone with the test.
    pub(super) type Home = tempfile::TempDir;

    /// An engine without tables.
    pub(super) async fn engine() -> (Engine, Home) {
        let home = tempfile::tempdir().unwrap();
        let file = sqlite::file(&home.path().join("test.db"), BUSY_TIMEOUT).create_if_missing(true);
        let readers = sqlx::SqlitePool::connect_lazy_with(file.clone());
        (Engine { file, readers }, home)
    }
}

#[cfg(test)]
mod tests;
