//! The index in MongoDB: one document a file, with the facts of the SQLite index under the same names.
//!
//! Writes are answered when a majority has them, and reads see what a majority has, at the primary: so what was reported is
//! found, and what is found can't be undone by the election of another primary.

mod entry;
mod page;
#[cfg(test)]
mod tests;

use super::{Index, IndexError, IndexedFile, Selection, Walked};
use async_trait::async_trait;
use futures::TryStreamExt;
use mongodb::{
    Collection,
    bson::{RawDocumentBuf, doc},
};
use protocol::{FileId, TenantId, file::FileInfo};
use std::collections::HashSet;
use storage::mongo::{self, LARGE, Mongo, Refused, SMALL, Trouble, within};

/// The collection.
const FILES: &str = "files";

/// Files looked up in one query.
const LOOKED_UP: usize = 1000;

/// The index in MongoDB.
pub struct MongoIndex {
    mongo: Mongo,
}

impl MongoIndex {
    /// Opens the index in the database that `url` names. MongoDB may be away; its indexes are made before the first use.
    ///
    /// # Errors
    /// When the URL makes no sense, or MongoDB refuses for good.
    pub async fn open(url: &str) -> Result<Self, Refused> {
        let mut indexes = vec![mongo::index("files_by_upload", &["upload_id"], true)];
        // One per way to list: a page is one stretch of it, whatever the number of files.
        indexes.extend(page::INDEXES.map(|(name, keys)| {
            let order = ["received_at", "_id"];
            mongo::index(name, &[keys, &order].concat(), false)
        }));
        Ok(Self {
            mongo: Mongo::open(url, vec![(FILES, indexes)]).await?,
        })
    }

    async fn files(&self) -> Result<Collection<RawDocumentBuf>, IndexError> {
        Ok(self.mongo.database().await?.collection(FILES))
    }

    /// What stands in the way of an insert: the file's own entry, or that of another file of the same upload.
    async fn present(&self, file: &IndexedFile) -> Result<IndexedFile, IndexError> {
        let id = file.info.file_id;
        if let Some(entry) = self.get(id).await? {
            return Ok(entry);
        }
        let of_upload = doc! { "upload_id": file.info.upload_id.to_string() };
        match within(SMALL, self.files().await?.find_one(of_upload)).await? {
            Some(_) => Err(IndexError::Conflict(id)),
            None => Err(IndexError::Unavailable(format!(
                "the entry of {id} is being written or removed"
            ))),
        }
    }
}

#[async_trait]
impl Index for MongoIndex {
    async fn insert(&self, file: &IndexedFile) -> Result<IndexedFile, IndexError> {
        let document = entry::write(file)?;
        match within(SMALL, self.files().await?.insert_one(document)).await {
            Ok(_) => Ok(file.clone()),
            Err(Trouble::Duplicate(_)) => self.present(file).await,
            Err(trouble) => Err(trouble.into()),
        }
    }

    async fn get(&self, file: FileId) -> Result<Option<IndexedFile>, IndexError> {
        let query = doc! { "_id": file.to_string() };
        let found = within(SMALL, self.files().await?.find_one(query)).await?;
        found.as_ref().map(entry::read).transpose()
    }

    async fn page(&self, selection: &Selection) -> Result<Vec<FileInfo>, IndexError> {
        if !selection.is_of_stored() {
            return Ok(Vec::new());
        }
        let files = self.files().await?;
        let page = async {
            page::find(&files, selection)
                .await?
                .try_collect::<Vec<_>>()
                .await
        };
        let page = within(LARGE, page).await?;
        page.iter()
            .map(|found| Ok(entry::read(found)?.info))
            .collect()
    }

    async fn remove(&self, file: FileId) -> Result<(), IndexError> {
        let query = doc! { "_id": file.to_string() };
        within(SMALL, self.files().await?.delete_one(query)).await?;
        Ok(())
    }

    async fn missing(&self, files: &[FileId]) -> Result<Vec<FileId>, IndexError> {
        let entries = self.files().await?;
        let mut missing = Vec::new();
        for files in files.chunks(LOOKED_UP) {
            let ids: Vec<_> = files.iter().map(ToString::to_string).collect();
            let query = entries
                .find(doc! { "_id": { "$in": ids } })
                .projection(doc! { "_id": 1 });
            let found = within(LARGE, async { query.await?.try_collect::<Vec<_>>().await }).await?;
            let found: HashSet<_> = found
                .iter()
                .filter_map(|found| found.get_str("_id").ok())
                .collect();
            let absent = files
                .iter()
                .filter(|file| !found.contains(&*file.to_string()));
            missing.extend(absent);
        }
        Ok(missing)
    }

    async fn walk(&self, after: Option<FileId>, limit: u32) -> Result<Vec<Walked>, IndexError> {
        let after = after.map(|after| after.to_string()).unwrap_or_default();
        let files = self.files().await?;
        let query = files
            .find(doc! { "_id": { "$gt": after } })
            .sort(doc! { "_id": 1 })
            .limit(i64::from(limit.max(1)))
            .projection(doc! { "_id": 1, "tenant": 1 });
        let found = within(LARGE, async { query.await?.try_collect::<Vec<_>>().await }).await?;
        let walked = found.iter().map(|found| {
            Ok(Walked {
                file: entry::parsed(found, "_id")?,
                tenant: TenantId(entry::text(found, "tenant")?),
            })
        });
        walked.collect()
    }

    async fn ping(&self) -> Result<(), IndexError> {
        Ok(self.mongo.ping().await?)
    }
}

/// Whatever MongoDB says, it has not done it.
impl From<Trouble> for IndexError {
    fn from(trouble: Trouble) -> Self {
        Self::Unavailable(trouble.to_string())
    }
}
