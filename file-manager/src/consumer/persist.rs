//! One file from the queue: stored, indexed, reported, acknowledged.

use crate::{
    FileManager,
    backoff::Backoff,
    index::{IndexError, IndexedFile},
    metric,
};
use jiff::Timestamp;
use protocol::{
    TransferStatus,
    upload::{AttemptOutcome, PersistFile, UpdateStatus},
};
use service_kit::request_id::RequestId;
use std::{fmt::Display, time::Instant};
use storage::{
    blobs::{BlobError, Source},
    chunks::ChunkError,
    events::Delivery,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// The process shuts down while something that a step needs does not answer.
struct Stopping;

/// The store answered with a failure for this file.
struct Failure {
    reason: String,
    permanent: bool,
}

/// Why a file did not get into the blob store.
enum PutError {
    Failed(Failure),
    /// Nothing was said about the file.
    Unreachable(String),
}

/// Works on one delivery to its end, or puts it back when the process stops first.
pub(super) async fn persist(
    manager: FileManager,
    delivery: Box<dyn Delivery>,
    turn: Option<OwnedSemaphorePermit>,
    shutdown: CancellationToken,
) {
    let upload = &delivery.event().upload;
    let request = RequestId::random();
    let span = tracing::info_span!(
        "persist",
        request_id = %request,
        upload_id = %upload.upload_id,
        file_id = %upload.file_id,
        attempt = delivery.event().attempt,
    );
    let work = async {
        metrics::gauge!(metric::IN_PROGRESS).increment(1);
        let persist = Persist {
            manager: &manager,
            event: delivery.event(),
            shutdown: &shutdown,
        };
        let done = persist.run(turn).await;
        metrics::gauge!(metric::IN_PROGRESS).decrement(1);
        let answered = match done {
            Ok(()) => delivery.ack().await,
            Err(Stopping) => delivery.nack().await,
        };
        if let Err(error) = answered {
            // The queue delivers it again, which changes nothing.
            tracing::warn!(%error, "the queue did not take the answer");
        }
    };
    request.scope(work.instrument(span)).await;
}

struct Persist<'a> {
    manager: &'a FileManager,
    event: &'a PersistFile,
    shutdown: &'a CancellationToken,
}

