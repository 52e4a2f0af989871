//! The notification log: per topic, numbered one by one.

use super::{
    Connection, Db, Row, WHOLE_TABLES, rows,
    set::{push_list, push_values},
    writer::{Set, Tx},
};
use crate::store::StoreError;
use futures::future::BoxFuture;
use jiff::Timestamp;
use protocol::{
    TenantId, Topic, UserId,
    event::{EventKind, FileEvent, Notification},
    upload::{LogHead, LogPage, Published, Upload},
};
use sqlx::{QueryBuilder, Row as _};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};
use uuid::Uuid;

/// What is to be told of a file.
pub(super) struct Event {
    tenant: TenantId,
    owner: UserId,
    kind: EventKind,
    at: Timestamp,
    data: FileEvent,
}

impl Event {
    /// What an upload's change is told as.
    pub(super) fn of(upload: &Upload, kind: EventKind, at: Timestamp) -> Self {
        let data = FileEvent {
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
        };
        Self {
            tenant: upload.tenant.clone(),
            owner: upload.owner.id,
            kind,
            at,
            data,
        }
    }
}

/// A notification that gets its number.
struct Entry {
    log: String,
    tenant: TenantId,
    notification: Notification,
    data: Arc<str>,
}

/// How many notifications of a log are forgotten by one transaction at most, so that nobody waits for long behind it.
const TRIMMED_AT_ONCE: i64 = 500;

/// How many notifications that are too old are looked at by one transaction.
const OUTDATED_AT_ONCE: i64 = 5000;

/// Notes events in their owners' topics and in the tenants' `admin` topics, in this order.
pub(super) async fn tell(tx: &mut Tx, events: Vec<Event>) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let mut entries = Vec::with_capacity(2 * events.len());
    for event in events {
        let data = serde_json::to_value(&event.data)
            .map_err(|error| StoreError::Invalid(error.to_string()))?;
        let text: Arc<str> = data.to_string().into();
        for topic in [Topic::User(event.owner), Topic::Admin] {
            entries.push(Entry {
                log: topic.log_name(&event.tenant),
                tenant: event.tenant.clone(),
                notification: Notification {
                    topic,
                    epoch: String::new(),
                    offset: 0,
                    event: event.kind.as_str().to_owned(),
                    time: event.at,
                    data: data.clone(),
                },
                data: Arc::clone(&text),
            });
        }
    }
    number(&mut tx.db, &mut entries).await?;
    insert(&mut tx.db, &entries).await?;
    let news = entries.into_iter().map(|entry| Published {
        tenant: entry.tenant,
        notification: entry.notification,
    });
    tx.effects.news.extend(news);
    Ok(())
}

/// Gives each entry the next number of its log.
async fn number(db: &mut Connection, entries: &mut [Entry]) -> Result<(), StoreError> {
    let mut counts: HashMap<&str, i64> = HashMap::new();
    for entry in &*entries {
        *counts.entry(&entry.log).or_default() += 1;
    }
    let counts: Vec<(&str, i64)> = counts.into_iter().collect();
    let mut sql = QueryBuilder::<Db>::new(
        "INSERT INTO topics (log_name, epoch, head, oldest) SELECT *, 1 FROM ",
    );
    push_values(
        &mut sql,
        &counts,
        |(log, _)| (*log).to_owned(),
        |row, (_, count)| {
            row.push_bind(new_epoch());
            row.push_bind(*count);
        },
    );
    sql.push(
        " WHERE column1 <> '' ON CONFLICT (log_name) DO UPDATE SET head = topics.head + excluded.head \
         RETURNING log_name, epoch, head, oldest",
    );
    let heads = sql.build().fetch_all(db).await?;
    let heads: HashMap<String, LogHead> = heads.iter().map(head).collect::<Result<_, _>>()?;
    let mut next: HashMap<String, LogHead> = HashMap::new();
    for (log, count) in counts {
        let mut head = heads
            .get(log)
            .cloned()
            .ok_or_else(|| StoreError::Invalid(format!("the log {log} did not get on")))?;
        head.head -= count.unsigned_abs();
        next.insert(log.to_owned(), head);
    }
    for entry in entries {
        if let Some(head) = next.get_mut(&entry.log) {
            head.head += 1;
            entry.notification.offset = head.head;
            entry.notification.epoch.clone_from(&head.epoch);
        }
    }
    Ok(())
}

