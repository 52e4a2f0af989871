//! Signing keys: one that signs, those before it that may still be met.

use super::{Engine, Row, Tx};
use crate::{tokens::StoredKey, users::UsersError};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretSlice};
use sqlx::Row as _;

pub(super) async fn ensure(
    users: &Engine,
    candidate: &StoredKey,
    renew_before: Timestamp,
) -> Result<(), UsersError> {
    let mut transaction = users.begin().await?;
    let good: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM signing_keys WHERE retired_at IS NULL AND created_at >= $1",
    )
    .bind(renew_before.as_microsecond())
    .fetch_one(&mut *transaction)
    .await?;
    if good > 0 {
        return Ok(());
    }
    let now = candidate.created_at.as_microsecond();
    sqlx::query("UPDATE signing_keys SET retired_at = $1 WHERE retired_at IS NULL")
        .bind(now)
        .execute(&mut *transaction)
        .await?;
    sqlx::query("INSERT INTO signing_keys (kid, pkcs8, created_at) VALUES ($1, $2, $3)")
        .bind(&candidate.kid)
        .bind(BASE64_STANDARD.encode(candidate.pkcs8.expose_secret()))
        .bind(now)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    tracing::info!(kid = candidate.kid, "tokens are signed with a new key");
    Ok(())
}

pub(super) async fn published(
    users: &Engine,
    retired_since: Timestamp,
) -> Result<Vec<StoredKey>, UsersError> {
    let rows = sqlx::query(
        "SELECT kid, pkcs8, created_at FROM signing_keys WHERE retired_at IS NULL OR retired_at >= $1
         ORDER BY CASE WHEN retired_at IS NULL THEN 0 ELSE 1 END, created_at DESC, kid DESC",
    )
    .bind(retired_since.as_microsecond())
    .fetch_all(users.readers())
    .await?;
    rows.iter().map(key).collect()
}

fn key(row: &Row) -> Result<StoredKey, UsersError> {
    let kid: String = row.try_get("kid")?;
    let created_at: i64 = row.try_get("created_at")?;
    let pkcs8 = BASE64_STANDARD.decode(row.try_get::<&str, _>("pkcs8")?);
    let damaged =
        |error: &dyn ToString| UsersError::Corrupt(format!("the key {kid}: {}", error.to_string()));
    Ok(StoredKey {
        pkcs8: SecretSlice::from(pkcs8.map_err(|error| damaged(&error))?),
        created_at: Timestamp::from_microsecond(created_at).map_err(|error| damaged(&error))?,
        kid,
    })
}

pub(super) async fn delete_retired_before(
    transaction: &mut Tx,
    outdated: Timestamp,
) -> Result<u64, UsersError> {
    let deleted = sqlx::query("DELETE FROM signing_keys WHERE retired_at < $1")
        .bind(outdated.as_microsecond())
        .execute(&mut **transaction)
        .await?;
    Ok(deleted.rows_affected())
}
