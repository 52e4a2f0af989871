//! Uploads: opening, changing and finding them.

use super::{
    Connection, Db, Row, TAGS_OF_UPLOAD, rows,
    set::{push_list, push_values},
    writer::{Set, Tx},
};
use crate::store::{Opened, StoreError};
use futures::future::BoxFuture;
use jiff::Timestamp;
use protocol::{
    FileId, TenantId, UploadId, UploadKey, UserId,
    file::{Cursor, FileQuery},
    upload::Upload,
};
use sqlx::{QueryBuilder, Row as _};
use std::collections::{HashMap, HashSet};

/// An upload to be opened.
pub(super) struct Open {
    pub(super) upload: Upload,
    pub(super) key: Option<UploadKey>,
    pub(super) quota: Option<u64>,
}

/// By what an upload is found again.
type Place = (UserId, UploadKey);

impl Open {
    fn place(&self) -> Option<Place> {
        Some((self.upload.owner.id, self.key?))
    }
}

impl Set for Open {
    type Answer = Opened;

    fn run<'t>(
        tx: &'t mut Tx,
        asked: Vec<&'t Self>,
    ) -> BoxFuture<'t, Result<Vec<Opened>, StoreError>> {
        Box::pin(open(tx, asked))
    }
}

async fn open(tx: &mut Tx, asked: Vec<&Open>) -> Result<Vec<Opened>, StoreError> {
    let refused = over_quota(&mut tx.db, &asked).await?;
    let mut wanted = asked.clone();
    wanted.retain(|open| !refused.contains_key(&open.upload.upload_id));
    let created = insert(&mut tx.db, &wanted).await?;
    let mut bytes = HashMap::new();
    let mut taken = Vec::new();
    for open in wanted {
        if created.contains(&open.upload.upload_id) {
            *bytes.entry(open.upload.owner.id).or_default() += rows::sql(open.upload.meta.size);
        } else {
            taken.extend(open.place());
        }
    }
    count_bytes(&mut tx.db, bytes).await?;
    let existing = by_places(&mut tx.db, &taken).await?;
    let answer = |open: &&Open| {
        let id = open.upload.upload_id;
        if let Some(used) = refused.get(&id) {
            return Ok(Opened::QuotaExceeded { used: *used });
        }
        if created.contains(&id) {
            return Ok(Opened::Created);
        }
        let existing = open.place().and_then(|place| existing.get(&place));
        let existing = existing.ok_or_else(|| {
            StoreError::Invalid(format!("upload {id} was not made and is not there"))
        })?;
        Ok(Opened::Existing(Box::new(existing.clone())))
    };
    asked.iter().map(answer).collect()
}

/// Those for which there is no room in their owners' quotas, with what each owner uses.
async fn over_quota(
    db: &mut Connection,
    asked: &[&Open],
) -> Result<HashMap<UploadId, u64>, StoreError> {
    let mut refused = HashMap::new();
    let limited: Vec<&Open> = asked
        .iter()
        .filter(|open| open.quota.is_some())
        .copied()
        .collect();
    if limited.is_empty() {
        return Ok(refused);
    }
    let places: Vec<Place> = limited.iter().filter_map(|open| open.place()).collect();
    let mut known: HashSet<Place> = by_places(db, &places).await?.into_keys().collect();
    let mut used = bytes_of(
        db,
        limited.iter().map(|open| open.upload.owner.id).collect(),
    )
    .await?;
    for open in limited {
        // An upload that is there already takes no room again.
        if open.place().is_some_and(|place| known.contains(&place)) {
            continue;
        }
        let used = used.entry(open.upload.owner.id).or_default();
        let needed = used.saturating_add(open.upload.meta.size);
        if open.quota.is_some_and(|quota| needed > quota) {
            refused.insert(open.upload.upload_id, *used);
        } else {
            *used = needed;
            known.extend(open.place());
        }
    }
    Ok(refused)
}

