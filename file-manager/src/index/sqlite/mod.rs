//! The index in one SQLite file: a single writer, a pool of readers, every commit synced.

mod page;
mod rows;
#[cfg(test)]
mod tests;

use super::{Index, IndexError, IndexedFile, Selection, Walked};
use async_trait::async_trait;
use protocol::{FileId, file::FileInfo};
use service_kit::{
    migrations::{self, Step},
    sqlite,
};
use sqlx::{QueryBuilder, Sqlite, SqlitePool, Transaction, sqlite::SqlitePoolOptions};
use std::{collections::HashSet, num::NonZeroU32, path::Path, time::Duration};

/// How long a connection waits for another's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The steps that make its tables. A step that was released is never changed.
const STEPS: &[Step] = &[Step {
    name: "0001_files",
    sql: include_str!("../../../migrations/0001_files.sql"),
}];

/// The index in SQLite.
pub struct SqliteIndex {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteIndex {
    /// Opens the index at `path`, makes it if it is not there, and brings its schema up to date. At most `readers`
    /// connections read at once.
    ///
    /// # Errors
    /// [`IndexError::Unavailable`] when the file cannot be opened, is no index, or is of a newer version of the program.
    pub async fn open(path: &Path, readers: NonZeroU32) -> Result<Self, IndexError> {
        let file = sqlite::file(path, BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new();
        let new = file.clone().create_if_missing(true);
        let writer = sqlite::connect(pool.clone(), 1, new, BUSY_TIMEOUT)
            .await
            .map_err(unavailable)?;
        let mut connection = writer.acquire().await.map_err(unavailable)?;
        migrations::run_on_sqlite(&mut connection, STEPS)
            .await
            .map_err(|error| IndexError::Unavailable(error.to_string()))?;
        drop(connection);
        let read_only = file.pragma("query_only", "on");
        let readers = sqlite::connect(pool, readers.get(), read_only, BUSY_TIMEOUT)
            .await
            .map_err(unavailable)?;
        Ok(Self { writer, readers })
    }

    async fn write(&self) -> Result<Transaction<'static, Sqlite>, IndexError> {
        self.writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(unavailable)
    }
}

#[async_trait]
impl Index for SqliteIndex {
    async fn insert(&self, file: &IndexedFile) -> Result<IndexedFile, IndexError> {
        let id = file.info.file_id;
        let mut transaction = self.write().await?;
        let is_new = rows::insert(&mut transaction, file).await?;
        transaction.commit().await.map_err(unavailable)?;
        if is_new {
            return Ok(file.clone());
        }
        self.get(id).await?.ok_or_else(|| {
            IndexError::Unavailable(format!("the entry of {id} was removed meanwhile"))
        })
    }

    async fn get(&self, file: FileId) -> Result<Option<IndexedFile>, IndexError> {
        // Both reads see one state: a removal between them must not show a file without its tags.
        let mut snapshot = self.readers.begin().await.map_err(unavailable)?;
        let row = sqlx::query("SELECT f.* FROM files f WHERE f.file_id = ?")
            .bind(file.to_string())
            .fetch_optional(&mut *snapshot)
            .await
            .map_err(unavailable)?;
        let Some(row) = row else { return Ok(None) };
        let tenant = rows::tenant(&row)?;
        let mut files = [rows::file(&row)?];
        rows::add_tags(&mut snapshot, &mut files).await?;
        let [info] = files;
        Ok(Some(IndexedFile { tenant, info }))
    }

    async fn page(&self, selection: &Selection) -> Result<Vec<FileInfo>, IndexError> {
        let mut snapshot = self.readers.begin().await.map_err(unavailable)?;
        let rows = page::query(selection)
            .build()
            .fetch_all(&mut *snapshot)
            .await
            .map_err(unavailable)?;
        let mut files = rows.iter().map(rows::file).collect::<Result<Vec<_>, _>>()?;
        rows::add_tags(&mut snapshot, &mut files).await?;
        Ok(files)
    }

    async fn remove(&self, file: FileId) -> Result<(), IndexError> {
        let mut transaction = self.write().await?;
        for statement in [
            "DELETE FROM file_tags WHERE file_id = ?",
            "DELETE FROM files WHERE file_id = ?",
        ] {
            sqlx::query(statement)
                .bind(file.to_string())
                .execute(&mut *transaction)
                .await
                .map_err(unavailable)?;
        }
        transaction.commit().await.map_err(unavailable)
    }

    async fn missing(&self, files: &[FileId]) -> Result<Vec<FileId>, IndexError> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let mut query = QueryBuilder::<Sqlite>::new("SELECT file_id FROM files WHERE file_id IN (");
        rows::list_ids(&mut query, files.iter().copied());
        let found: Vec<String> = query
            .push(")")
            .build_query_scalar()
            .persistent(false)
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        let found: HashSet<String> = found.into_iter().collect();
        Ok(files
            .iter()
            .copied()
            .filter(|file| !found.contains(&file.to_string()))
            .collect())
    }

    async fn walk(&self, after: Option<FileId>, limit: u32) -> Result<Vec<Walked>, IndexError> {
        // Any id sorts after the empty text.
        let after = after.map(|after| after.to_string()).unwrap_or_default();
        let rows = sqlx::query(
            "SELECT file_id, tenant FROM files WHERE file_id > ? ORDER BY file_id LIMIT ?",
        )
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(unavailable)?;
        rows.iter().map(rows::walked).collect()
    }

    async fn ping(&self) -> Result<(), IndexError> {
        let asked = sqlx::query("SELECT 1").execute(&self.readers).await;
        asked.map(drop).map_err(unavailable)
    }
}

/// Whatever the engine says, it has not done it: a full disk, a lock held for too long, a damaged file.
fn unavailable(error: sqlx::Error) -> IndexError {
    IndexError::Unavailable(error.to_string())
}
