//! Brings the schema of an index up to date, one transaction a step.

use super::{IndexError, unavailable};
use sqlx::SqlitePool;

/// The steps in order; the version of an index is the number of those it has seen. Steps are only ever added.
const STEPS: &[&str] = &[include_str!("../../../migrations/0001_files.sql")];

/// Takes the steps that are missing.
pub(super) async fn migrate(writer: &SqlitePool) -> Result<(), IndexError> {
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS migrations (version BIGINT NOT NULL PRIMARY KEY)")
        .execute(writer)
        .await
        .map_err(unavailable)?;
    if version(writer).await? > known {
        return Err(IndexError::Unavailable(
            "it was written by a newer version of the program; run that version, or restore a backup".to_owned(),
        ));
    }
    for (number, step) in (1..).zip(STEPS) {
        take(writer, number, step).await.map_err(unavailable)?;
    }
    Ok(())
}

async fn version(writer: &SqlitePool) -> Result<i64, IndexError> {
    sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM migrations")
        .fetch_one(writer)
        .await
        .map_err(unavailable)
}

/// Takes one step unless it was taken, perhaps by another process just now.
async fn take(writer: &SqlitePool, number: i64, step: &'static str) -> Result<(), sqlx::Error> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let taken =
        sqlx::query("INSERT INTO migrations (version) VALUES (?) ON CONFLICT (version) DO NOTHING")
            .bind(number)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
    if taken == 1 {
        sqlx::raw_sql(step).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}
