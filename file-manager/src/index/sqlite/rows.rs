//! Rows to files and back.

use super::{IndexError, IndexedFile, Walked, unavailable};
use jiff::Timestamp;
use protocol::{FileId, TenantId, file::FileInfo, identity::Owner};
use sqlx::{QueryBuilder, Row, Sqlite, Transaction, sqlite::SqliteRow};
use std::{collections::HashMap, fmt::Display, str::FromStr};

/// Inserts a file with its tags; answers whether it was new.
pub(super) async fn insert(
    transaction: &mut Transaction<'static, Sqlite>,
    file: &IndexedFile,
) -> Result<bool, IndexError> {
    let IndexedFile { tenant, info } = file;
    let missing = |field| IndexError::Damaged(format!("file {} has no {field}", info.file_id));
    let size = i64::try_from(info.size).map_err(|error| IndexError::Damaged(error.to_string()))?;
    let inserted = sqlx::query(
        "INSERT INTO files (file_id, upload_id, owner_id, owner_name, tenant, name, size, content_type, digest, status, \
         pool, batch, captured_at, received_at, stored_at, attempts, title, description) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (file_id) DO NOTHING",
    )
    .bind(info.file_id.to_string())
    .bind(info.upload_id.to_string())
    .bind(info.owner.id.to_string())
    .bind(&info.owner.name)
    .bind(&tenant.0)
    .bind(&info.name)
    .bind(size)
    .bind(&info.content_type)
    .bind(info.digest.ok_or_else(|| missing("digest"))?.to_string())
    .bind(info.status.as_str())
    .bind(info.pool.map(|pool| pool.to_string()))
    .bind(info.batch.map(|batch| batch.to_string()))
    .bind(info.captured_at.map(Timestamp::as_microsecond))
    .bind(info.received_at.as_microsecond())
    .bind(info.stored_at.ok_or_else(|| missing("time of storing"))?.as_microsecond())
    .bind(i64::from(info.attempts))
    .bind(&info.title)
    .bind(&info.description)
    .execute(&mut **transaction)
    .await
    .map_err(|error| refused(info.file_id, error))?
    .rows_affected();
    if inserted == 1 {
        insert_tags(transaction, file).await?;
    }
    Ok(inserted == 1)
}

async fn insert_tags(
    transaction: &mut Transaction<'static, Sqlite>,
    file: &IndexedFile,
) -> Result<(), IndexError> {
    for (position, tag) in (0_i64..).zip(&file.info.tags) {
        sqlx::query(
            "INSERT INTO file_tags (file_id, tag, position, tenant, owner_id, received_at) VALUES (?, ?, ?, ?, ?, ?) \
             ON CONFLICT (file_id, tag) DO NOTHING",
        )
        .bind(file.info.file_id.to_string())
        .bind(tag)
        .bind(position)
        .bind(&file.tenant.0)
        .bind(file.info.owner.id.to_string())
        .bind(file.info.received_at.as_microsecond())
        .execute(&mut **transaction)
        .await
        .map_err(unavailable)?;
    }
    Ok(())
}

fn refused(file: FileId, error: sqlx::Error) -> IndexError {
    match error.as_database_error() {
        Some(refusal) if refusal.is_unique_violation() => IndexError::Conflict(file),
        _ => unavailable(error),
    }
}

/// The tenant of a row of `files`.
pub(super) fn tenant(row: &SqliteRow) -> Result<TenantId, IndexError> {
    column(row, "tenant").map(TenantId)
}

/// The file and the tenant of a row of `files`.
pub(super) fn walked(row: &SqliteRow) -> Result<Walked, IndexError> {
    Ok(Walked {
        file: parsed(row, "file_id")?,
        tenant: tenant(row)?,
    })
}

/// The file of a row of `files`, without its tags.
pub(super) fn file(row: &SqliteRow) -> Result<FileInfo, IndexError> {
    Ok(FileInfo {
        file_id: parsed(row, "file_id")?,
        upload_id: parsed(row, "upload_id")?,
        name: column(row, "name")?,
        size: number(row, "size")?,
        content_type: column(row, "content_type")?,
        digest: Some(parsed(row, "digest")?),
        status: parsed(row, "status")?,
        owner: Owner {
            id: parsed(row, "owner_id")?,
            name: column(row, "owner_name")?,
        },
        pool: parsed_if_any(row, "pool")?,
        batch: parsed_if_any(row, "batch")?,
        captured_at: column::<Option<i64>>(row, "captured_at")?
            .map(time)
            .transpose()?,
        received_at: time(column(row, "received_at")?)?,
        stored_at: Some(time(column(row, "stored_at")?)?),
        attempts: number(row, "attempts")?,
        reason: None,
        title: column(row, "title")?,
        description: column(row, "description")?,
        tags: Vec::new(),
    })
}

/// Adds to each of `files` its tags.
pub(super) async fn add_tags(
    snapshot: &mut Transaction<'static, Sqlite>,
    files: &mut [FileInfo],
) -> Result<(), IndexError> {
    if files.is_empty() {
        return Ok(());
    }
    // Not kept prepared, since it differs with the number of files.
    let mut query =
        QueryBuilder::<Sqlite>::new("SELECT file_id, tag FROM file_tags WHERE file_id IN (");
    list_ids(&mut query, files.iter().map(|file| file.file_id));
    query.push(") ORDER BY file_id, position");
    let rows: Vec<(String, String)> = query
        .build_query_as()
        .persistent(false)
        .fetch_all(&mut **snapshot)
        .await
        .map_err(unavailable)?;
    let mut tags: HashMap<String, Vec<String>> = HashMap::new();
    for (file, tag) in rows {
        tags.entry(file).or_default().push(tag);
    }
    for file in files {
        file.tags = tags.remove(&file.file_id.to_string()).unwrap_or_default();
    }
    Ok(())
}

/// Adds ids to a query, as the list within `IN (…)`.
pub(super) fn list_ids(query: &mut QueryBuilder<Sqlite>, files: impl Iterator<Item = FileId>) {
    let mut list = query.separated(", ");
    for file in files {
        list.push_bind(file.to_string());
    }
}

fn column<'r, T>(row: &'r SqliteRow, name: &'static str) -> Result<T, IndexError>
where
    T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
{
    row.try_get(name)
        .map_err(|error| IndexError::Damaged(error.to_string()))
}

fn parsed<T: FromStr<Err: Display>>(row: &SqliteRow, name: &'static str) -> Result<T, IndexError> {
    parse(name, column(row, name)?)
}

fn parsed_if_any<T: FromStr<Err: Display>>(
    row: &SqliteRow,
    name: &'static str,
) -> Result<Option<T>, IndexError> {
    column::<Option<&str>>(row, name)?
        .map(|text| parse(name, text))
        .transpose()
}

fn parse<T: FromStr<Err: Display>>(name: &'static str, text: &str) -> Result<T, IndexError> {
    text.parse()
        .map_err(|error| IndexError::Damaged(format!("{name}: {error}")))
}

fn number<T: TryFrom<i64, Error: Display>>(
    row: &SqliteRow,
    name: &'static str,
) -> Result<T, IndexError> {
    T::try_from(column(row, name)?).map_err(|error| IndexError::Damaged(format!("{name}: {error}")))
}

fn time(microseconds: i64) -> Result<Timestamp, IndexError> {
    Timestamp::from_microsecond(microseconds)
        .map_err(|error| IndexError::Damaged(error.to_string()))
}
