//! The index in one SQLite file: a single writer, a pool of readers, every commit synced.

mod page;
mod rows;
#[cfg(test)]
mod tests;
mod writer;

use super::{Index, IndexError, IndexedFile, Selection, Walked};
use async_trait::async_trait;
use protocol::{FileId, file::FileInfo};
use service_kit::{
    migrations::{self, Step},
    sqlite,
};
use sqlx::{
    AssertSqlSafe, QueryBuilder, Sqlite, SqlitePool, Transaction, sqlite::SqlitePoolOptions,
};
use std::{collections::HashSet, num::NonZeroU32, path::Path, time::Duration};
use writer::Writer;

/// How long a connection waits for another's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The steps that make its tables. A step that was released is never changed.
const STEPS: &[Step] = &[
    Step {
        name: "0001_files",
        sql: include_str!("../../../migrations/0001_files.sql"),
    },
    Step {
        name: "0002_lists",
        sql: include_str!("../../../migrations/0002_lists.sql"),
    },
];

/// The index in SQLite.
pub struct SqliteIndex {
    inserts: Writer,
    /// One connection, which the inserts use, too.
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
        let read_only = sqlite::for_readers(file);
        let readers = sqlite::connect(pool, readers.get(), read_only, BUSY_TIMEOUT)
            .await
            .map_err(unavailable)?;
        Ok(Self {
            inserts: Writer::start(writer.clone()),
            writer,
            readers,
        })
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
        if self.inserts.insert(file.clone()).await? {
            return Ok(file.clone());
        }
        let id = file.info.file_id;
        self.get(id).await?.ok_or_else(|| {
            IndexError::Unavailable(format!("the entry of {id} was removed meanwhile"))
        })
    }

    async fn get(&self, file: FileId) -> Result<Option<IndexedFile>, IndexError> {
        let sql = format!("{} files f WHERE f.file_id = ?", rows::SELECT);
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(file.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
        row.as_ref()
            .map(|row| {
                Ok(IndexedFile {
                    tenant: rows::tenant(row)?,
                    info: rows::file(row)?,
                })
            })
            .transpose()
    }

    async fn page(&self, selection: &Selection) -> Result<Vec<FileInfo>, IndexError> {
        if !selection.is_of_stored() {
            return Ok(Vec::new());
        }
        let rows = page::query(selection)
            .build()
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        rows.iter().map(rows::file).collect()
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
