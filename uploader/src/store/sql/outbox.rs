//! The outbox: attempts to store a file that are not resolved.

use super::{
    Connection, Db, Row, rows,
    set::{push_list, push_values},
    writer::Tx,
};
use crate::store::{Dispatch, Dispatched, OutboxDepth, Queued, StoreError};
use jiff::Timestamp;
use protocol::{
    UploadId,
    upload::{PersistFile, Upload},
};
use sqlx::{QueryBuilder, Row as _};
use std::collections::HashMap;

/// Makes attempts wait for their time, in place of their uploads' attempts before them.
pub(super) async fn put(
    tx: &mut Tx,
    attempts: &[(UploadId, u32, Timestamp)],
) -> Result<(), StoreError> {
    if attempts.is_empty() {
        return Ok(());
    }
    let mut sql = QueryBuilder::<Db>::new(
        "INSERT INTO outbox (upload_id, attempt, due_at, dispatched_at, queued) SELECT column1, column2, column3, NULL, 0 FROM ",
    );
    push_values(
        &mut sql,
        attempts,
        |(upload, ..)| upload.to_string(),
        |row, (_, attempt, due_at)| {
            row.push_bind(i64::from(*attempt));
            row.push_bind(due_at.as_microsecond());
        },
    );
    sql.push(
        " WHERE column1 <> '' ON CONFLICT (upload_id) DO UPDATE \
         SET attempt = excluded.attempt, due_at = excluded.due_at, dispatched_at = NULL, queued = 0",
    );
    sql.build().execute(&mut tx.db).await?;
    tx.effects.outbox = true;
    Ok(())
}

/// Forgets uploads' attempts, which are resolved.
pub(super) async fn remove(tx: &mut Tx, uploads: &[UploadId]) -> Result<(), StoreError> {
    if uploads.is_empty() {
        return Ok(());
    }
    let mut sql = QueryBuilder::<Db>::new("DELETE FROM outbox WHERE upload_id IN ");
    push_list(&mut sql, uploads.iter().map(UploadId::to_string));
    sql.build().execute(&mut tx.db).await?;
    tx.effects.room = true;
    Ok(())
}

pub(super) async fn dispatch(tx: &mut Tx, dispatch: Dispatch) -> Result<Dispatched, StoreError> {
    let db = &mut tx.db;
    confirm(db, &dispatch.queued).await?;
    let flight = in_flight(db).await?;
    let mut oldest_dispatch = flight.oldest;
    let is_lost = |time| time <= dispatch.lost_before.max(dispatch.unqueued_before);
    let mut work = Vec::new();
    if flight.oldest.is_some_and(is_lost) {
        work = again(db, &dispatch).await?;
        oldest_dispatch = in_flight(db).await?.oldest;
    }
    let room = i64::from(dispatch.max_in_flight) - flight.attempts;
    let limit = room.clamp(0, i64::from(dispatch.limit) - work.len() as i64);
    let due = due(db, dispatch.now, limit).await?;
    if !due.is_empty() {
        oldest_dispatch = oldest_dispatch.or(Some(dispatch.now));
    }
    // When there is no room left, it is a report that makes some.
    let is_full = room <= due.len() as i64;
    let next_due = match is_full {
        false => next_due(db).await?,
        true => None,
    };
    work.extend(due);
    Ok(Dispatched {
        work,
        next_due,
        oldest_dispatch,
        is_full,
    })
}

/// Notes which attempts the queue has taken. Those resolved or followed by another attempt meanwhile are left alone.
async fn confirm(db: &mut Connection, queued: &[Queued]) -> Result<(), StoreError> {
    if queued.is_empty() {
        return Ok(());
    }
    let mut sql = QueryBuilder::<Db>::new("UPDATE outbox SET queued = 1 FROM ");
    push_values(
        &mut sql,
        queued,
        |queued| queued.upload.to_string(),
        |row, queued| {
            row.push_bind(i64::from(queued.attempt));
        },
    );
    sql.push(" WHERE upload_id = column1 AND attempt = column2 AND dispatched_at IS NOT NULL");
    sql.build().execute(db).await?;
    Ok(())
}

