//! Lists blobs: the entries page by page, then chunks that never got an entry.

use super::{BlobError, Entry, GridFsBlobs, StoredBlob, chunk};
use crate::mongo::{LARGE, Trouble, within};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use mongodb::{
    Cursor,
    bson::{Document, RawDocumentBuf, doc},
};
use protocol::FileId;
use std::{collections::HashSet, time::SystemTime};

/// Entries read at once.
const PAGE: u32 = 1000;

/// Files looked up at once.
const LOOKED_UP: usize = 500;

type Listed = Result<StoredBlob, BlobError>;

pub(super) fn everything(store: GridFsBlobs) -> BoxStream<'static, Listed> {
    whole(store.clone()).chain(parts(store)).boxed()
}

/// Those of `files` that have no entry.
pub(super) async fn missing(
    store: &GridFsBlobs,
    files: &[FileId],
) -> Result<Vec<FileId>, BlobError> {
    let mut missing = Vec::new();
    for files in files.chunks(LOOKED_UP) {
        let ids: Vec<String> = files.iter().map(ToString::to_string).collect();
        let entries = store.files().await?;
        let query = entries
            .find(doc! { "_id": { "$in": ids } })
            .projection(doc! { "_id": 1 });
        let found = within(LARGE, async { query.await?.try_collect::<Vec<_>>().await }).await?;
        let found: HashSet<FileId> = found
            .iter()
            .filter_map(|entry| file_in(entry, "_id"))
            .collect();
        missing.extend(files.iter().filter(|file| !found.contains(file)));
    }
    Ok(missing)
}

/// The blobs that have their entry. Each page is a question of its own, so that whoever takes long over one loses no cursor.
fn whole(store: GridFsBlobs) -> BoxStream<'static, Listed> {
    let pages = stream::try_unfold(Some(String::new()), move |after| {
        let store = store.clone();
        async move {
            let Some(after) = after else { return Ok(None) };
            let page = page(&store, &after).await?;
            let next = page
                .last()
                .and_then(|entry| entry.get_str("_id").ok())
                .map(str::to_owned);
            let is_last = page.len() < PAGE as usize;
            Ok::<_, BlobError>(Some((
                stream::iter(page.into_iter().filter_map(blob)),
                next.filter(|_| !is_last),
            )))
        }
    });
    pages.try_flatten().boxed()
}

/// The entries that follow, in the order of their ids. Other clients' files, whose ids are no texts, are none of ours.
async fn page(store: &GridFsBlobs, after: &str) -> Result<Vec<RawDocumentBuf>, BlobError> {
    let entries = store.files().await?;
    let query = entries
        .find(doc! { "_id": { "$gt": after } })
        .sort(doc! { "_id": 1 })
        .limit(i64::from(PAGE))
        .projection(doc! { "length": 1, "chunkSize": 1, "uploadDate": 1 });
    Ok(within(LARGE, async { query.await?.try_collect().await }).await?)
}

fn blob(entry: RawDocumentBuf) -> Option<Listed> {
    let file = file_in(&entry, "_id")?;
    match Entry::read(file, &entry) {
        Ok(entry) => Some(Ok(StoredBlob {
            file,
            size: entry.size,
            stored: entry.stored,
            whole: true,
        })),
        // One entry that somebody spoilt must not keep the others from being seen.
        Err(error) => {
            tracing::warn!(%error, "an entry is left out of the list");
            None
        }
    }
}

/// What there is of blobs that have no entry.
fn parts(store: GridFsBlobs) -> BoxStream<'static, Listed> {
    let files = files_of_chunks(store.clone()).try_chunks(LOOKED_UP);
    let without = files.map_err(|error| error.1).and_then({
        let store = store.clone();
        move |files| {
            let store = store.clone();
            async move {
                let missing = missing(&store, &files).await?;
                Ok(stream::iter(missing.into_iter().map(Ok)))
            }
        }
    });
    let parts = without.try_flatten().try_filter_map(move |file| {
        let store = store.clone();
        async move { part(&store, file).await }
    });
    parts.boxed()
}

/// The files of which there are chunks, each once: one step in the index of `fs.chunks` for each, whatever their size.
fn files_of_chunks(store: GridFsBlobs) -> BoxStream<'static, Result<FileId, BlobError>> {
    let files = async move {
        let chunks = store.chunks().await?;
        let cursor = within(LARGE, chunks.aggregate(files_pipeline()).batch_size(PAGE)).await?;
        Ok::<_, BlobError>(steps(cursor))
    };
    stream::once(files)
        .try_flatten()
        .try_filter_map(async |group| Ok(file_in_document(&group)))
        .boxed()
}

/// Each `files_id` of `fs.chunks` once. The sort lets MongoDB leap from one to the next in the index.
fn files_pipeline() -> [Document; 2] {
    [
        doc! { "$sort": { "files_id": 1, "n": 1 } },
        doc! { "$group": { "_id": "$files_id", "n": { "$first": "$n" } } },
    ]
}

/// A cursor as a stream; each step has a deadline.
fn steps(cursor: Cursor<Document>) -> BoxStream<'static, Result<Document, BlobError>> {
    stream::try_unfold(cursor, |mut cursor| async move {
        let next = tokio::time::timeout(LARGE, cursor.next()).await;
        match next.map_err(|_| Trouble::silent(LARGE))? {
            None => Ok(None),
            Some(Ok(group)) => Ok(Some((group, cursor))),
            Some(Err(error)) => Err(BlobError::from(Trouble::from(&error))),
        }
    })
    .boxed()
}

/// What there is of a blob without an entry; none if it got its entry, or was removed, meanwhile. There may be very many
/// chunks, so only the last is looked at: it was written among the last, and the others are full.
async fn part(store: &GridFsBlobs, file: FileId) -> Result<Option<StoredBlob>, BlobError> {
    let of_file = || doc! { "files_id": file.to_string() };
    let chunks = store.chunks().await?;
    let last = chunks
        .find_one(of_file())
        .sort(doc! { "n": -1 })
        .projection(doc! { "written": 1, "len": { "$binarySize": "$data" } });
    let Some(last) = within(LARGE, last).await? else {
        return Ok(None);
    };
    let count = within(LARGE, chunks.count_documents(of_file())).await?;
    if store.entry(file).await?.is_some() {
        return Ok(None);
    }
    let len = last
        .get_i32("len")
        .ok()
        .and_then(|len| u64::try_from(len).ok());
    // Chunks that are not ours have no such time: then they are as old as can be.
    let written = last
        .get_datetime("written")
        .map(|time| time.to_system_time());
    Ok(Some(StoredBlob {
        file,
        size: count.saturating_sub(1) * chunk::SIZE as u64 + len.unwrap_or(0),
        stored: written.unwrap_or(SystemTime::UNIX_EPOCH),
        whole: false,
    }))
}

fn file_in(document: &RawDocumentBuf, field: &str) -> Option<FileId> {
    document.get_str(field).ok()?.parse().ok()
}

fn file_in_document(group: &Document) -> Option<FileId> {
    group.get_str("_id").ok()?.parse().ok()
}
