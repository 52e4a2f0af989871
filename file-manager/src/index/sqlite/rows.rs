//! Rows to files and back.

use super::{IndexError, IndexedFile, Walked, unavailable};
use jiff::Timestamp;
use protocol::{Digest, FileId, TenantId, file::FileInfo, identity::Owner};
use sqlx::{QueryBuilder, Row, Sqlite, Transaction, query_builder::Separated, sqlite::SqliteRow};
use std::{collections::HashSet, fmt::Display, str::FromStr};

/// What a statement selects of `files` (as `f`) that [`tenant`] and [`file()`] read: the row, and its tags with their positions.
pub(super) const SELECT: &str = "SELECT f.*, (SELECT json_group_array(json_array(position, tag)) \
    FROM file_tags WHERE file_tags.file_id = f.file_id) AS tags FROM";

/// Inserts files with their tags, those excepted that are there; answers which were new.
pub(super) async fn insert(
    transaction: &mut Transaction<'static, Sqlite>,
    files: &[&IndexedFile],
) -> Result<HashSet<FileId>, IndexError> {
    let mut rows = Vec::with_capacity(files.len());
    for file in files {
        rows.push(Complete::of(file)?);
    }
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT INTO files (file_id, upload_id, owner_id, owner_name, tenant, name, size, content_type, digest, status, \
         pool, batch, captured_at, received_at, stored_at, attempts, title, description) SELECT * FROM (",
    );
    push_values(&mut query, &rows, |row, complete| {
        let IndexedFile { tenant, info } = complete.file;
        row.push_bind(info.upload_id.to_string())
            .push_bind(info.owner.id.to_string())
            .push_bind(&info.owner.name)
            .push_bind(&tenant.0)
            .push_bind(&info.name)
            .push_bind(complete.size)
            .push_bind(&info.content_type)
            .push_bind(complete.digest.to_string())
            .push_bind(info.status.as_str())
            .push_bind(info.pool.map(|pool| pool.to_string()))
            .push_bind(info.batch.map(|batch| batch.to_string()))
            .push_bind(info.captured_at.map(Timestamp::as_microsecond))
            .push_bind(info.received_at.as_microsecond())
            .push_bind(complete.stored_at.as_microsecond())
            .push_bind(i64::from(info.attempts))
            .push_bind(&info.title)
            .push_bind(&info.description);
    });
    query.push(") WHERE column1 <> '' ON CONFLICT (file_id) DO NOTHING RETURNING file_id");
    let added: Vec<String> = query
        .build_query_scalar()
        .fetch_all(&mut **transaction)
        .await
        .map_err(|error| refused(files, error))?;
    let mut added: HashSet<String> = added.into_iter().collect();
    let mut new = HashSet::new();
    let mut tagged = Vec::new();
    for file in files {
        let id = file.info.file_id;
        // The first of two entries of one file is the one that was added.
        if added.remove(&id.to_string()) {
            new.insert(id);
            tagged.extend((0_i64..).zip(&file.info.tags).map(|(position, tag)| Tag {
                file,
                position,
                tag,
            }));
        }
    }
    for tags in tagged.chunks(TAGS_AT_ONCE) {
        insert_tags(transaction, tags).await?;
    }
    Ok(new)
}

/// How many tags are inserted by one statement at most.
const TAGS_AT_ONCE: usize = 128;

/// What an entry must have.
struct Complete<'a> {
    file: &'a IndexedFile,
    size: i64,
    digest: Digest,
    stored_at: Timestamp,
}

impl<'a> Complete<'a> {
    fn of(file: &'a IndexedFile) -> Result<Self, IndexError> {
        let info = &file.info;
        let missing = |field| IndexError::Damaged(format!("file {} has no {field}", info.file_id));
        Ok(Self {
            file,
            size: i64::try_from(info.size)
                .map_err(|error| IndexError::Damaged(error.to_string()))?,
            digest: info.digest.ok_or_else(|| missing("digest"))?,
            stored_at: info.stored_at.ok_or_else(|| missing("time of storing"))?,
        })
    }
}

struct Tag<'a> {
    file: &'a IndexedFile,
    position: i64,
    tag: &'a str,
}

/// What belongs to a file.
trait OfFile {
    fn id(&self) -> FileId;
}

impl OfFile for Complete<'_> {
    fn id(&self) -> FileId {
        self.file.info.file_id
    }
}

impl OfFile for Tag<'_> {
    fn id(&self) -> FileId {
        self.file.info.file_id
    }
}

/// Adds `VALUES (file_id, …), …`. A statement is prepared once per number of rows: so that few numbers occur, the rows are
/// filled up to the next power of two with rows whose id is empty, to be left out by `column1 <> ''`.
fn push_values<T: OfFile>(
    query: &mut QueryBuilder<Sqlite>,
    rows: &[T],
    bind: impl Fn(&mut Separated<'_, Sqlite, &'static str>, &T),
) {
    query.push("VALUES ");
    for index in 0..rows.len().next_power_of_two() {
        let Some(row) = rows.get(index).or(rows.last()) else {
            break;
        };
        query.push(if index == 0 { "(" } else { ", (" });
        let mut values = query.separated(", ");
        values.push_bind(
            rows.get(index)
                .map(|row| row.id().to_string())
                .unwrap_or_default(),
        );
        bind(&mut values, row);
        query.push(")");
    }
}

async fn insert_tags(
    transaction: &mut Transaction<'static, Sqlite>,
    tags: &[Tag<'_>],
) -> Result<(), IndexError> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT INTO file_tags (file_id, tag, position, tenant, owner_id, received_at, pool) SELECT * FROM (",
    );
    push_values(
        &mut query,
        tags,
        |row,
         Tag {
             file,
             position,
             tag,
         }| {
            row.push_bind(*tag)
                .push_bind(*position)
                .push_bind(&file.tenant.0)
                .push_bind(file.info.owner.id.to_string())
                .push_bind(file.info.received_at.as_microsecond())
                .push_bind(file.info.pool.map(|pool| pool.to_string()));
        },
    );
    query.push(") WHERE column1 <> '' ON CONFLICT (file_id, tag) DO NOTHING");
    let inserted = query.build().execute(&mut **transaction).await;
    inserted.map(drop).map_err(unavailable)
}

fn refused(files: &[&IndexedFile], error: sqlx::Error) -> IndexError {
    match (error.as_database_error(), files) {
        (Some(refusal), [file, ..]) if refusal.is_unique_violation() => {
            IndexError::Conflict(file.info.file_id)
        }
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

/// The file of a row of `files`.
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
        tags: tags(row)?,
    })
}

fn tags(row: &SqliteRow) -> Result<Vec<String>, IndexError> {
    let mut tags: Vec<(i64, String)> = serde_json::from_str(column(row, "tags")?)
        .map_err(|error| IndexError::Damaged(format!("tags: {error}")))?;
    tags.sort_unstable();
    Ok(tags.into_iter().map(|(_, tag)| tag).collect())
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
