//! The notification log: per topic, numbered one by one.

use super::{Connection, Db, Row, rows, writer::Tx};
use crate::store::StoreError;
use jiff::Timestamp;
use protocol::{
    TenantId, Topic,
    event::{EventKind, FileEvent, Notification},
    upload::{LogHead, LogPage, Published, Upload},
};
use sqlx::{QueryBuilder, Row as _};
use std::collections::HashMap;
use uuid::Uuid;

/// Notes an event of a file in the owner's topic and in the tenant's `admin` topic.
pub(super) async fn tell_of(
    tx: &mut Tx,
    upload: &Upload,
    event: EventKind,
    at: Timestamp,
) -> Result<(), StoreError> {
    let data = serde_json::to_value(FileEvent {
        upload_id: upload.upload_id,
        file_id: upload.file_id,
        name: upload.meta.name.clone(),
        size: upload.meta.size,
        digest: upload.computed_digest,
        status: upload.status,
        owner: upload.owner.clone(),
        pool: upload.meta.pool,
        attempt: (upload.attempts > 0).then_some(upload.attempts),
        reason: upload.reason.clone(),
    })
    .map_err(|error| StoreError::Invalid(error.to_string()))?;
    for topic in [Topic::User(upload.owner.id), Topic::Admin] {
        let notification =
            append(&mut tx.db, topic, &upload.tenant, event, at, data.clone()).await?;
        tx.effects.news.push(Published {
            tenant: upload.tenant.clone(),
            notification,
        });
    }
    Ok(())
}

async fn append(
    db: &mut Connection,
    topic: Topic,
    tenant: &TenantId,
    event: EventKind,
    at: Timestamp,
    data: serde_json::Value,
) -> Result<Notification, StoreError> {
    let log_name = topic.log_name(tenant);
    let row = sqlx::query(
        "INSERT INTO topics (log_name, epoch, head, oldest) VALUES ($1, $2, 1, 1) \
         ON CONFLICT (log_name) DO UPDATE SET head = topics.head + 1 RETURNING epoch, head",
    )
    .bind(&log_name)
    .bind(new_epoch())
    .fetch_one(&mut *db)
    .await?;
    let offset = rows::number(&row, "head")?;
    sqlx::query(
        "INSERT INTO notifications (log_name, number, event, time, data) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(log_name)
    .bind(rows::sql(offset))
    .bind(event.as_str())
    .bind(at.as_microsecond())
    .bind(data.to_string())
    .execute(db)
    .await?;
    Ok(Notification {
        topic,
        epoch: row.try_get("epoch")?,
        offset,
        event: event.as_str().to_owned(),
        time: at,
        data,
    })
}

fn new_epoch() -> String {
    Uuid::now_v7().simple().to_string()
}

pub(super) async fn page(
    db: &mut Connection,
    topic: Topic,
    name: &str,
    after: u64,
    limit: u32,
) -> Result<Option<LogPage>, StoreError> {
    // One statement sees one state of the database, so that the page fits the head.
    let rows = sqlx::query(
        "SELECT epoch, head, oldest, number, event, time, data FROM topics LEFT JOIN ( \
             SELECT number, event, time, data FROM notifications WHERE log_name = $1 AND number > $2 ORDER BY number LIMIT $3 \
         ) AS page ON TRUE WHERE log_name = $1 ORDER BY number",
    )
    .bind(name)
    .bind(rows::sql(after))
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let epoch: String = first.try_get("epoch")?;
    // A page without notifications is one row that has only the topic's half.
    let is_empty = first.try_get::<Option<i64>, _>("number")?.is_none();
    let entries = if is_empty { &[] } else { rows.as_slice() };
    Ok(Some(LogPage {
        head: rows::number(first, "head")?,
        oldest: rows::number(first, "oldest")?,
        notifications: entries
            .iter()
            .map(|row| notification(row, topic, &epoch))
            .collect::<Result<_, _>>()?,
        epoch,
    }))
}

fn notification(row: &Row, topic: Topic, epoch: &str) -> Result<Notification, StoreError> {
    let data: String = row.try_get("data")?;
    Ok(Notification {
        topic,
        epoch: epoch.to_owned(),
        offset: rows::number(row, "number")?,
        event: row.try_get("event")?,
        time: rows::time(row.try_get("time")?)?,
        data: serde_json::from_str(&data)
            .map_err(|error| StoreError::Invalid(format!("a notification: {error}")))?,
    })
}

/// The heads of those logs that exist, by name.
pub(super) async fn heads(
    db: &mut Connection,
    logs: &[String],
) -> Result<HashMap<String, LogHead>, StoreError> {
    if logs.is_empty() {
        return Ok(HashMap::new());
    }
    let mut sql =
        QueryBuilder::<Db>::new("SELECT log_name, epoch, head FROM topics WHERE log_name IN (");
    let mut names = sql.separated(", ");
    for log in logs {
        names.push_bind(log);
    }
    sql.push(")");
    let found = sql.build().fetch_all(db).await?;
    found.iter().map(head).collect()
}

/// Makes logs that do not exist; answers the heads of all of them.
pub(super) async fn create(
    tx: &mut Tx,
    logs: Vec<String>,
) -> Result<HashMap<String, LogHead>, StoreError> {
    let mut heads = HashMap::with_capacity(logs.len());
    for log in logs {
        // Setting the head to itself makes the row come back also if someone else was faster.
        let row = sqlx::query(
            "INSERT INTO topics (log_name, epoch, head, oldest) VALUES ($1, $2, 0, 1) \
             ON CONFLICT (log_name) DO UPDATE SET head = topics.head RETURNING log_name, epoch, head",
        )
        .bind(log)
        .bind(new_epoch())
        .fetch_one(&mut tx.db)
        .await?;
        heads.extend([head(&row)?]);
    }
    Ok(heads)
}

fn head(row: &Row) -> Result<(String, LogHead), StoreError> {
    let log: String = row.try_get("log_name")?;
    Ok((
        log.clone(),
        LogHead {
            log,
            epoch: row.try_get("epoch")?,
            head: rows::number(row, "head")?,
        },
    ))
}

pub(super) async fn trim(
    tx: &mut Tx,
    keep: u64,
    before: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    // Only ever the beginning of a log goes, so that what is left has no hole: the last one too old decides.
    let cut = sqlx::query(
        "SELECT log_name, MAX(oldest) AS oldest FROM ( \
             SELECT log_name, head - $1 + 1 AS oldest FROM topics WHERE head - oldest + 1 > $1 \
             UNION ALL \
             SELECT log_name, MAX(number) + 1 AS oldest FROM notifications WHERE time < $2 GROUP BY log_name \
         ) AS cut GROUP BY log_name LIMIT $3",
    )
    .bind(rows::sql(keep))
    .bind(before.as_microsecond())
    .bind(i64::from(limit))
    .fetch_all(&mut tx.db)
    .await?;
    for row in &cut {
        let log: String = row.try_get("log_name")?;
        let oldest: i64 = row.try_get("oldest")?;
        sqlx::query("DELETE FROM notifications WHERE log_name = $1 AND number < $2")
            .bind(&log)
            .bind(oldest)
            .execute(&mut tx.db)
            .await?;
        sqlx::query("UPDATE topics SET oldest = $1 WHERE log_name = $2")
            .bind(oldest)
            .bind(log)
            .execute(&mut tx.db)
            .await?;
    }
    Ok(cut.len() as u64)
}
