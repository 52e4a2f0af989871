//! Work that would hold up an async thread: hashing and looking through many bytes.

/// Runs `work` on a blocking thread. A panic in it goes on in the caller.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is being torn down cancels blocking work, and then nobody waits for this.
            Err(_) => std::future::pending().await,
        },
    }
}
