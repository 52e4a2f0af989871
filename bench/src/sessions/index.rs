//! An index of as many files as one likes, made by SQL of the same shape as the product's and not by as many uploads.

use crate::Result;
use file_manager::index::{Index, IndexedFile, sqlite::SqliteIndex};
use jiff::Timestamp;
use protocol::{
    Digest, FileId, TenantId, TransferStatus, UploadId, UserId, file::FileInfo, identity::Owner,
};
use sqlx::{
    Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use std::{num::NonZeroU32, path::Path};
use uuid::Uuid;

/// Users whose files they are.
pub(super) const USERS: u64 = 1000;

/// Tags that every tenth file has one of.
const TAGS: u64 = 20;

/// Pools that every fifth file was sent to one of.
const POOLS: u64 = 10;

/// When the first file was received, microseconds; each next one a second later.
const BEGAN: u64 = 1_750_000_000_000_000;

/// Inserts files `?1` to `?2`: the same columns and texts as the product writes.
const FILL: &str = "
INSERT INTO files (file_id, upload_id, owner_id, owner_name, tenant, name, size, content_type, digest, status,
                   pool, batch, captured_at, received_at, stored_at, attempts, title, description)
WITH RECURSIVE
    n (i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2),
    m (i, owner) AS (SELECT i, ((i * 2654435761) >> 8) % ?3 FROM n)
SELECT printf('01920b6e-7c00-7000-8000-%012x', i),
       printf('01920b6e-7c00-7000-9000-%012x', i),
       printf('01920b6e-7c00-7000-a000-%012x', owner),
       printf('user-%d', owner), 'default', printf('photo-%d.jpg', i), 100000 + i % 900000, 'image/jpeg',
       printf('sha256:%064x', i), 'uploaded_successfully',
       CASE WHEN i % 5 = 0 THEN printf('01920b6e-7c00-7000-b000-%012x', (i / 5) % ?4) END,
       NULL, NULL, ?5 + i * 1000000, ?5 + i * 1000000 + 20000, 1, NULL, NULL
FROM m";

const FILL_TAGS: &str = "
INSERT INTO file_tags (file_id, tag, position, tenant, owner_id, received_at, pool)
SELECT file_id, printf('tag-%d', ((received_at - ?1) / 10000000) % ?2), 0, tenant, owner_id, received_at, pool
FROM files WHERE (received_at - ?1) / 1000000 % 10 = 0 AND (received_at - ?1) / 1000000 BETWEEN ?3 AND ?4";

/// The owner of a file.
pub(super) fn owner(file: u64) -> u64 {
    ((file * 2_654_435_761) >> 8) % USERS
}

pub(super) fn user(number: u64) -> UserId {
    UserId(id(0xa000, number))
}

pub(super) fn pool(number: u64) -> String {
    id(0xb000, number % POOLS).to_string()
}

/// The pool that a file was sent to, if any.
pub(super) fn pool_of(file: u64) -> Option<String> {
    file.is_multiple_of(5).then(|| pool(file / 5))
}

pub(super) fn tag(number: u64) -> String {
    format!("tag-{}", number % TAGS)
}

/// The tag of a file, if it has one.
pub(super) fn tag_of(file: u64) -> Option<String> {
    file.is_multiple_of(10).then(|| tag(file / 10))
}

pub(super) fn file(number: u64) -> FileId {
    FileId(id(0x8000, number))
}

/// When a file was received, microseconds.
pub(super) fn received_at(number: u64) -> i64 {
    i64::try_from(BEGAN + number * 1_000_000).unwrap_or(i64::MAX)
}

fn id(variant: u128, number: u64) -> Uuid {
    Uuid::from_u128((0x0192_0b6e_7c00_7000 << 64) | (variant << 48) | u128::from(number))
}

/// Makes the index in a data folder, or fills it up, with files from `first` to `last`.
pub(super) async fn fill(folder: &Path, first: u64, last: u64) -> Result<()> {
    let path = folder.join("index.db");
    // Makes the tables.
    drop(SqliteIndex::open(&path, NonZeroU32::MIN).await?);
    // Nothing is lost that could not be made again: here nothing needs to be synced.
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Off)
        .pragma("cache_size", "-400000");
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let mut transaction = connection.begin().await?;
    let (first, last) = (i64::try_from(first)?, i64::try_from(last)?);
    let began = i64::try_from(BEGAN)?;
    sqlx::query(FILL)
        .bind(first)
        .bind(last)
        .bind(i64::try_from(USERS)?)
        .bind(i64::try_from(POOLS)?)
        .bind(began)
        .execute(&mut *transaction)
        .await?;
    sqlx::query(FILL_TAGS)
        .bind(began)
        .bind(i64::try_from(TAGS)?)
        .bind(first)
        .bind(last)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(&mut connection)
        .await?;
    Ok(connection.close().await?)
}

/// The product's own index in a data folder.
pub(super) async fn open(folder: &Path) -> Result<SqliteIndex> {
    Ok(SqliteIndex::open(&folder.join("index.db"), NonZeroU32::MIN).await?)
}

/// Adds a file as the product does, synced when it returns.
pub(super) async fn insert(index: &SqliteIndex, number: u64) -> Result<()> {
    let time = Timestamp::from_microsecond(received_at(number))?;
    let owner = owner(number);
    let info = FileInfo {
        file_id: file(number),
        upload_id: UploadId(id(0x9000, number)),
        name: format!("photo-{number}.jpg"),
        size: 100_000,
        content_type: Some("image/jpeg".to_owned()),
        digest: Some(format!("sha256:{number:064x}").parse::<Digest>()?),
        status: TransferStatus::UploadedSuccessfully,
        owner: Owner {
            id: user(owner),
            name: format!("user-{owner}"),
        },
        pool: None,
        batch: None,
        captured_at: None,
        received_at: time,
        stored_at: Some(time),
        attempts: 1,
        reason: None,
        title: None,
        description: None,
        tags: Vec::new(),
    };
    let tenant = TenantId::default();
    index.insert(&IndexedFile { tenant, info }).await?;
    Ok(())
}
