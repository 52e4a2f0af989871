//! The background work: files are taken from the queue and stored, several side by side.
//!
//! The queue may deliver a file twice, to two processes at once even, and a process may die at any point. What keeps the
//! index and the upload's status in step is the order of the steps, each of which may be repeated:
//!
//! 1. the blob is put: the store verifies its size, and the digest of what it copies, and shows nothing until it is whole;
//! 2. the index entry is inserted, unless it is there;
//! 3. success is reported to the uploader, which frees the cache and tells the owner;
//! 4. if the uploader answers that the upload ended otherwise meanwhile (another delivery of the same attempt failed for
//!    good), the index entry is removed again; a delivery that fails for good does the same after its report, in case
//!    another has inserted an entry since;
//! 5. the delivery is acknowledged.
//!
//! The index comes before the report, so whoever was told of success finds the file. Every insert is followed by a report
//! whose answer decides, also after a crash, since the delivery was not acknowledged. Should the queue lose that delivery,
//! too, the sweeper finds the entry of the failed upload. Blobs are never removed here: a blob without an entry is the
//! sweeper's.

mod gate;
mod persist;

use crate::{FileManager, backoff::Backoff, sweeper};
use futures::{Stream, StreamExt, stream};
use std::{panic::resume_unwind, pin::pin, sync::Arc, time::Duration};
use storage::events::{Delivery, EventError, Work};
use tokio::{
    sync::Semaphore,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

pub(crate) use gate::Gate;

/// How many files may be in hand for each that is being put into the blob store: what has been put waits for the index and for
/// the uploader, who both commit for many at once.
const IN_HAND: usize = 8;

/// Stores files from the queue and sweeps the blob store until `shutdown`; then finishes the files in hand. Work that
/// waits for something unreachable is put back.
///
/// # Errors
/// [`EventError::Closed`] when the queue ends before `shutdown`.
pub async fn run(manager: FileManager, shutdown: CancellationToken) -> Result<(), EventError> {
    let beside = async {
        tokio::join!(
            gate::watch(&manager, &shutdown),
            sweeper::run(&manager, &shutdown)
        );
        Ok(())
    };
    tokio::try_join!(consume(&manager, &shutdown), beside)?;
    Ok(())
}

/// Consumes until shutdown, again from the start whenever the queue's engine went away.
async fn consume(manager: &FileManager, shutdown: &CancellationToken) -> Result<(), EventError> {
    let mut files = JoinSet::new();
    let mut backoff = Backoff::new();
    loop {
        let in_hand = IN_HAND * manager.config().parallel.get();
        let ended = match manager.events().consume(in_hand).await {
            Ok(work) => {
                backoff = Backoff::new();
                take(manager, shutdown, work, &mut files).await
            }
            Err(error) => Err(error),
        };
        match ended {
            _ if shutdown.is_cancelled() => break,
            Ok(()) => break,
            Err(error @ EventError::Closed) => return Err(error),
            Err(error) => wait_for_engine(&error, backoff.step(), shutdown).await,
        }
    }
    while let Some(ended) = files.join_next().await {
        propagate_panic(ended);
    }
    Ok(())
}

async fn wait_for_engine(error: &EventError, wait: Duration, shutdown: &CancellationToken) {
    tracing::warn!(%error, "the queue can't be reached, trying again");
    shutdown.run_until_cancelled(tokio::time::sleep(wait)).await;
}

/// Takes work until shutdown or until the queue fails.
async fn take(
    manager: &FileManager,
    shutdown: &CancellationToken,
    work: Box<dyn Work>,
    files: &mut JoinSet<()>,
) -> Result<(), EventError> {
    let parallel = manager.config().parallel.get();
    let turns = Arc::new(Semaphore::new(parallel));
    let mut deliveries = pin!(deliveries(work));
    loop {
        // Nothing is taken that would only wait: another process may be able to store it.
        let next = async {
            manager.gate().pass().await;
            // The semaphore is never closed.
            let turn = Arc::clone(&turns).acquire_owned().await.ok();
            (deliveries.next().await, turn)
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            Some(ended) = files.join_next() => propagate_panic(ended),
            (delivery, turn) = next, if files.len() < IN_HAND * parallel => {
                let delivery = delivery.unwrap_or(Err(EventError::Closed))?;
                files.spawn(persist::persist(manager.clone(), delivery, turn, shutdown.clone()));
            }
        }
    }
}

/// The consumer as a stream: waiting for the next item may be given up and taken up again, and nothing is lost.
fn deliveries(work: Box<dyn Work>) -> impl Stream<Item = Result<Box<dyn Delivery>, EventError>> {
    stream::unfold(
        work,
        |mut work| async move { Some((work.next().await, work)) },
    )
}

/// A panic while storing a file is a defect: it ends the background work, and with it the process.
fn propagate_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        resume_unwind(panic);
    }
}
