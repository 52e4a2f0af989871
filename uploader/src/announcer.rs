//! Tells listeners what was noted in the log, in the order of commits.

use crate::{Uploader, store::StoreError};
use storage::events::EventError;
use tokio_util::sync::CancellationToken;

/// How many commits' news are told at once.
const MAX_COMMITS: usize = 256;

/// Tells news until `shutdown`.
pub(crate) async fn run(
    uploader: &Uploader,
    shutdown: &CancellationToken,
) -> Result<(), StoreError> {
    let mut news = uploader.news.lock().await;
    let mut waiting = Vec::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            commits = news.recv_many(&mut waiting, MAX_COMMITS) => if commits == 0 { return Err(StoreError::Closed) },
        }
        let told = waiting.drain(..).flatten().collect();
        match uploader.events.tell(told).await {
            Ok(()) => {}
            // The process is stopping.
            Err(EventError::Closed) => return Ok(()),
            // Listeners compare heads with the log, so news that get lost only come later.
            Err(error) => {
                tracing::warn!(%error, "listeners learn of news only when they compare heads");
            }
        }
    }
}
