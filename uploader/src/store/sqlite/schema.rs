//! The schema of the SQLite file, built up by numbered migrations.

use super::super::StoreError;
use sqlx::{Connection, SqliteConnection};

/// The migrations in order; the file's `user_version` says how many of them it has seen.
const MIGRATIONS: &[&str] = &[include_str!("../../../migrations/sqlite/0001_uploads.sql")];

/// Runs the migrations that the file has not seen, each in a transaction of its own.
pub(super) async fn migrate(db: &mut SqliteConnection) -> Result<(), StoreError> {
    let seen: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *db)
        .await?;
    let seen = usize::try_from(seen).ok().filter(|seen| *seen <= MIGRATIONS.len()).ok_or_else(|| {
        StoreError::Invalid(format!(
            "its schema is version {seen} and this program knows {} at most; use a newer program",
            MIGRATIONS.len()
        ))
    })?;
    for (number, migration) in MIGRATIONS.iter().enumerate().skip(seen) {
        let mut transaction = db.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::raw_sql(*migration).execute(&mut *transaction).await?;
        // A pragma takes no bound parameters; the number is our own.
        let version = format!("PRAGMA user_version = {}", number + 1);
        sqlx::raw_sql(sqlx::AssertSqlSafe(version))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
    }
    Ok(())
}
