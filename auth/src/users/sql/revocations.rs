//! The numbered log of revocations.

use super::{Engine, Row, Tx, row};
use crate::users::UsersError;
use jiff::Timestamp;
use protocol::{
    ids::UserId,
    token::{Revocation, Revocations},
};
use sqlx::Row as _;

/// Adds a revocation and answers with its number.
pub(super) async fn append(
    transaction: &mut Tx,
    user: UserId,
    generation: u64,
    now: Timestamp,
) -> Result<u64, UsersError> {
    let seq: i64 =
        sqlx::query_scalar("UPDATE revocation_head SET seq = seq + 1 WHERE id = 1 RETURNING seq")
            .fetch_one(&mut **transaction)
            .await?;
    sqlx::query(
        "INSERT INTO revocations (seq, user_id, generation, revoked_at) VALUES ($1, $2, $3, $4)",
    )
    .bind(seq)
    .bind(user.to_string())
    .bind(generation.cast_signed())
    .bind(now.as_microsecond())
    .execute(&mut **transaction)
    .await?;
    row::unsigned(seq)
}

/// The number of the last revocation. Since writers follow one another, all before it are there to be read.
pub(super) async fn head(users: &Engine) -> Result<u64, UsersError> {
    let head: i64 = sqlx::query_scalar("SELECT seq FROM revocation_head WHERE id = 1")
        .fetch_one(users.readers())
        .await?;
    row::unsigned(head)
}

pub(super) async fn after(
    users: &Engine,
    after: u64,
    since: Timestamp,
) -> Result<Revocations, UsersError> {
    // The head is read first: one that comes in between is answered twice, never left out.
    let seq = head(users).await?;
    if seq == after {
        return Ok(Revocations {
            seq,
            revoked: Vec::new(),
        });
    }
    let known = if after > seq { 0 } else { after };
    let rows = sqlx::query(
        "SELECT user_id, MAX(generation) AS generation FROM revocations
         WHERE seq > $1 AND revoked_at >= $2 GROUP BY user_id",
    )
    .bind(known.cast_signed())
    .bind(since.as_microsecond())
    .fetch_all(users.readers())
    .await?;
    let revoked = rows.iter().map(revocation).collect::<Result<_, _>>()?;
    Ok(Revocations { seq, revoked })
}

fn revocation(row: &Row) -> Result<Revocation, UsersError> {
    Ok(Revocation {
        user_id: row::parsed(row, "user_id")?,
        generation: row::unsigned(row.try_get("generation")?)?,
    })
}

pub(super) async fn delete_before(
    transaction: &mut Tx,
    outdated: Timestamp,
) -> Result<u64, UsersError> {
    let deleted = sqlx::query("DELETE FROM revocations WHERE revoked_at < $1")
        .bind(outdated.as_microsecond())
        .execute(&mut **transaction)
        .await?;
    Ok(deleted.rows_affected())
}
