//! The gate before the stores: closed while one of them can't be reached or is full, so that no file is tried in vain.

use crate::{
    FileManager,
    backoff::{Backoff, CAP},
    index::IndexError,
    metric,
};
use std::sync::Arc;
use storage::{blobs::BlobError, chunks::ChunkError};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

/// Open, or closed for a reason.
#[derive(Debug)]
pub(crate) struct Gate {
    closed: watch::Sender<Option<Arc<str>>>,
}

impl Gate {
    /// An open gate.
    pub(crate) fn open() -> Self {
        Self {
            closed: watch::Sender::new(None),
        }
    }

    /// Why the gate is closed, if it is.
    pub(crate) fn reason(&self) -> Option<Arc<str>> {
        self.closed.borrow().clone()
    }

    /// Waits until the gate is open.
    pub(super) async fn pass(&self) {
        // The sender lives in `self`, so waiting can't fail.
        let _ = self.closed.subscribe().wait_for(Option::is_none).await;
    }

    /// Closes the gate, until [`watch`] finds the stores answering.
    pub(super) fn close(&self, reason: &str) {
        let was_open = self.closed.send_replace(Some(reason.into())).is_none();
        if was_open {
            metrics::gauge!(metric::PAUSED).set(1);
            tracing::warn!(
                reason,
                "storing pauses: a store can't be reached or is full"
            );
        }
    }

    fn reopen(&self) {
        self.closed.send_replace(None);
        metrics::gauge!(metric::PAUSED).set(0);
        tracing::info!("storing goes on: the stores answer again");
    }

    async fn closed(&self) {
        let _ = self.closed.subscribe().wait_for(Option::is_some).await;
    }
}

/// Probes the stores while the gate is closed, one probe at a time whatever the number of files that wait, and opens it.
pub(super) async fn watch(manager: &FileManager, shutdown: &CancellationToken) {
    let until_shutdown = async {
        let mut backoff = Backoff::new();
        let mut reopened: Option<Instant> = None;
        loop {
            manager.gate().closed().await;
            // A store that answers the probe and then no work must not be hammered: the series goes on.
            if reopened.is_none_or(|instant| instant.elapsed() > CAP) {
                backoff = Backoff::new();
            }
            loop {
                tokio::time::sleep(backoff.step()).await;
                match probe(manager).await {
                    Ok(()) => break,
                    Err(reason) => manager.gate().close(&reason),
                }
            }
            reopened = Some(Instant::now());
            manager.gate().reopen();
        }
    };
    shutdown.run_until_cancelled(until_shutdown).await;
}

/// Asks the stores and the index for a sign of life.
async fn probe(manager: &FileManager) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    manager
        .blobs()
        .ping()
        .await
        .map_err(|error: BlobError| text(&error))?;
    manager
        .index()
        .ping()
        .await
        .map_err(|error: IndexError| text(&error))?;
    manager
        .chunks()
        .usage()
        .await
        .map(drop)
        .map_err(|error: ChunkError| text(&error))
}
