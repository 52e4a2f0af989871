//! Uploads: opening, changing and finding them.

use super::{Connection, Db, Row, TAGS_OF_UPLOAD, log, outbox, rows, writer::Tx};
use crate::store::{Applied, Change, Opened, Outbox, StoreError};
use jiff::Timestamp;
use protocol::{
    FileId, TenantId, UploadId, UploadKey, UserId,
    file::{Cursor, FileQuery},
    upload::Upload,
};
use sqlx::QueryBuilder;

pub(super) async fn open(
    tx: &mut Tx,
    upload: Upload,
    key: Option<UploadKey>,
    quota: Option<u64>,
) -> Result<Opened, StoreError> {
    if let Some(key) = key
        && let Some(existing) = by_key(&mut tx.db, upload.owner.id, key).await?
    {
        return Ok(Opened::Existing(Box::new(existing)));
    }
    if let Some(quota) = quota {
        let used = bytes_of(&mut tx.db, upload.owner.id).await?;
        if used.saturating_add(upload.meta.size) > quota {
            return Ok(Opened::QuotaExceeded { used });
        }
    }
    insert(&mut tx.db, &upload, key).await?;
    count_bytes(&mut tx.db, upload.owner.id, rows::sql(upload.meta.size)).await?;
    Ok(Opened::Created)
}

async fn by_key(
    db: &mut Connection,
    owner: UserId,
    key: UploadKey,
) -> Result<Option<Upload>, StoreError> {
    let row = sqlx::query("SELECT * FROM uploads WHERE owner_id = $1 AND upload_key = $2")
        .bind(owner.to_string())
        .bind(key.to_string())
        .fetch_optional(db)
        .await?;
    found(row)
}

async fn insert(
    db: &mut Connection,
    upload: &Upload,
    key: Option<UploadKey>,
) -> Result<(), StoreError> {
    let meta = &upload.meta;
    let tags = serde_json::to_string(&meta.tags)
        .map_err(|error| StoreError::Invalid(error.to_string()))?;
    sqlx::query(
        "INSERT INTO uploads (upload_id, file_id, owner_id, owner_name, tenant, upload_key, name, size, content_type, \
         digest, pool, captured_at, batch, title, description, tags, status, attempts, opened_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)",
    )
    .bind(upload.upload_id.to_string())
    .bind(upload.file_id.to_string())
    .bind(upload.owner.id.to_string())
    .bind(&upload.owner.name)
    .bind(&upload.tenant.0)
    .bind(key.map(|key| key.to_string()))
    .bind(&meta.name)
    .bind(rows::sql(meta.size))
    .bind(&meta.content_type)
    .bind(meta.digest.map(|digest| digest.to_string()))
    .bind(meta.pool.map(|pool| pool.to_string()))
    .bind(meta.captured_at.map(Timestamp::as_microsecond))
    .bind(meta.batch.map(|batch| batch.to_string()))
    .bind(&meta.title)
    .bind(&meta.description)
    .bind(tags)
    .bind(upload.status.as_str())
    .bind(i64::from(upload.attempts))
    .bind(upload.opened_at.as_microsecond())
    .bind(upload.expires_at.as_microsecond())
    .execute(db)
    .await?;
    Ok(())
}

async fn bytes_of(db: &mut Connection, owner: UserId) -> Result<u64, StoreError> {
    let bytes: Option<i64> =
        sqlx::query_scalar("SELECT bytes FROM owner_bytes WHERE owner_id = $1")
            .bind(owner.to_string())
            .fetch_optional(db)
            .await?;
    Ok(u64::try_from(bytes.unwrap_or(0)).unwrap_or(0))
}

async fn count_bytes(db: &mut Connection, owner: UserId, bytes: i64) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO owner_bytes (owner_id, bytes) VALUES ($1, $2) \
         ON CONFLICT (owner_id) DO UPDATE SET bytes = owner_bytes.bytes + excluded.bytes",
    )
    .bind(owner.to_string())
    .bind(bytes)
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn apply(
    tx: &mut Tx,
    id: UploadId,
    change: Change,
    at: Timestamp,
) -> Result<Option<Applied>, StoreError> {
    let Some(upload) = update(&mut tx.db, id, &change, at).await? else {
        let present = by_id(&mut tx.db, id).await?;
        return Ok(present.map(|upload| Applied {
            upload,
            changed: false,
        }));
    };
    match change.outbox(at) {
        Outbox::Keep => {}
        Outbox::Put { attempt, due_at } => outbox::put(tx, id, attempt, due_at).await?,
        Outbox::Remove => outbox::remove(tx, id).await?,
    }
    if change.gives_bytes_back() {
        count_bytes(&mut tx.db, upload.owner.id, -rows::sql(upload.meta.size)).await?;
    }
    if let Some(event) = change.event() {
        log::tell_of(tx, &upload, event, at).await?;
    }
    Ok(Some(Applied {
        upload,
        changed: true,
    }))
}

