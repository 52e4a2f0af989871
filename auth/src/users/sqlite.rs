//! The accounts in a SQLite file: one writer at a time, readers beside it.

mod accounts;
mod keys;
mod migrations;
mod revocations;
mod row;
mod sessions;

use super::{Ended, NewSession, NewUser, Rotated, Rotation, Swept, User, Users, UsersError};
use crate::{names::UserName, tokens::StoredKey};
use async_trait::async_trait;
use jiff::Timestamp;
use protocol::{identity::Role, ids::UserId, token::Revocations};
use service_kit::sqlite;
use sqlx::{Sqlite, SqlitePool, Transaction, sqlite::SqlitePoolOptions};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    time::Duration,
};

/// How many reads run at a time.
const READERS: u32 = 2;

/// How long a transaction waits for another process, and a use case for its turn.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The accounts in one file.
pub(crate) struct SqliteUsers {
    writer: SqlitePool,
    reader: SqlitePool,
}

impl SqliteUsers {
    /// Opens the file, or creates it, and brings its tables up to date. Another process may have it open.
    pub(crate) async fn open(path: &Path) -> Result<Self, UsersError> {
        create_private(path)?;
        let file = sqlite::file(path, BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().acquire_timeout(BUSY_TIMEOUT);
        let writer = sqlite::connect(pool.clone(), 1, file.clone(), BUSY_TIMEOUT).await?;
        let read_only = file.pragma("query_only", "ON");
        let reader = sqlite::connect(pool, READERS, read_only, BUSY_TIMEOUT).await?;
        let users = Self { writer, reader };
        migrations::run(&users).await?;
        Ok(users)
    }

    /// A transaction that may write. It takes the lock at once: one that reads first could find it taken later.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, UsersError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
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

#[async_trait]
impl Users for SqliteUsers {
    async fn create_user(&self, user: &NewUser) -> Result<(), UsersError> {
        accounts::create(self, user).await
    }

    async fn user_by_name(&self, name: &UserName) -> Result<Option<User>, UsersError> {
        accounts::by_name(self, name).await
    }

    async fn user_by_id(&self, id: UserId) -> Result<Option<User>, UsersError> {
        accounts::by_id(self, id).await
    }

    async fn permissions(&self, role: Role) -> Result<Vec<String>, UsersError> {
        accounts::permissions(self, role).await
    }

    async fn begin_session(
        &self,
        session: &NewSession,
        max_sessions: u32,
    ) -> Result<Option<User>, UsersError> {
        sessions::begin(self, session, max_sessions).await
    }

    async fn rotate_refresh(&self, rotation: &Rotation) -> Result<Rotated, UsersError> {
        sessions::rotate(self, rotation).await
    }

    async fn end_sessions(
        &self,
        user: UserId,
        now: Timestamp,
    ) -> Result<Option<Ended>, UsersError> {
        sessions::end_all(self, user, now).await
    }

    async fn revocations_after(
        &self,
        after: u64,
        since: Timestamp,
    ) -> Result<Revocations, UsersError> {
        revocations::after(self, after, since).await
    }

    async fn ensure_signing_key(
        &self,
        candidate: &StoredKey,
        renew_before: Timestamp,
    ) -> Result<(), UsersError> {
        keys::ensure(self, candidate, renew_before).await
    }

    async fn signing_keys(&self, retired_since: Timestamp) -> Result<Vec<StoredKey>, UsersError> {
        keys::published(self, retired_since).await
    }

    async fn sweep(&self, now: Timestamp, outdated: Timestamp) -> Result<Swept, UsersError> {
        let mut transaction = self.begin().await?;
        let swept = Swept {
            sessions: sessions::delete_expired(&mut transaction, now).await?,
            revocations: revocations::delete_before(&mut transaction, outdated).await?,
            keys: keys::delete_retired_before(&mut transaction, outdated).await?,
        };
        transaction.commit().await?;
        Ok(swept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::conformance;
    use uuid::Uuid;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn conforms_to_the_port() {
        let folder = tempfile::tempdir().unwrap();
        conformance::run_all(async || {
            let path = folder.path().join(Uuid::now_v7().to_string());
            SqliteUsers::open(&path).await.unwrap()
        })
        .await;
    }

    #[tokio::test]
    async fn nobody_else_may_read_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.db");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let _users = SqliteUsers::open(&path).await.unwrap();
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
        let users = SqliteUsers::open(&folder.path().join("auth.db"))
            .await
            .unwrap();
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
        let users = SqliteUsers::open(&folder.path().join("auth.db"))
            .await
            .unwrap();
        assert!(
            sqlx::query("DELETE FROM permissions")
                .execute(&users.reader)
                .await
                .is_err()
        );
    }
}
