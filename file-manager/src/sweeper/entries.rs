//! Looks over the index: a part of it each time, in the order of file ids, round after round.

use super::{SweepError, Swept, rest};
use crate::{FileManager, metric};
use protocol::{FileId, TenantId, TransferStatus, file::FileQuery};
use std::collections::BTreeSet;
use tokio::time::Instant;

/// Entries looked at in one sweep at most.
const SLICE: usize = 100_000;

/// Entries looked at at once.
const BATCH: u32 = 500;

/// Files that failed, of one tenant, looked up in the index in one sweep at most: the newest.
const FAILED: usize = 10_000;

/// Of these, how many at once.
const PAGE: u32 = 1000;

/// How far the present round over the index has come.
#[derive(Debug, Default)]
pub(crate) struct Round {
    after: Option<FileId>,
    /// Entries without a blob that it has found.
    missing: u64,
}

impl FileManager {
    pub(super) async fn sweep_entries(&self, swept: &mut Swept) -> Result<(), SweepError> {
        let mut round = self.round().lock().await;
        let mut tenants = BTreeSet::new();
        let mut begun = Instant::now();
        for _ in 0..SLICE.div_ceil(BATCH as usize) {
            let entries = self.index().walk(round.after, BATCH).await?;
            let files: Vec<FileId> = entries.iter().map(|entry| entry.file).collect();
            let missing = self.without_blob(&files).await?;
            swept.missing += missing;
            round.missing += missing;
            tenants.extend(entries.into_iter().map(|entry| entry.tenant));
            round.after = files.last().copied();
            if files.len() < BATCH as usize {
                // Far below 2^53, where a float would begin to round.
                metrics::gauge!(metric::MISSING).set(round.missing as f64);
                *round = Round::default();
                break;
            }
            rest(&mut begun).await;
        }
        drop(round);
        for tenant in tenants {
            swept.taken_back += self.take_back_failed(&tenant).await?;
        }
        metrics::counter!(metric::TAKEN_BACK).increment(swept.taken_back);
        Ok(())
    }

    /// Reports those of `files` that have an entry and no blob; answers how many.
    async fn without_blob(&self, files: &[FileId]) -> Result<u64, SweepError> {
        let mut count = 0;
        for file in self.blobs().missing(files).await? {
            // The entry may have been taken back since, and its blob swept.
            if self.index().get(file).await?.is_some() {
                count += 1;
                tracing::error!(file_id = %file, "a file is in the index and its content is in no store: it is lost, or a store was restored from an older backup");
            }
        }
        Ok(count)
    }

    /// Removes the entries of files whose upload has failed: one delivery failed for good while another, which died before it
    /// could report, stored the file.
    async fn take_back_failed(&self, tenant: &TenantId) -> Result<u64, SweepError> {
        let mut query = FileQuery {
            status: Some(TransferStatus::UploadFailed),
            limit: Some(PAGE),
            ..FileQuery::default()
        };
        let mut count = 0;
        for _ in 0..FAILED.div_ceil(PAGE as usize) {
            let page = self.uploader().page(tenant, &query).await?;
            let failed: Vec<FileId> = page.files.iter().map(|file| file.file_id).collect();
            let missing: BTreeSet<FileId> =
                self.index().missing(&failed).await?.into_iter().collect();
            for file in failed.into_iter().filter(|file| !missing.contains(file)) {
                self.index().remove(file).await?;
                count += 1;
                tracing::warn!(file_id = %file, "removed the index entry of a file whose upload had failed");
            }
            query.cursor = page.next_cursor;
            if query.cursor.is_none() {
                break;
            }
        }
        Ok(count)
    }
}
