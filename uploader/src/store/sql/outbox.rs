//! The outbox: attempts to store a file that are not resolved.

use super::{Connection, Row, rows, writer::Tx};
use crate::store::{Dispatch, Dispatched, OutboxDepth, Queued, StoreError};
use jiff::Timestamp;
use protocol::{UploadId, upload::PersistFile};
use sqlx::Row as _;

/// Makes an attempt wait for its time, in place of the upload's attempt before it.
pub(super) async fn put(
    tx: &mut Tx,
    upload: UploadId,
    attempt: u32,
    due_at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO outbox (upload_id, attempt, due_at, dispatched_at, queued) VALUES ($1, $2, $3, NULL, 0) \
         ON CONFLICT (upload_id) DO UPDATE \
         SET attempt = excluded.attempt, due_at = excluded.due_at, dispatched_at = NULL, queued = 0",
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
    sqlx::query("DELETE FROM outbox WHERE upload_id = $1")
        .bind(upload.to_string())
        .execute(&mut tx.db)
        .await?;
    tx.effects.outbox = true;
    Ok(())
}

pub(super) async fn dispatch(tx: &mut Tx, dispatch: Dispatch) -> Result<Dispatched, StoreError> {
    confirm(&mut tx.db, &dispatch.queued).await?;
    let mut work = again(&mut tx.db, &dispatch).await?;
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

/// Notes which attempts the queue has taken. Those resolved or followed by another attempt meanwhile are left alone.
async fn confirm(db: &mut Connection, queued: &[Queued]) -> Result<(), StoreError> {
    for attempt in queued {
        sqlx::query("UPDATE outbox SET queued = 1 WHERE upload_id = $1 AND attempt = $2 AND dispatched_at IS NOT NULL")
            .bind(attempt.upload.to_string())
            .bind(i64::from(attempt.attempt))
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

/// Takes attempts that were dispatched and never reported on, or never reached the queue.
async fn again(db: &mut Connection, dispatch: &Dispatch) -> Result<Vec<PersistFile>, StoreError> {
    let taken = sqlx::query(
        "UPDATE outbox SET dispatched_at = $1, queued = 0 WHERE upload_id IN (SELECT upload_id FROM outbox \
         WHERE dispatched_at IS NOT NULL AND (dispatched_at <= $2 OR (dispatched_at <= $3 AND queued = 0)) \
         ORDER BY dispatched_at LIMIT $4) RETURNING upload_id, attempt, due_at",
    )
    .bind(dispatch.now.as_microsecond())
    .bind(dispatch.lost_before.as_microsecond())
    .bind(dispatch.unqueued_before.as_microsecond())
    .bind(i64::from(dispatch.limit))
    .fetch_all(&mut *db)
    .await?;
    begin(db, taken).await
}

/// Takes attempts whose time has come.
async fn due(
    db: &mut Connection,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<PersistFile>, StoreError> {
    let taken = sqlx::query(
        "UPDATE outbox SET dispatched_at = $1 WHERE upload_id IN (SELECT upload_id FROM outbox \
         WHERE dispatched_at IS NULL AND due_at <= $1 ORDER BY due_at LIMIT $2) RETURNING upload_id, attempt, due_at",
    )
    .bind(now.as_microsecond())
    .bind(limit)
    .fetch_all(&mut *db)
    .await?;
    begin(db, taken).await
}

/// Makes the uploads of attempts `storing`; what was due first comes first.
async fn begin(db: &mut Connection, taken: Vec<Row>) -> Result<Vec<PersistFile>, StoreError> {
    // An update returns its rows in whatever order it pleases.
    let mut attempts = Vec::with_capacity(taken.len());
    for row in &taken {
        let due_at: i64 = row.try_get("due_at")?;
        let attempt: u32 = rows::number(row, "attempt")?;
        attempts.push((due_at, attempt, row.try_get::<String, _>("upload_id")?));
    }
    attempts.sort_unstable();
    let mut work = Vec::with_capacity(attempts.len());
    for (_, attempt, upload) in attempts {
        let upload = sqlx::query(
            "UPDATE uploads SET status = 'storing', attempts = $1 \
             WHERE upload_id = $2 AND status IN ('cached', 'retrying', 'storing') RETURNING *",
        )
        .bind(i64::from(attempt))
        .bind(upload)
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

async fn in_flight(db: &mut Connection) -> Result<i64, StoreError> {
    let sql = "SELECT COUNT(*) FROM outbox WHERE dispatched_at IS NOT NULL";
    Ok(sqlx::query_scalar(sql).fetch_one(db).await?)
}

async fn earliest(db: &mut Connection, sql: &'static str) -> Result<Option<Timestamp>, StoreError> {
    rows::time_if_any(&sqlx::query(sql).fetch_one(db).await?, "time")
}

pub(super) async fn forget_dispatches(tx: &mut Tx) -> Result<u64, StoreError> {
    let forgotten = sqlx::query(
        "UPDATE outbox SET dispatched_at = NULL, queued = 0 WHERE dispatched_at IS NOT NULL",
    )
    .execute(&mut tx.db)
    .await?;
    tx.effects.outbox = true;
    Ok(forgotten.rows_affected())
}

pub(super) async fn depth(db: &mut Connection) -> Result<OutboxDepth, StoreError> {
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