impl Persist<'_> {
    async fn run(&self, turn: Option<OwnedSemaphorePermit>) -> Result<(), Stopping> {
        let begun = Instant::now();
        let outcome = self.store(turn).await?;
        let status = self.report(&outcome).await?;
        note(&outcome);
        match outcome {
            AttemptOutcome::UploadedSuccessfully { .. } => self.settle(status).await?,
            AttemptOutcome::UploadFailed { .. } => self.take_back_if_ended(status).await?,
        }
        metrics::histogram!(metric::PERSIST_SECONDS).record(begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// Gets the file into the blob store, which is what its turn is for, and the index.
    async fn store(&self, turn: Option<OwnedSemaphorePermit>) -> Result<AttemptOutcome, Stopping> {
        // What is tried for the first time is hardly stored already; and if it is, every step below finds that out.
        if self.event.attempt > 1
            && let Some(stored) = self.indexed().await?
        {
            return Ok(success(&stored));
        }
        let described = self.describe();
        let put = match &described {
            Ok((_, source)) => self.put(source).await?,
            Err(_) => Ok(()),
        };
        drop(turn);
        let failure = match described {
            Ok((file, _)) => match put {
                Ok(()) => match self.insert(file).await? {
                    Ok(stored) => return Ok(success(&stored)),
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        // Another delivery of the same file may have been luckier: what is stored has not failed.
        if let Some(stored) = self.indexed().await? {
            return Ok(success(&stored));
        }
        Ok(AttemptOutcome::UploadFailed {
            reason: failure.reason,
            permanent: failure.permanent,
        })
    }

    /// The entry that the file will have, and where its bytes come from.
    fn describe(&self) -> Result<(IndexedFile, Source), Failure> {
        let PersistFile { upload, attempt } = self.event;
        let (Some(mut info), Some(digest)) = (upload.file(), upload.computed_digest) else {
            return Err(Failure::permanent(
                "the request to store it lacks its digest or the time it was received",
            ));
        };
        info.status = TransferStatus::UploadedSuccessfully;
        info.stored_at = Some(to_microseconds(Timestamp::now()));
        info.attempts = *attempt;
        info.reason = None;
        let cache = self.manager.chunks().clone();
        let source = Source {
            cache,
            upload: upload.upload_id,
            size: upload.meta.size,
            digest,
        };
        Ok((
            IndexedFile {
                tenant: upload.tenant.clone(),
                info,
            },
            source,
        ))
    }

    async fn indexed(&self) -> Result<Option<IndexedFile>, Stopping> {
        self.ask_index(|| self.manager.index().get(self.event.upload.file_id))
            .await
    }

    /// Moves the bytes; waits while a store can't be reached, since that says nothing about the file.
    async fn put(&self, source: &Source) -> Result<Result<(), Failure>, Stopping> {
        loop {
            self.or_stop(self.manager.gate().pass()).await?;
            match self.try_put(source).await {
                Ok(()) => {
                    metrics::counter!(metric::STORED_BYTES).increment(source.size);
                    return Ok(Ok(()));
                }
                Err(PutError::Failed(failure)) => return Ok(Err(failure)),
                Err(PutError::Unreachable(reason)) => self.manager.gate().close(&reason),
            }
        }
    }

    async fn try_put(&self, source: &Source) -> Result<(), PutError> {
        let failure = match self
            .manager
            .blobs()
            .put(self.event.upload.file_id, source)
            .await
        {
            Ok(()) => return Ok(()),
            // A full store says as little about this file as one that is away: files wait, they are not given up.
            Err(BlobError::Unreachable(reason) | BlobError::Full(reason)) => {
                return Err(PutError::Unreachable(reason));
            }
            Err(error) => Failure {
                permanent: matches!(error, BlobError::Damaged(_)),
                reason: error.to_string(),
            },
        };
        // Whether the store failed or the cache has nothing to store, the store can't always tell.
        match source.cache.sealed(source.upload).await {
            Err(ChunkError::NotFound(_)) => self.find_lost(source.size).await,
            Err(ChunkError::Unavailable(reason)) => Err(PutError::Unreachable(reason)),
            _ => Err(PutError::Failed(failure)),
        }
    }

    /// The cache no longer holds the upload: then its blob is there already, or its content is lost.
    async fn find_lost(&self, size: u64) -> Result<(), PutError> {
        match self.manager.blobs().size(self.event.upload.file_id).await {
            Ok(stored) if stored == size => Ok(()),
            Ok(_) | Err(BlobError::NotFound(_)) => Err(PutError::Failed(Failure::permanent(
                "the cached content is lost; send the file again",
            ))),
            Err(BlobError::Unreachable(reason)) => Err(PutError::Unreachable(reason)),
            Err(error) => Err(PutError::Failed(Failure {
                reason: error.to_string(),
                permanent: false,
            })),
        }
    }

    async fn insert(&self, file: IndexedFile) -> Result<Result<IndexedFile, Failure>, Stopping> {
        self.ask_index(|| async {
            match self.manager.index().insert(&file).await {
                Ok(stored) => Ok(Ok(stored)),
                Err(error @ IndexError::Conflict(_)) => {
                    Ok(Err(Failure::permanent(error.to_string())))
                }
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Tells the uploader; answers how the upload stands then, or none if the uploader does not know it.
    async fn report(&self, outcome: &AttemptOutcome) -> Result<Option<TransferStatus>, Stopping> {
        let report = UpdateStatus {
            upload_id: self.event.upload.upload_id,
            attempt: self.event.attempt,
            outcome: outcome.clone(),
        };
        self.until_answered("the uploader", || self.manager.uploader().report(&report))
            .await
    }

    /// Draws the consequences of the uploader's answer to a report of success.
    async fn settle(&self, status: Option<TransferStatus>) -> Result<(), Stopping> {
        let consequence = match status {
            Some(TransferStatus::UploadedSuccessfully) => "the file is stored",
            Some(status) if status.is_final() => {
                self.take_back_if_ended(Some(status)).await?;
                "the file was stored too late and is removed: its upload has ended"
            }
            // A report on an attempt that was given up; the present one will find the file stored.
            Some(_) => "the file is stored; the uploader waits for another attempt",
            // Its record was kept for as long as outcomes are, and is gone. The file is whole, so it stays.
            None => "the file is stored, but the uploader knows nothing of its upload",
        };
        let is_usual = status == Some(TransferStatus::UploadedSuccessfully);
        let status = status.map(TransferStatus::as_str);
        // A line for every file would cost as much as storing a small one.
        if is_usual {
            tracing::debug!(status, "{consequence}");
        } else {
            tracing::info!(status, "{consequence}");
        }
        Ok(())
    }

    /// Removes the entry if the upload has ended without success: this delivery's own, or one that another delivery of the
    /// same attempt wrote while this one failed.
    async fn take_back_if_ended(&self, status: Option<TransferStatus>) -> Result<(), Stopping> {
        match status {
            Some(status) if status.is_final() && status != TransferStatus::UploadedSuccessfully => {
                let file = self.event.upload.file_id;
                self.ask_index(|| self.manager.index().remove(file)).await
            }
            _ => Ok(()),
        }
    }

    /// Repeats a question to the index until it is answered; while it can't be reached, storing pauses.
    async fn ask_index<T, F>(&self, step: impl Fn() -> F) -> Result<T, Stopping>
    where
        F: Future<Output = Result<T, IndexError>>,
    {
        let mut backoff = Backoff::new();
        loop {
            match step().await {
                Ok(answer) => return Ok(answer),
                Err(IndexError::Unavailable(reason)) => {
                    self.manager.gate().close(&reason);
                    self.or_stop(self.manager.gate().pass()).await?;
                }
                Err(error) => {
                    tracing::warn!(%error, "the index does not answer, trying again");
                    self.or_stop(tokio::time::sleep(backoff.step())).await?;
                }
            }
        }
    }

    /// Repeats a step until it is answered one way or the other.
    async fn until_answered<T, E, F>(
        &self,
        what: &'static str,
        mut step: impl FnMut() -> F,
    ) -> Result<T, Stopping>
    where
        E: Display,
        F: Future<Output = Result<T, E>>,
    {
        let mut backoff = Backoff::new();
        loop {
            match step().await {
                Ok(answer) => return Ok(answer),
                Err(error) => tracing::warn!(%error, "{what} does not answer, trying again"),
            }
            self.or_stop(tokio::time::sleep(backoff.step())).await?;
        }
    }

    async fn or_stop<T>(&self, waiting: impl Future<Output = T>) -> Result<T, Stopping> {
        self.shutdown
            .run_until_cancelled(waiting)
            .await
            .ok_or(Stopping)
    }
}

impl Failure {
    fn permanent(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            permanent: true,
        }
    }
}

fn note(outcome: &AttemptOutcome) {
    let label = match outcome {
        AttemptOutcome::UploadedSuccessfully { .. } => "stored",
        AttemptOutcome::UploadFailed { reason, permanent } => {
            tracing::warn!(reason, permanent, "the file could not be stored");
            "failed"
        }
    };
    metrics::counter!(metric::ATTEMPTS, "outcome" => label).increment(1);
}

fn success(stored: &IndexedFile) -> AttemptOutcome {
    // An entry of the index always has its time of storing; the port says so.
    AttemptOutcome::UploadedSuccessfully {
        stored_at: stored.info.stored_at.unwrap_or(stored.info.received_at),
    }
}

/// The resolution of the index: a redelivery then reports the very time that was reported first.
fn to_microseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}
