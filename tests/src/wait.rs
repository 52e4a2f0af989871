//! Waiting for a condition, with a deadline that is a failure.

use std::time::{Duration, Instant};

/// How long a test waits for what must happen. Generous, since a loaded machine is slow; a test that passes never waits it out.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `condition` again and again until it answers something.
///
/// # Panics
/// When it has not within [`PATIENCE`]; `what` says for what it waited.
pub async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} in vain for {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
