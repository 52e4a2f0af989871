//! Logins: begun, refreshed, ended.

use super::{Engine, Row, Tx, revocations, row};
use crate::users::{Ended, NewSession, Rotated, Rotation, User, UsersError};
use jiff::Timestamp;
use protocol::ids::UserId;
use sqlx::Row as _;
use uuid::Uuid;

pub(super) async fn begin(
    users: &Engine,
    session: &NewSession,
    max_sessions: u32,
) -> Result<Option<User>, UsersError> {
    let mut transaction = users.begin().await?;
    let row = sqlx::query(
        "SELECT id AS user_id, name, password_hash, role, tenant, token_generation FROM users WHERE id = $1",
    )
    .bind(session.user_id.to_string())
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(row) = row else { return Ok(None) };
    sqlx::query(
        "INSERT INTO sessions (id, user_id, family_hash, current_hash, created_at, rotated_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $5, $6)",
    )
    .bind(session.id.to_string())
    .bind(session.user_id.to_string())
    .bind(&session.family_hash)
    .bind(&session.token_hash)
    .bind(session.created_at.as_microsecond())
    .bind(session.expires_at.as_microsecond())
    .execute(&mut *transaction)
    .await?;
    end_stalest(&mut transaction, session.user_id, max_sessions).await?;
    transaction.commit().await?;
    row::user(&row).map(Some)
}

/// Ends the user's logins beyond `max_sessions`, those first that were refreshed longest ago.
async fn end_stalest(
    transaction: &mut Tx,
    user: UserId,
    max_sessions: u32,
) -> Result<(), UsersError> {
    sqlx::query(
        "DELETE FROM sessions WHERE user_id = $1 AND id NOT IN
         (SELECT id FROM sessions WHERE user_id = $1 ORDER BY rotated_at DESC, id DESC LIMIT $2)",
    )
    .bind(user.to_string())
    .bind(i64::from(max_sessions.max(1)))
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// What a refresh token is to the login whose family it belongs to.
enum Held {
    /// The one that was given out last.
    Current,
    /// Its predecessor, so soon after its use that the answer may have been lost.
    JustUsed,
    /// One that was used before.
    Used,
}

pub(super) async fn rotate(users: &Engine, rotation: &Rotation) -> Result<Rotated, UsersError> {
    let mut transaction = users.begin().await?;
    let row = sqlx::query(
        "SELECT s.id AS session_id, s.current_hash, s.previous_hash, s.rotated_at, s.user_id,
                u.name, u.password_hash, u.role, u.tenant, u.token_generation
         FROM sessions s JOIN users u ON u.id = s.user_id
         WHERE s.family_hash = $1 AND s.expires_at > $2",
    )
    .bind(&rotation.family_hash)
    .bind(rotation.now.as_microsecond())
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(row) = row else {
        return Ok(Rotated::Unknown);
    };
    let session: Uuid = row::parsed(&row, "session_id")?;
    let user = row::user(&row)?;
    let rotated = match held(&row, rotation)? {
        Held::Current => {
            renew(&mut transaction, session, rotation).await?;
            Rotated::Renewed { session, user }
        }
        Held::JustUsed => {
            replace(&mut transaction, session, rotation).await?;
            Rotated::Renewed { session, user }
        }
        Held::Used => {
            end(&mut transaction, session).await?;
            Rotated::Reused { user_id: user.id }
        }
    };
    transaction.commit().await?;
    Ok(rotated)
}

fn held(row: &Row, rotation: &Rotation) -> Result<Held, UsersError> {
    // Hashes of random tokens are compared: how long that takes tells nothing about a token.
    let current: &str = row.try_get("current_hash")?;
    let previous: Option<&str> = row.try_get("previous_hash")?;
    let rotated_at: i64 = row.try_get("rotated_at")?;
    let was_just_used = rotated_at >= rotation.reusable_since.as_microsecond();
    Ok(if current == rotation.token_hash {
        Held::Current
    } else if previous == Some(&*rotation.token_hash) && was_just_used {
        Held::JustUsed
    } else {
        Held::Used
    })
}

async fn renew(transaction: &mut Tx, session: Uuid, rotation: &Rotation) -> Result<(), UsersError> {
    sqlx::query(
        "UPDATE sessions SET previous_hash = current_hash, current_hash = $2, rotated_at = $3, expires_at = $4
         WHERE id = $1",
    )
    .bind(session.to_string())
    .bind(&rotation.successor_hash)
    .bind(rotation.now.as_microsecond())
    .bind(rotation.expires_at.as_microsecond())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Gives a used token another successor. The first one counts as used from now on: had a thief taken it, or caused
/// this, then the next use of either ends the login. The time for yet another use is not prolonged.
async fn replace(
    transaction: &mut Tx,
    session: Uuid,
    rotation: &Rotation,
) -> Result<(), UsersError> {
    sqlx::query("UPDATE sessions SET current_hash = $2, expires_at = $3 WHERE id = $1")
        .bind(session.to_string())
        .bind(&rotation.successor_hash)
        .bind(rotation.expires_at.as_microsecond())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

async fn end(transaction: &mut Tx, session: Uuid) -> Result<(), UsersError> {
    sqlx::query("DELETE FROM sessions WHERE id = $1")
        .bind(session.to_string())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

pub(super) async fn end_all(
    users: &Engine,
    user: UserId,
    now: Timestamp,
) -> Result<Option<Ended>, UsersError> {
    let mut transaction = users.begin().await?;
    let generation: Option<i64> = sqlx::query_scalar(
        "UPDATE users SET token_generation = token_generation + 1 WHERE id = $1 RETURNING token_generation",
    )
    .bind(user.to_string())
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(generation) = generation else {
        return Ok(None);
    };
    let generation = row::unsigned(generation)?;
    sqlx::query("DELETE FROM sessions WHERE user_id = $1")
        .bind(user.to_string())
        .execute(&mut *transaction)
        .await?;
    let seq = revocations::append(&mut transaction, user, generation, now).await?;
    transaction.commit().await?;
    Ok(Some(Ended { generation, seq }))
}

pub(super) async fn delete_expired(
    transaction: &mut Tx,
    now: Timestamp,
) -> Result<u64, UsersError> {
    let deleted = sqlx::query("DELETE FROM sessions WHERE expires_at <= $1")
        .bind(now.as_microsecond())
        .execute(&mut **transaction)
        .await?;
    Ok(deleted.rows_affected())
}
