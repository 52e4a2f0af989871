//! The sweeper: finds what crashes and lost deliveries left behind.
//!
//! - A blob, or a part of one, that belongs to no file: left when its upload ended as failed although it was stored late, or
//!   when a process died in between. It goes only on evidence: it is in no index *and* the uploader says that its upload
//!   ended without success. A blob of an upload that nobody knows, or that is said to be stored, stays: rather a few bytes
//!   too many than the files of an index that was lost. What there is of an upload under way is what the next attempt goes
//!   on from.
//! - An index entry without a blob. The blob is stored before the entry is written, so no crash makes one: content was lost,
//!   or stores were restored from backups of different times. It is reported and stays: the content may come back, and
//!   nobody is helped by a file that vanishes from the lists.
//! - An index entry of an upload that has failed: its owner was told so, and it is removed.
//!
//! Several processes may sweep at once: each step is decided by what it finds, and may be done twice.

mod entries;

use crate::{FileManager, index::IndexError, metric};
use futures::{StreamExt, TryStreamExt};
use protocol::{FileId, TransferStatus};
use service_kit::peer::PeerError;
use std::{
    pin::pin,
    time::{Duration, SystemTime},
};
use storage::blobs::{BlobError, StoredBlob};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

pub(crate) use entries::Round;

/// How long after its start a process sweeps at the latest.
const FIRST_AFTER: Duration = Duration::from_secs(60);

/// How many times as long as the work on some entries took it rests before the next, so that going over a million of them is
/// not felt by those who upload.
const REST: u32 = 3;

/// How many blobs are looked up in the index at once.
const BATCH: usize = 500;

/// Why a sweep ended early. What it has removed stays removed; the next one begins anew.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The blob store.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The uploader.
    #[error(transparent)]
    Uploader(#[from] PeerError),
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs, or parts of some, removed.
    pub removed: u64,
    /// Blobs, or parts of some, of uploads under way, which wait for their index entry.
    pub pending: u64,
    /// Blobs that are in no index although nothing says that they may go.
    pub stray: u64,
    /// Files in the index, of those looked at this time, whose blob is missing.
    pub missing: u64,
    /// Index entries removed because their upload had failed.
    pub taken_back: u64,
}

/// Sweeps now and then until shutdown.
pub(crate) async fn run(manager: &FileManager, shutdown: &CancellationToken) {
    let period = manager
        .config()
        .sweep_interval
        .duration()
        .max(Duration::from_secs(1));
    // Not at once: whoever starts has other things to do.
    let first = Instant::now() + period.min(FIRST_AFTER);
    let mut ticks = tokio::time::interval_at(first, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let until_shutdown = async {
        loop {
            ticks.tick().await;
            match manager.sweep().await {
                Ok(swept) => tracing::debug!(?swept, "looked for what was left behind"),
                Err(error) => tracing::warn!(%error, "a sweep ended early"),
            }
        }
    };
    shutdown.run_until_cancelled(until_shutdown).await;
}

/// Rests in proportion to the work since `begun`, from where the next begins.
async fn rest(begun: &mut Instant) {
    tokio::time::sleep(begun.elapsed() * REST).await;
    *begun = Instant::now();
}

impl FileManager {
    /// Removes the blobs that belong to no file and are older than the configured grace, and looks at a part of the index
    /// for entries that lack their blob or are of failed uploads.
    ///
    /// # Errors
    /// When the blob store, the index or the uploader does not answer.
    pub async fn sweep(&self) -> Result<Swept, SweepError> {
        let mut swept = Swept::default();
        // First, so that what it lays bare goes in the same sweep.
        self.sweep_entries(&mut swept).await?;
        self.sweep_blobs(&mut swept).await?;
        Ok(swept)
    }

    async fn sweep_blobs(&self, swept: &mut Swept) -> Result<(), SweepError> {
        let grace = self.config().sweep_grace.duration();
        let settled_before = SystemTime::now()
            .checked_sub(grace)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let is_old = |blob: &StoredBlob| std::future::ready(blob.stored <= settled_before);
        let mut batches = pin!(
            self.blobs()
                .list()
                .await?
                .try_filter(is_old)
                .try_chunks(BATCH)
        );
        let mut begun = Instant::now();
        while let Some(batch) = batches.next().await {
            let files: Vec<FileId> = batch
                .map_err(|error| error.1)?
                .iter()
                .map(|blob| blob.file)
                .collect();
            for file in self.index().missing(&files).await? {
                self.judge(file, swept).await?;
            }
            rest(&mut begun).await;
        }
        metrics::counter!(metric::SWEPT).increment(swept.removed);
        // Far below 2^53, where a float would begin to round.
        metrics::gauge!(metric::STRAY).set(swept.stray as f64);
        Ok(())
    }

    /// Decides on a blob that is in no index, and removes it if it may go.
    async fn judge(&self, file: FileId, swept: &mut Swept) -> Result<(), SweepError> {
        let upload = self.uploader().upload_of(file).await?;
        match upload.map(|upload| upload.status) {
            Some(status) if status.is_final() && status != TransferStatus::UploadedSuccessfully => {
                self.blobs().remove(file).await?;
                swept.removed += 1;
                tracing::info!(file_id = %file, %status, "removed a blob whose upload ended without success");
            }
            Some(status) if !status.is_final() => swept.pending += 1,
            status => {
                // It may have been indexed since.
                if self.index().get(file).await?.is_none() {
                    swept.stray += 1;
                    tracing::warn!(file_id = %file, ?status, "a blob is in no index, and nothing says that it may go");
                }
            }
        }
        Ok(())
    }
}
