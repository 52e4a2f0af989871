//! The accounts in a SQLite file: one writer at a time, readers beside it.

#[path = "sql/mod.rs"]
mod sql;

use super::{STEPS, UsersError};
use service_kit::{migrations, sqlite};
use sqlx::{SqlitePool, Transaction, sqlite::SqlitePoolOptions};
use std::{
    fs::{self, File, OpenOptions},
    future::Future,
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    time::Duration,
};

/// The engine.
type Db = sqlx::Sqlite;
type Engine = SqliteUsers;

/// How many reads run at a time.
const READERS: u32 = 2;

/// How long a transaction waits for another process, and a use case for its turn.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The accounts in one file.
pub(super) struct SqliteUsers {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteUsers {
    /// Opens the file, or creates it. Another process may have it open.
    pub(super) async fn open(path: &Path) -> Result<Self, UsersError> {
        create_private(path)?;
        let file = sqlite::file(path, BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().acquire_timeout(BUSY_TIMEOUT);
        let writer = sqlite::connect(pool.clone(), 1, file.clone(), BUSY_TIMEOUT).await?;
        let read_only = sqlite::for_readers(file);
        let readers = sqlite::connect(pool, READERS, read_only, BUSY_TIMEOUT).await?;
        Ok(Self { writer, readers })
    }

    async fn make_tables(&self) -> Result<(), UsersError> {
        let mut connection = self.writer.acquire().await?;
        Ok(migrations::run_on_sqlite(&mut connection, STEPS).await?)
    }

    fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// A transaction that may write. It takes the lock at once: one that reads first could find it taken later.
    async fn begin(&self) -> Result<Transaction<'static, Db>, UsersError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// A file answers, or fails by itself.
    async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, UsersError>>,
    ) -> Result<T, UsersError> {
        call.await
    }
}

/// Creates the file if there is none, and lets nobody else read it: it holds the keys that sign tokens. SQLite gives
/// the files beside it the same mode.
fn create_private(path: &Path) -> io::Result<()> {
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(file) => {
            file.sync_all()?;
            let folder = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::{Users, conformance};
    use uuid::Uuid;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    async fn open(path: &Path) -> SqliteUsers {
        let users = SqliteUsers::open(path).await.unwrap();
        users.prepare().await.unwrap();
        users
    }

    #[tokio::test]
    async fn conforms_to_the_port() {
        let folder = tempfile::tempdir().unwrap();
        conformance::run_all(async || {
            let path = folder.path().join(Uuid::now_v7().to_string());
            open(&path).await
        })
        .await;
    }

    #[tokio::test]
    async fn nobody_else_may_read_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.db");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let _users = open(&path).await;
        for entry in fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_created_is_an_error() {
        let opened = SqliteUsers::open(Path::new("/proc/none/auth.db")).await;
        assert!(matches!(opened, Err(UsersError::Unopened(_))));
    }

    #[tokio::test]
    async fn commits_are_synced_and_written_ahead() {
        let folder = tempfile::tempdir().unwrap();
        let users = open(&folder.path().join("auth.db")).await;
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
            .fetch_one(&users.writer)
            .await
            .unwrap();
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
            .fetch_one(&users.writer)
            .await
            .unwrap();
        assert_eq!((mode.as_str(), synchronous), ("wal", 2));
    }

    #[tokio::test]
    async fn readers_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let users = open(&folder.path().join("auth.db")).await;
        assert!(
            sqlx::query("DELETE FROM permissions")
                .execute(&users.readers)
                .await
                .is_err()
        );
    }
}
