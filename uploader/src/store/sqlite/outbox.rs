//! The outbox: attempts to store a file that are not resolved.

use super::{
    super::{Dispatch, Dispatched, OutboxDepth, StoreError},
    rows,
    writer::Tx,
};
use jiff::Timestamp;
use protocol::{UploadId, upload::PersistFile};
use sqlx::{Row, SqliteConnection, SqlitePool};

/// Makes an attempt wait for its time, in place of the upload's attempt before it.
pub(super) async fn put(
    tx: &mut Tx,
    upload: UploadId,
    attempt: u32,
    due_at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO outbox (upload_id, attempt, due_at, dispatched_at) VALUES (?, ?, ?, NULL) \
         ON CONFLICT (upload_id) DO UPDATE \
         SET attempt = excluded.attempt, due_at = excluded.due_at, dispatched_at = NULL",
    )
    .bind(upload.to_string())
    .bind(i64::from(attempt))
    .bind(due_at.as_microsecond())
    .execute(&mut tx.db)
    .await?;
    tx.effects.outbox = true;
    Ok(())
}

/// Forgets an upload's attempt, which is resolved.
pub(super) async fn remove(tx: &mut Tx, upload: UploadId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM outbox WHERE upload_id = ?")
        .bind(upload.to_string())
        .execute(&mut tx.db)
        .await?;
    tx.effects.outbox = true;
    Ok(())
}

pub(super) async fn dispatch(tx: &mut Tx, dispatch: Dispatch) -> Result<Dispatched, StoreError> {
    let mut work = again(&mut tx.db, dispatch).await?;
    let room = i64::from(dispatch.max_in_flight) - in_flight(&mut tx.db).await?;
    let limit = room.clamp(0, i64::from(dispatch.limit) - work.len() as i64);
    let due = due(&mut tx.db, dispatch.now, limit).await?;
    // When there is no room left, it is a report that makes some, and reports wake whoever waits for it.
    let next_due = match room - due.len() as i64 {
        1.. => {
            earliest(
                &mut tx.db,
                "SELECT MIN(due_at) AS time FROM outbox WHERE dispatched_at IS NULL",
            )
            .await?
        }
        _ => None,
    };
    work.extend(due);
    let oldest_dispatch = earliest(
        &mut tx.db,
        "SELECT MIN(dispatched_at) AS time FROM outbox WHERE dispatched_at IS NOT NULL",
    )
    .await?;
    Ok(Dispatched {
        work,
        next_due,
        oldest_dispatch,
    })
}

/// Takes attempts that were dispatched long ago and never reported on.
async fn again(
    db: &mut SqliteConnection,
    dispatch: Dispatch,
) -> Result<Vec<PersistFile>, StoreError> {
    let taken = sqlx::query(
        "UPDATE outbox SET dispatched_at = ? WHERE upload_id IN (SELECT upload_id FROM outbox \
         WHERE dispatched_at IS NOT NULL AND dispatched_at <= ? ORDER BY dispatched_at LIMIT ?) \
         RETURNING upload_id, attempt",
    )
    .bind(dispatch.now.as_microsecond())
    .bind(dispatch.lost_before.as_microsecond())
    .bind(i64::from(dispatch.limit))
    .fetch_all(&mut *db)
    .await?;
    begin(db, taken).await
}

/// Takes attempts whose time has come.
async fn due(
    db: &mut SqliteConnection,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<PersistFile>, StoreError> {
    let taken = sqlx::query(
        "UPDATE outbox SET dispatched_at = ? WHERE upload_id IN (SELECT upload_id FROM outbox \
         WHERE dispatched_at IS NULL AND due_at <= ? ORDER BY due_at LIMIT ?) RETURNING upload_id, attempt",
    )
    .bind(now.as_microsecond())
    .bind(now.as_microsecond())
    .bind(limit)
    .fetch_all(&mut *db)
    .await?;
    begin(db, taken).await
}

/// Makes the uploads of attempts `storing`.
async fn begin(
    db: &mut SqliteConnection,
    taken: Vec<sqlx::sqlite::SqliteRow>,
) -> Result<Vec<PersistFile>, StoreError> {
    let mut work = Vec::with_capacity(taken.len());
    for row in taken {
        let attempt: u32 = rows::number(&row, "attempt")?;
        let upload = sqlx::query(
            "UPDATE uploads SET status = 'storing', attempts = ? \
             WHERE upload_id = ? AND status IN ('cached', 'retrying', 'storing') RETURNING *",
        )
        .bind(i64::from(attempt))
        .bind(row.try_get::<String, _>("upload_id")?)
        .fetch_optional(&mut *db)
        .await?;
        if let Some(upload) = upload {
            work.push(PersistFile {
                upload: rows::upload(&upload)?,
                attempt,
            });
        }
    }
    Ok(work)
}

async fn in_flight(db: &mut SqliteConnection) -> Result<i64, StoreError> {
    let sql = "SELECT COUNT(*) FROM outbox WHERE dispatched_at IS NOT NULL";
    Ok(sqlx::query_scalar(sql).fetch_one(db).await?)
}

async fn earliest(
    db: &mut SqliteConnection,
    sql: &'static str,
) -> Result<Option<Timestamp>, StoreError> {
    rows::time_if_any(&sqlx::query(sql).fetch_one(db).await?, "time")
}

pub(super) async fn forget_dispatches(tx: &mut Tx) -> Result<u64, StoreError> {
    let forgotten =
        sqlx::query("UPDATE outbox SET dispatched_at = NULL WHERE dispatched_at IS NOT NULL")
            .execute(&mut tx.db)
            .await?;
    tx.effects.outbox = true;
    Ok(forgotten.rows_affected())
}

pub(super) async fn depth(db: &SqlitePool) -> Result<OutboxDepth, StoreError> {
    let row = sqlx::query(
        "SELECT COUNT(*) - COUNT(dispatched_at) AS waiting, COUNT(dispatched_at) AS dispatched FROM outbox",
    )
    .fetch_one(db)
    .await?;
    Ok(OutboxDepth {
        waiting: rows::number(&row, "waiting")?,
        dispatched: rows::number(&row, "dispatched")?,
    })
}