/// Takes attempts that were dispatched and never reported on, or never reached the queue.
async fn again(db: &mut Connection, dispatch: &Dispatch) -> Result<Vec<PersistFile>, StoreError> {
    let lost = sqlx::query(
        "SELECT upload_id, attempt, due_at FROM outbox \
         WHERE dispatched_at IS NOT NULL AND (dispatched_at <= $1 OR (dispatched_at <= $2 AND queued = 0)) \
         ORDER BY dispatched_at LIMIT $3",
    )
    .bind(dispatch.lost_before.as_microsecond())
    .bind(dispatch.unqueued_before.as_microsecond())
    .bind(i64::from(dispatch.limit))
    .fetch_all(&mut *db)
    .await?;
    begin(db, lost, dispatch.now).await
}

/// Takes attempts whose time has come.
async fn due(
    db: &mut Connection,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<PersistFile>, StoreError> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let due = sqlx::query(
        "SELECT upload_id, attempt, due_at FROM outbox WHERE dispatched_at IS NULL AND due_at <= $1 \
         ORDER BY due_at LIMIT $2",
    )
    .bind(now.as_microsecond())
    .bind(limit)
    .fetch_all(&mut *db)
    .await?;
    begin(db, due, now).await
}

/// Notes that attempts are dispatched now, and makes their uploads `storing`; what was due first comes first.
async fn begin(
    db: &mut Connection,
    taken: Vec<Row>,
    now: Timestamp,
) -> Result<Vec<PersistFile>, StoreError> {
    let mut attempts: Vec<(i64, u32, UploadId)> = Vec::with_capacity(taken.len());
    for row in &taken {
        attempts.push((
            row.try_get("due_at")?,
            rows::number(row, "attempt")?,
            rows::parsed(row, "upload_id")?,
        ));
    }
    if attempts.is_empty() {
        return Ok(Vec::new());
    }
    attempts.sort_unstable();
    let ids = || attempts.iter().map(|(.., upload)| upload.to_string());
    let mut sql = QueryBuilder::<Db>::new("UPDATE outbox SET queued = 0, dispatched_at = ");
    sql.push_bind(now.as_microsecond());
    sql.push(" WHERE upload_id IN ");
    push_list(&mut sql, ids());
    sql.build().execute(&mut *db).await?;
    let mut sql = QueryBuilder::<Db>::new(
        "UPDATE uploads SET status = 'storing', \
         attempts = (SELECT attempt FROM outbox WHERE outbox.upload_id = uploads.upload_id) WHERE upload_id IN ",
    );
    push_list(&mut sql, ids());
    // Not in a form that an index of the files of this status could be used for: PostgreSQL would read all of it, rather than
    // find these.
    sql.push(" AND status || '' IN ('cached', 'retrying', 'storing') RETURNING *");
    let begun = sql.build().fetch_all(db).await?;
    let begun = begun.iter().map(rows::upload);
    let mut begun: HashMap<UploadId, Upload> = begun
        .map(|upload| upload.map(|upload| (upload.upload_id, upload)))
        .collect::<Result<_, _>>()?;
    let work = attempts.into_iter().filter_map(|(_, attempt, upload)| {
        Some(PersistFile {
            upload: begun.remove(&upload)?,
            attempt,
        })
    });
    Ok(work.collect())
}

/// What is dispatched and not reported on.
struct InFlight {
    attempts: i64,
    /// When the oldest was dispatched.
    oldest: Option<Timestamp>,
}

async fn in_flight(db: &mut Connection) -> Result<InFlight, StoreError> {
    let sql = "SELECT COUNT(*) AS attempts, MIN(dispatched_at) AS oldest FROM outbox WHERE dispatched_at IS NOT NULL";
    let row = sqlx::query(sql).fetch_one(db).await?;
    Ok(InFlight {
        attempts: row.try_get("attempts")?,
        oldest: rows::time_if_any(&row, "oldest")?,
    })
}

async fn next_due(db: &mut Connection) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT MIN(due_at) AS time FROM outbox WHERE dispatched_at IS NULL";
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