/// Adds uploads, those excepted whose key is taken; answers which it has added.
async fn insert(db: &mut Connection, opens: &[&Open]) -> Result<HashSet<UploadId>, StoreError> {
    if opens.is_empty() {
        return Ok(HashSet::new());
    }
    let tags = |open: &Open| serde_json::to_string(&open.upload.meta.tags);
    let tagged = opens.iter().map(|open| Ok((*open, tags(open)?)));
    let tagged: Vec<(&Open, String)> = tagged
        .collect::<Result<_, serde_json::Error>>()
        .map_err(|error| StoreError::Invalid(error.to_string()))?;
    let mut sql = QueryBuilder::<Db>::new(
        "INSERT INTO uploads (upload_id, file_id, owner_id, owner_name, tenant, upload_key, name, size, content_type, \
         digest, pool, captured_at, batch, title, description, tags, status, attempts, opened_at, expires_at) SELECT * FROM ",
    );
    let key = |(open, _): &(&Open, String)| open.upload.upload_id.to_string();
    push_values(&mut sql, &tagged, key, |row, (open, tags)| {
        let Upload { meta, .. } = &open.upload;
        row.push_bind(open.upload.file_id.to_string());
        row.push_bind(open.upload.owner.id.to_string());
        row.push_bind(&open.upload.owner.name);
        row.push_bind(&open.upload.tenant.0);
        row.push_bind(open.key.map(|key| key.to_string()));
        row.push_bind(&meta.name);
        row.push_bind(rows::sql(meta.size));
        row.push_bind(&meta.content_type);
        row.push_bind(meta.digest.map(|digest| digest.to_string()));
        row.push_bind(meta.pool.map(|pool| pool.to_string()));
        row.push_bind(meta.captured_at.map(Timestamp::as_microsecond));
        row.push_bind(meta.batch.map(|batch| batch.to_string()));
        row.push_bind(&meta.title);
        row.push_bind(&meta.description);
        row.push_bind(tags);
        row.push_bind(open.upload.status.as_str());
        row.push_bind(i64::from(open.upload.attempts));
        row.push_bind(open.upload.opened_at.as_microsecond());
        row.push_bind(open.upload.expires_at.as_microsecond());
    });
    sql.push(
        " WHERE column1 <> '' ON CONFLICT (owner_id, upload_key) WHERE upload_key IS NOT NULL DO NOTHING \
         RETURNING upload_id",
    );
    let added = sql.build().fetch_all(db).await?;
    added
        .iter()
        .map(|row| rows::parsed(row, "upload_id"))
        .collect()
}

async fn by_places(
    db: &mut Connection,
    places: &[Place],
) -> Result<HashMap<Place, Upload>, StoreError> {
    if places.is_empty() {
        return Ok(HashMap::new());
    }
    let mut sql = QueryBuilder::<Db>::new("SELECT uploads.* FROM ");
    push_values(
        &mut sql,
        places,
        |(owner, _)| owner.to_string(),
        |row, (_, key)| {
            row.push_bind(key.to_string());
        },
    );
    sql.push(" JOIN uploads ON owner_id = given.column1 AND upload_key = given.column2");
    let found = sql.build().fetch_all(db).await?;
    let place = |row: &Row| {
        let upload = rows::upload(row)?;
        Ok(((upload.owner.id, rows::parsed(row, "upload_key")?), upload))
    };
    found.iter().map(place).collect()
}

async fn bytes_of(
    db: &mut Connection,
    owners: HashSet<UserId>,
) -> Result<HashMap<UserId, u64>, StoreError> {
    let mut sql =
        QueryBuilder::<Db>::new("SELECT owner_id, bytes FROM owner_bytes WHERE owner_id IN ");
    push_list(&mut sql, owners.iter().map(UserId::to_string));
    let found = sql.build().fetch_all(db).await?;
    let bytes = |row: &Row| {
        let bytes: i64 = row.try_get("bytes")?;
        Ok((
            rows::parsed(row, "owner_id")?,
            u64::try_from(bytes).unwrap_or(0),
        ))
    };
    found.iter().map(bytes).collect()
}

/// Adds to what is counted as used.
pub(super) async fn count_bytes(
    db: &mut Connection,
    bytes: HashMap<UserId, i64>,
) -> Result<(), StoreError> {
    if bytes.is_empty() {
        return Ok(());
    }
    let bytes: Vec<(UserId, i64)> = bytes.into_iter().collect();
    let mut sql =
        QueryBuilder::<Db>::new("INSERT INTO owner_bytes (owner_id, bytes) SELECT * FROM ");
    push_values(
        &mut sql,
        &bytes,
        |(owner, _)| owner.to_string(),
        |row, (_, bytes)| {
            row.push_bind(*bytes);
        },
    );
    sql.push(
        " WHERE column1 <> '' ON CONFLICT (owner_id) DO UPDATE SET bytes = owner_bytes.bytes + excluded.bytes",
    );
    sql.build().execute(db).await?;
    Ok(())
}

pub(super) async fn by_id(db: &mut Connection, id: UploadId) -> Result<Option<Upload>, StoreError> {
    found(
        sqlx::query("SELECT * FROM uploads WHERE upload_id = $1")
            .bind(id.to_string())
            .fetch_optional(db)
            .await?,
    )
}

pub(super) async fn by_ids(
    db: &mut Connection,
    ids: &HashSet<UploadId>,
) -> Result<HashMap<UploadId, Upload>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let mut sql = QueryBuilder::<Db>::new("SELECT * FROM uploads WHERE upload_id IN ");
    push_list(&mut sql, ids.iter().map(UploadId::to_string));
    let found = sql.build().fetch_all(db).await?;
    let uploads = found.iter().map(rows::upload);
    uploads
        .map(|upload| upload.map(|upload| (upload.upload_id, upload)))
        .collect()
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
        "SELECT * FROM uploads WHERE status IN ('cached', 'storing', 'retrying', 'upload_failed') AND ",
    );
    if let Some(owner) = query.owner {
        // Without statistics SQLite would rather read the index of all of the tenant's files, if the time is bounded, too.
        sql.push("owner_id = ").push_bind(owner.to_string());
        sql.push(" AND tenant || '' = ").push_bind(&tenant.0);
    } else {
        sql.push("tenant = ").push_bind(&tenant.0);
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
            .push_bind(rows::text(tag.clone()))
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