async fn insert(db: &mut Connection, entries: &[Entry]) -> Result<(), StoreError> {
    let mut sql = QueryBuilder::<Db>::new(
        "INSERT INTO notifications (log_name, number, event, time, data) SELECT * FROM ",
    );
    let key = |entry: &Entry| entry.log.clone();
    push_values(&mut sql, entries, key, |row, entry| {
        row.push_bind(rows::sql(entry.notification.offset));
        row.push_bind(&entry.notification.event);
        row.push_bind(entry.notification.time.as_microsecond());
        row.push_bind(&*entry.data);
    });
    sql.push(" WHERE column1 <> ''");
    sql.build().execute(db).await?;
    Ok(())
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
    let mut sql = QueryBuilder::<Db>::new(
        "SELECT log_name, epoch, head, oldest FROM topics WHERE log_name IN ",
    );
    push_list(&mut sql, logs.iter().cloned());
    let found = sql.build().fetch_all(db).await?;
    found.iter().map(head).collect()
}

/// Logs to be made.
pub(super) struct Create(pub(super) Vec<String>);

impl Set for Create {
    type Answer = HashMap<String, LogHead>;

    fn run<'t>(
        tx: &'t mut Tx,
        asked: Vec<&'t Self>,
    ) -> BoxFuture<'t, Result<Vec<HashMap<String, LogHead>>, StoreError>> {
        Box::pin(create(tx, asked))
    }
}

/// Makes logs that do not exist; answers the heads of all of them.
async fn create(
    tx: &mut Tx,
    asked: Vec<&Create>,
) -> Result<Vec<HashMap<String, LogHead>>, StoreError> {
    let logs: BTreeSet<&String> = asked.iter().flat_map(|create| &create.0).collect();
    let logs: Vec<&String> = logs.into_iter().collect();
    let mut sql = QueryBuilder::<Db>::new(
        "INSERT INTO topics (log_name, epoch, head, oldest) SELECT *, 0, 1 FROM ",
    );
    push_values(
        &mut sql,
        &logs,
        |log| (*log).clone(),
        |row, _| {
            row.push_bind(new_epoch());
        },
    );
    // Setting the head to itself makes the row come back also if someone else was faster.
    sql.push(
        " WHERE column1 <> '' ON CONFLICT (log_name) DO UPDATE SET head = topics.head \
         RETURNING log_name, epoch, head, oldest",
    );
    let made = sql.build().fetch_all(&mut tx.db).await?;
    let heads: HashMap<String, LogHead> = made.iter().map(head).collect::<Result<_, _>>()?;
    let heads_of = |create: &&Create| {
        let heads_of = create.0.iter().filter_map(|log| heads.get_key_value(log));
        heads_of
            .map(|(log, head)| (log.clone(), head.clone()))
            .collect()
    };
    Ok(asked.iter().map(heads_of).collect())
}

fn head(row: &Row) -> Result<(String, LogHead), StoreError> {
    let log: String = row.try_get("log_name")?;
    Ok((
        log.clone(),
        LogHead {
            log,
            epoch: row.try_get("epoch")?,
            head: rows::number(row, "head")?,
            oldest: rows::number(row, "oldest")?,
        },
    ))
}

pub(super) async fn trim(
    tx: &mut Tx,
    keep: u64,
    before: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let [begin, end] = WHOLE_TABLES;
    sqlx::raw_sql(begin).execute(&mut tx.db).await?;
    // Only ever the beginning of a log goes, so that what is left has no hole: the last one too old decides.
    let cut = sqlx::query(
        "SELECT topics.log_name, CASE WHEN cut.oldest > topics.oldest + $4 THEN topics.oldest + $4 ELSE cut.oldest END \
         AS oldest FROM (SELECT log_name, MAX(oldest) AS oldest FROM ( \
             SELECT log_name, head - $1 + 1 AS oldest FROM topics WHERE head - oldest + 1 > $1 \
             UNION ALL \
             SELECT log_name, MAX(number) + 1 AS oldest FROM ( \
                 SELECT log_name, number FROM notifications WHERE time < $2 ORDER BY time LIMIT $5 \
             ) AS outdated GROUP BY log_name \
         ) AS old GROUP BY log_name) AS cut JOIN topics ON topics.log_name = cut.log_name LIMIT $3",
    )
    .bind(rows::sql(keep))
    .bind(before.as_microsecond())
    .bind(i64::from(limit))
    .bind(TRIMMED_AT_ONCE)
    .bind(OUTDATED_AT_ONCE)
    .fetch_all(&mut tx.db)
    .await?;
    sqlx::raw_sql(end).execute(&mut tx.db).await?;
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
