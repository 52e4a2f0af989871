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
use std::time::Duration;
use storage::events::EventError;
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
    let again = insist(|| uploader.store.forget_dispatches(), store_is_closed).await?;
    if again > 0 {
        tracing::info!(attempts = again, "queueing again what was not resolved");
    }
    loop {
        let taken = insist(|| uploader.store.dispatch(next(uploader)), store_is_closed).await?;
        let full = taken.work.len() >= BATCH as usize;
        let due = next_due(uploader, &taken);
        if queue(uploader, taken.work).await.is_err() {
            // The process is stopping; the next one queues it all again.
            return Ok(());
        }
        if !full {
            tokio::select! {
                () = uploader.signals.outbox.notified() => {}
                () = sleep_until(uploader, due) => {}
            }
        }
    }
}

/// What to take from the outbox now.
fn next(uploader: &Uploader) -> Dispatch {
    let now = uploader.clock.now();
    Dispatch {
        now,
        lost_before: clock::before(now, patience(uploader)),
        max_in_flight: uploader.config.max_in_flight.get(),
        limit: BATCH,
    }
}

/// How long to wait for a report. With less than a moment of patience, the relay would do nothing but repeat itself.
fn patience(uploader: &Uploader) -> Duration {
    uploader
        .config
        .redispatch_after
        .duration()
        .max(Duration::from_secs(1))
}

/// When something in the outbox is due next, if anything is.
fn next_due(uploader: &Uploader, taken: &Dispatched) -> Option<Timestamp> {
    let lost = taken
        .oldest_dispatch
        .map(|time| clock::after(time, patience(uploader)));
    [taken.next_due, lost].into_iter().flatten().min()
}

async fn sleep_until(uploader: &Uploader, time: Option<Timestamp>) {
    let Some(time) = time else {
        return std::future::pending().await;
    };
    let wait = uploader.clock.now().duration_until(time);
    tokio::time::sleep(wait.try_into().unwrap_or(Duration::ZERO)).await;
}

/// Queues attempts, for as long as it takes; fails only when the engine is closed.
async fn queue(uploader: &Uploader, work: Vec<PersistFile>) -> Result<(), EventError> {
    if work.is_empty() {
        return Ok(());
    }
    let is_closed = |error: &EventError| matches!(error, EventError::Closed);
    insist(|| uploader.events.queue(work.clone()), is_closed).await?;
    tracing::debug!(attempts = work.len(), "attempts queued");
    metrics::counter!(metric::DISPATCHED).increment(work.len() as u64);
    Ok(())
}

fn store_is_closed(error: &StoreError) -> bool {
    matches!(error, StoreError::Closed)
}

/// Repeats a step until it succeeds, or fails in a way that is `fatal`.
async fn insist<T, E, F>(step: impl Fn() -> F, fatal: impl Fn(&E) -> bool) -> Result<T, E>
where
    E: std::fmt::Display,
    F: Future<Output = Result<T, E>>,
{
    let (mut wait, longest) = BACKOFF;
    loop {
        match step().await {
            Err(error) if !fatal(&error) => {
                tracing::warn!(%error, retry_in = ?wait, "attempts can't be passed on now");
            }
            result => return result,
        }
        tokio::time::sleep(wait).await;
        wait = longest.min(wait * 2);
    }
}
