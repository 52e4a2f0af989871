//! Brings the tables up to date, one transaction per step.

use super::SqliteUsers;
use crate::users::UsersError;
use jiff::Timestamp;

/// Every step there was, oldest first; the n-th makes version n. A step that was released is never changed.
const STEPS: &[&str] = &[include_str!("../../../migrations/0001_accounts.sql")];

/// Does the steps that the file has not seen. Two processes may do so at the same time.
///
/// # Errors
/// [`UsersError::Corrupt`] if the file is of a newer program.
pub(super) async fn run(users: &SqliteUsers) -> Result<(), UsersError> {
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)",
    )
    .execute(&users.writer)
    .await?;
    loop {
        // The version is read under the lock, in the transaction of the step.
        let mut transaction = users.begin().await?;
        let version: i64 =
            sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM schema_versions")
                .fetch_one(&mut *transaction)
                .await?;
        let done = usize::try_from(version).map_err(|_| newer(version))?;
        if done > STEPS.len() {
            return Err(newer(version));
        }
        let Some(step) = STEPS.get(done) else {
            return Ok(());
        };
        sqlx::raw_sql(*step).execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO schema_versions (version, applied_at) VALUES ($1, $2)")
            .bind(version + 1)
            .bind(Timestamp::now().as_microsecond())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        tracing::info!(
            version = version + 1,
            "the tables of the accounts are up to date"
        );
    }
}

fn newer(version: i64) -> UsersError {
    UsersError::Corrupt(format!(
        "its tables have version {version}, this program knows up to {}",
        STEPS.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;

    async fn versions(users: &SqliteUsers) -> Vec<i64> {
        sqlx::query_scalar("SELECT version FROM schema_versions ORDER BY version")
            .fetch_all(&users.reader)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn each_step_is_done_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.db");
        for _ in 0..2 {
            let users = SqliteUsers::open(&path).await.unwrap();
            assert_eq!(versions(&users).await.len(), STEPS.len());
        }
    }

    #[tokio::test]
    async fn many_may_open_a_new_file_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.db");
        let opened = join_all((0..16).map(|_| SqliteUsers::open(&path))).await;
        for users in opened {
            assert_eq!(versions(&users.unwrap()).await.len(), STEPS.len());
        }
    }

    #[tokio::test]
    async fn the_file_of_a_newer_program_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.db");
        let users = SqliteUsers::open(&path).await.unwrap();
        sqlx::query("INSERT INTO schema_versions (version, applied_at) VALUES (1000, 0)")
            .execute(&users.writer)
            .await
            .unwrap();
        assert!(matches!(
            SqliteUsers::open(&path).await,
            Err(UsersError::Corrupt(_))
        ));
    }
}
