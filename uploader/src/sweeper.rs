//! Ends what has outlived its time and clears away what no state needs, also what a crash left behind.
//!
//! Several processes may sweep at once, and one may freeze in the middle and go on later: what is swept was over already, and
//! stays so.

use crate::{
    Uploader, clock,
    error::Failure,
    metric,
    store::{Change, StoreError},
    uploads,
};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use protocol::{TransferStatus, UploadId};
use rand::RngExt;
use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};
use storage::chunks::{CachedUpload, ChunkError};
use tokio_util::sync::CancellationToken;

/// How many rows one transaction or query takes.
const BATCH: u32 = 200;

/// How many logs one transaction trims.
const LOGS: u32 = 16;

/// Less time between two sweeps would keep the disk busy with nothing else.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// How many uploads are ended at once; they share commits.
const PARALLEL: usize = 16;

/// What a sweep found to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Open uploads whose lifetime was over.
    pub expired: u64,
    /// Entries of the chunk cache that belonged to no upload.
    pub orphans: u64,
    /// Entries of the chunk cache whose upload had ended.
    pub leftovers: u64,
    /// Outcomes of uploads that were kept long enough.
    pub outcomes: u64,
    /// Logs that were trimmed; one that was trimmed in several steps counts for each.
    pub logs: u64,
}

/// Why a sweep broke off. The next one goes on.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The chunk cache failed.
    #[error(transparent)]
    Chunks(#[from] ChunkError),
}

/// Sweeps at once and then at each interval, until `shutdown`.
pub(crate) async fn run(
    uploader: &Uploader,
    shutdown: &CancellationToken,
) -> Result<(), StoreError> {
    shutdown
        .run_until_cancelled(sweep_again_and_again(uploader))
        .await
        .unwrap_or(Ok(()))
}

async fn sweep_again_and_again(uploader: &Uploader) -> Result<(), StoreError> {
    loop {
        match sweep(uploader).await {
            Ok(swept) if swept == Swept::default() => {}
            Ok(swept) => tracing::info!(?swept, "swept"),
            Err(SweepError::Store(StoreError::Closed)) => return Err(StoreError::Closed),
            Err(error) => tracing::warn!(%error, "a sweep broke off"),
        }
        let interval = uploader.config.sweep_interval.duration().max(MIN_INTERVAL);
        // Replicas that were started together do not sweep together for long.
        let about = rand::rng().random_range(0.8..1.2);
        tokio::time::sleep(interval.mul_f64(about)).await;
    }
}

/// Sweeps once.
///
/// # Errors
/// [`SweepError`]; what was done by then stays done.
pub async fn sweep(uploader: &Uploader) -> Result<Swept, SweepError> {
    let now = uploader.clock.now();
    let expired = expire(uploader, now).await?;
    let (orphans, leftovers) = free_bytes(uploader, now).await?;
    let outcomes = purge(uploader, now).await?;
    let logs = trim(uploader, now).await?;
    let swept = Swept {
        expired,
        orphans,
        leftovers,
        outcomes,
        logs,
    };
    measure(uploader, swept).await?;
    Ok(swept)
}

/// Ends open uploads whose lifetime is over.
async fn expire(uploader: &Uploader, now: Timestamp) -> Result<u64, StoreError> {
    let mut expired = 0;
    loop {
        let overdue = uploader.store.overdue(now, BATCH).await?;
        let found = overdue.len();
        expired += stream::iter(overdue)
            .map(|id| expire_one(uploader, id))
            .buffer_unordered(PARALLEL)
            .try_fold(
                0,
                |sum, changed| async move { Ok(sum + u64::from(changed)) },
            )
            .await?;
        if found < BATCH as usize {
            return Ok(expired);
        }
    }
}

async fn expire_one(uploader: &Uploader, id: UploadId) -> Result<bool, StoreError> {
    match uploads::end::end(uploader, id, Change::Expire).await {
        Ok(applied) => Ok(applied.changed),
        Err(Failure::Store(error)) => Err(error),
        // Someone else was faster.
        Err(Failure::Refused(_)) => Ok(false),
    }
}

/// Frees bytes whose upload is unknown or over; answers how many entries of each kind.
async fn free_bytes(uploader: &Uploader, now: Timestamp) -> Result<(u64, u64), SweepError> {
    let (mut orphans, mut leftovers) = (0, 0);
    // The cache is listed first: an upload opened after that is in neither list.
    for cached in uploader.chunks.list().await?.chunks(BATCH as usize) {
        let ids: Vec<UploadId> = cached.iter().map(|entry| entry.upload).collect();
        let known = uploader.store.statuses(&ids).await?;
        for entry in cached {
            match verdict(uploader, now, entry, &known) {
                Verdict::Keep => continue,
                Verdict::Orphan => orphans += 1,
                Verdict::Leftover => leftovers += 1,
            }
            uploader.chunks.remove(entry.upload).await?;
        }
    }
    Ok((orphans, leftovers))
}

enum Verdict {
    Keep,
    Orphan,
    Leftover,
}

fn verdict(
    uploader: &Uploader,
    now: Timestamp,
    entry: &CachedUpload,
    known: &HashMap<UploadId, TransferStatus>,
) -> Verdict {
    match known.get(&entry.upload) {
        Some(status) if status.is_final() => Verdict::Leftover,
        Some(_) => Verdict::Keep,
        None => {
            let age = SystemTime::from(now)
                .duration_since(entry.touched)
                .unwrap_or_default();
            if age >= uploader.config.orphan_grace.duration() {
                Verdict::Orphan
            } else {
                Verdict::Keep
            }
        }
    }
}

/// Forgets outcomes that were kept long enough.
async fn purge(uploader: &Uploader, now: Timestamp) -> Result<u64, StoreError> {
    let before = clock::before(now, uploader.config.keep_ended.duration());
    let mut purged = 0;
    loop {
        let some = uploader.store.purge(before, BATCH).await?;
        purged += some;
        if some < u64::from(BATCH) {
            return Ok(purged);
        }
    }
}

/// Forgets notifications that were kept long enough.
async fn trim(uploader: &Uploader, now: Timestamp) -> Result<u64, StoreError> {
    let before = clock::before(now, uploader.config.log_keep_for.duration());
    let mut trimmed = 0;
    loop {
        let some = uploader
            .store
            .trim_logs(uploader.config.log_keep, before, LOGS)
            .await?;
        trimmed += some;
        // A long log is trimmed bit by bit.
        if some == 0 {
            return Ok(trimmed);
        }
    }
}

async fn measure(uploader: &Uploader, swept: Swept) -> Result<(), StoreError> {
    let counts = [
        ("expired", swept.expired),
        ("orphan", swept.orphans),
        ("leftover", swept.leftovers),
        ("outcome", swept.outcomes),
        ("log", swept.logs),
    ];
    for (what, count) in counts {
        metrics::counter!(metric::SWEPT, "what" => what).increment(count);
    }
    let depth = uploader.store.outbox_depth().await?;
    metrics::gauge!(metric::OUTBOX, "state" => "waiting").set(depth.waiting as f64);
    metrics::gauge!(metric::OUTBOX, "state" => "dispatched").set(depth.dispatched as f64);
    Ok(())
}
