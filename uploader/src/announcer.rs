//! Tells listeners what was noted in the log, in the order of commits.

use crate::{Uploader, store::StoreError};
use std::time::Duration;
use storage::events::EventError;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How many commits' news are told at once.
const MAX_COMMITS: usize = 256;

/// How long after news others are told at the earliest, by an engine that takes calls for it: the busier it is, the more go
/// together.
const PACE: Duration = Duration::from_millis(5);

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
        let begun = Instant::now();
        match uploader.events.tell(told).await {
            Ok(()) => {}
            // The process is stopping.
            Err(EventError::Closed) => return Ok(()),
            // Listeners compare heads with the log, so news that get lost only come later.
            Err(error) => {
                tracing::warn!(%error, "listeners learn of news only when they compare heads");
            }
        }
        if uploader.events.durable() {
            sleep_until(begun + PACE).await;
        }
    }
}
