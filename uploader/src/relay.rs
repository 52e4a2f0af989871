//! Passes attempts from the outbox to the queue.
//!
//! The outbox is the truth and the queue a hint: an attempt stays in the outbox until it is reported on, and is queued again
//! when the queue may have lost it. Queueing an attempt again does not count as another attempt.

use crate::{
    Uploader, clock, metric,
    store::{Dispatch, Dispatched, StoreError},
};
use jiff::Timestamp;
use protocol::upload::PersistFile;
use std::{future::Future, time::Duration};
use tokio_util::sync::CancellationToken;

/// How many attempts are taken from the outbox in one transaction.
const BATCH: u32 = 64;

/// How long to wait after an engine failed for the first time in a row, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Passes attempts on until `shutdown`.
pub(crate) async fn run(
    uploader: &Uploader,
    shutdown: &CancellationToken,
) -> Result<(), StoreError> {
    shutdown
        .run_until_cancelled(relay(uploader))
        .await
        .unwrap_or(Ok(()))
}

async fn relay(uploader: &Uploader) -> Result<(), StoreError> {
    // Whatever was queued before this process began may be lost with the one before.
    let again = insist(
        "the outbox can't be read",
        || uploader.store.forget_dispatches(),
        store_is_closed,
    )
    .await?;
    if again > 0 {
        tracing::info!(attempts = again, "queueing again what was not resolved");
    }
    loop {
        let taken = insist(
            "the outbox can't be read",
            || uploader.store.dispatch(next(uploader)),
            store_is_closed,
        )
        .await?;
        let full = taken.work.len() >= BATCH as usize;
        let wait = until_next(uploader, &taken);
        queue(uploader, taken.work).await;
        if !full {
            tokio::select! {
                () = uploader.signals.outbox.notified() => {}
                () = sleep(wait) => {}
            }
        }
    }
}

/// What to take from the outbox now.
fn next(uploader: &Uploader) -> Dispatch {
    let now = uploader.clock.now();
    Dispatch {
        now,
        lost_before: clock::before(now, uploader.config.redispatch_after.duration()),
        max_in_flight: uploader.config.max_in_flight,
        limit: BATCH,
    }
}

/// How long until something in the outbox is due; none if nothing is.
fn until_next(uploader: &Uploader, taken: &Dispatched) -> Option<Duration> {
    let lost = taken
        .oldest_dispatch
        .map(|time| clock::after(time, uploader.config.redispatch_after.duration()));
    let next: Timestamp = [taken.next_due, lost].into_iter().flatten().min()?;
    Some(
        uploader
            .clock
            .now()
            .duration_until(next)
            .try_into()
            .unwrap_or(Duration::ZERO),
    )
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Queues attempts, for as long as it takes.
async fn queue(uploader: &Uploader, work: Vec<PersistFile>) {
    if work.is_empty() {
        return;
    }
    let attempts = work.len();
    let queued = insist(
        "attempts can't be queued",
        || uploader.events.queue(work.clone()),
        |_| false,
    )
    .await;
    if queued.is_ok() {
        tracing::debug!(attempts, "attempts queued");
        metrics::counter!(metric::DISPATCHED).increment(attempts as u64);
    }
}

fn store_is_closed(error: &StoreError) -> bool {
    matches!(error, StoreError::Closed)
}

/// Repeats a step until it succeeds, or fails in a way that is `fatal`.
async fn insist<T, E, F>(
    failure: &str,
    step: impl Fn() -> F,
    fatal: impl Fn(&E) -> bool,
) -> Result<T, E>
where
    E: std::fmt::Display,
    F: Future<Output = Result<T, E>>,
{
    let (mut wait, longest) = BACKOFF;
    loop {
        match step().await {
            Err(error) if !fatal(&error) => tracing::warn!(%error, retry_in = ?wait, "{failure}"),
            result => return result,
        }
        tokio::time::sleep(wait).await;
        wait = longest.min(wait * 2);
    }
}