/// Changes the row if the upload is in the state that the change starts from.
async fn update(
    db: &mut Connection,
    id: UploadId,
    change: &Change,
    at: Timestamp,
) -> Result<Option<Upload>, StoreError> {
    let computed = match change {
        Change::Cache { digest } => Some(digest.to_string()),
        _ => None,
    };
    let code = match change {
        Change::Reject(refusal) => Some(refusal.code.as_str()),
        _ => None,
    };
    let row = sqlx::query(
        "UPDATE uploads SET status = $1, reason = $2, code = $3, ended_at = $4, \
         computed_digest = COALESCE($5, computed_digest), received_at = COALESCE($6, received_at) \
         WHERE upload_id = $7 AND status = $8 AND attempts = $9 RETURNING *",
    )
    .bind(change.to().as_str())
    .bind(change.reason().as_deref().map(rows::text))
    .bind(code)
    .bind(change.to().is_final().then(|| at.as_microsecond()))
    .bind(&computed)
    .bind(computed.is_some().then(|| at.as_microsecond()))
    .bind(id.to_string())
    .bind(change.from().as_str())
    .bind(i64::from(change.from_attempts()))
    .fetch_optional(db)
    .await?;
    found(row)
}

pub(super) async fn by_id(db: &mut Connection, id: UploadId) -> Result<Option<Upload>, StoreError> {
    found(
        sqlx::query("SELECT * FROM uploads WHERE upload_id = $1")
            .bind(id.to_string())
            .fetch_optional(db)
            .await?,
    )
}

pub(super) async fn by_file(db: &mut Connection, id: FileId) -> Result<Option<Upload>, StoreError> {
    found(
        sqlx::query("SELECT * FROM uploads WHERE file_id = $1")
            .bind(id.to_string())
            .fetch_optional(db)
            .await?,
    )
}

fn found(row: Option<Row>) -> Result<Option<Upload>, StoreError> {
    row.as_ref().map(rows::upload).transpose()
}

pub(super) async fn files(
    db: &mut Connection,
    tenant: &TenantId,
    query: &FileQuery,
    after: Option<Cursor>,
    limit: u32,
) -> Result<Vec<Upload>, StoreError> {
    // The condition on the status is written as in the partial indexes, so that they are used.
    let mut sql = QueryBuilder::<Db>::new(
        "SELECT * FROM uploads WHERE status IN ('cached', 'storing', 'retrying', 'upload_failed') AND tenant = ",
    );
    sql.push_bind(&tenant.0);
    if let Some(owner) = query.owner {
        sql.push(" AND owner_id = ").push_bind(owner.to_string());
    }
    if let Some(pool) = query.pool {
        sql.push(" AND pool = ").push_bind(pool.to_string());
    }
    if let Some(status) = query.status {
        sql.push(" AND status = ").push_bind(status.as_str());
    }
    if let Some(from) = query.from {
        sql.push(" AND received_at >= ")
            .push_bind(ceil_micros(from));
    }
    if let Some(to) = query.to {
        sql.push(" AND received_at < ").push_bind(ceil_micros(to));
    }
    if let Some(tag) = &query.tag {
        sql.push(" AND EXISTS (SELECT 1 FROM ")
            .push(TAGS_OF_UPLOAD)
            .push(" WHERE value = ")
            .push_bind(rows::text(tag))
            .push(")");
    }
    if let Some(after) = after {
        sql.push(" AND (received_at, file_id) < (")
            .push_bind(after.received_at);
        sql.push(", ")
            .push_bind(after.file_id.to_string())
            .push(")");
    }
    sql.push(" ORDER BY received_at DESC, file_id DESC LIMIT ")
        .push_bind(i64::from(limit));
    let found = sql.build().fetch_all(db).await?;
    found.iter().map(rows::upload).collect()
}

/// Microseconds, rounded up: of whole microseconds `t`, those with `t >= x` are those with `t >= ceil(x)`.
fn ceil_micros(time: Timestamp) -> i64 {
    let micros = time.as_microsecond();
    micros + i64::from(time.as_nanosecond() > i128::from(micros) * 1_000)
}
