//! Passes attempts from the outbox to the queue.
//!
//! The outbox is the truth and the queue a hint: an attempt stays in the outbox until it is reported on, and is queued again
//! when the queue may have lost it. Queueing an attempt again does not count as another attempt.
//!
//! Several processes may relay from one outbox: each takes other attempts. What one took and did not bring into the queue,
//! because it died or lost its link, another takes over.

use crate::{
    Uploader, clock, metric,
    store::{Dispatch, Dispatched, Queued, StoreError},
};
use jiff::Timestamp;
use protocol::upload::PersistFile;
use std::{collections::VecDeque, time::Duration};
use storage::events::EventError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many attempts are taken from the outbox in one transaction, for a queue in this process, which is quick to take them. Uploads
/// and reports wait while they are: with more they wait longer, and nothing is gained.
const BATCH: u32 = 64;

/// The same for a queue that keeps what it has. Each time costs a commit and a confirmation, one after the other: with fewer, it
/// was this that bounded how many small files a second could be stored.
const DURABLE_BATCH: u32 = 256;

/// How long to wait between two looks into the outbox, so that those who finish uploads one right after the other share one.
const GATHER: Duration = Duration::from_millis(5);

/// How long to wait after an engine failed for the first time in a row, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How long nothing may be known of whether a dispatched attempt has reached the queue, until it is taken for lost. Longer
/// than a process that is alive needs to queue it and note so.
const QUEUEING_PATIENCE: Duration = Duration::from_secs(15);

/// After how long an attempt that is in the queue is noted to be there. Most are resolved by then, and need no note; without
/// one they are not taken for lost before [`QUEUEING_PATIENCE`].
const NOTE_AFTER: Duration = Duration::from_secs(5);

/// How many attempts are noted to be queued in one transaction.
const NOTED: usize = 512;

/// How often to look into the outbox although nothing was signalled, where others change it too.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Passes attempts on until `shutdown`.
pub(crate) async fn run(
    uploader: &Uploader,
    shutdown: &CancellationToken,
) -> Result<(), StoreError> {
    let mut queued = VecDeque::new();
    let relayed = shutdown.run_until_cancelled(relay(uploader, &mut queued));
    match relayed.await {
        Some(ended) => ended,
        None => {
            note(uploader, queued).await;
            Ok(())
        }
    }
}

/// Notes what is in the queue before the process stops, so that nobody queues it again.
async fn note(uploader: &Uploader, queued: VecDeque<(Timestamp, Queued)>) {
    let mut queued: Vec<Queued> = queued.into_iter().map(|(_, queued)| queued).collect();
    while !queued.is_empty() {
        let rest = queued.split_off(queued.len().min(NOTED));
        // Takes nothing.
        let noting = Dispatch {
            queued,
            now: Timestamp::MIN,
            lost_before: Timestamp::MIN,
            unqueued_before: Timestamp::MIN,
            max_in_flight: 0,
            limit: 0,
        };
        if let Err(error) = uploader.store.dispatch(noting).await {
            tracing::debug!(%error, "attempts that are in the queue may be queued again");
            return;
        }
        queued = rest;
    }
}

async fn relay(
    uploader: &Uploader,
    queued: &mut VecDeque<(Timestamp, Queued)>,
) -> Result<(), StoreError> {
    if !uploader.events.durable() {
        // Whatever was queued before this process began is lost with the one before.
        let again = insist(|| uploader.store.forget_dispatches(), store_is_closed).await?;
        if again > 0 {
            tracing::info!(attempts = again, "queueing again what was not resolved");
        }
    }
    loop {
        let looked = Instant::now();
        let noted = to_note(queued, uploader.clock.now());
        let dispatch = || uploader.store.dispatch(next(uploader, noted.clone()));
        let taken = insist(dispatch, store_is_closed).await?;
        queued.drain(..noted.len());
        let full = taken.work.len() >= batch(uploader) as usize;
        let due = next_due(uploader, &taken);
        match queue(uploader, taken.work).await {
            Ok(attempts) => queued.extend(attempts),
            // The process is stopping; the next one queues it all again.
            Err(_) => return Ok(()),
        }
        if !full {
            tokio::select! {
                () = uploader.signals.outbox.notified() => {}
                () = uploader.signals.room.notified(), if taken.is_full => {}
                () = sleep_until(uploader, due) => {}
                () = look_again(uploader) => {}
            }
            tokio::time::sleep_until(looked + GATHER).await;
        }
    }
}

/// Those of the attempts in the queue that it is time to note, the first ones.
fn to_note(queued: &VecDeque<(Timestamp, Queued)>, now: Timestamp) -> Vec<Queued> {
    let until = clock::before(now, NOTE_AFTER);
    let first = queued.iter().take(NOTED);
    let first = first.take_while(|(since, _)| *since <= until);
    first.map(|(_, queued)| *queued).collect()
}

/// What to take from the outbox now, after these attempts were queued.
fn next(uploader: &Uploader, queued: Vec<Queued>) -> Dispatch {
    let now = uploader.clock.now();
    // A queue that lives and dies with this process needs no proof that it has the attempts.
    let unqueued_before = if uploader.events.durable() {
        clock::before(now, QUEUEING_PATIENCE)
    } else {
        Timestamp::MIN
    };
    Dispatch {
        queued,
        now,
        lost_before: clock::before(now, patience(uploader)),
        unqueued_before,
        max_in_flight: uploader.config.max_in_flight.get(),
        limit: batch(uploader),
    }
}

/// Waits until it is time to look for what nobody signals: work from other processes, attempts that others left lying, and
/// that this process's own are to be noted as queued.
async fn look_again(uploader: &Uploader) {
    if uploader.store.is_shared() || uploader.events.durable() {
        tokio::time::sleep(LOOK_AGAIN).await;
    } else {
        std::future::pending::<()>().await;
    }
}

fn batch(uploader: &Uploader) -> u32 {
    match uploader.events.durable() {
        true => DURABLE_BATCH,
        false => BATCH,
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

/// Queues attempts, for as long as it takes; fails only when the engine is closed. Answers those to be noted as queued, and
/// since when they are.
async fn queue(
    uploader: &Uploader,
    work: Vec<PersistFile>,
) -> Result<Vec<(Timestamp, Queued)>, EventError> {
    if work.is_empty() {
        return Ok(Vec::new());
    }
    let is_closed = |error: &EventError| matches!(error, EventError::Closed);
    insist(|| uploader.events.queue(work.clone()), is_closed).await?;
    tracing::debug!(attempts = work.len(), "attempts queued");
    metrics::counter!(metric::DISPATCHED).increment(work.len() as u64);
    if !uploader.events.durable() {
        return Ok(Vec::new());
    }
    let now = uploader.clock.now();
    let queued = work.iter().map(|work| {
        let queued = Queued {
            upload: work.upload.upload_id,
            attempt: work.attempt,
        };
        (now, queued)
    });
    Ok(queued.collect())
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
