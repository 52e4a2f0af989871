//! Runs blocking file operations away from the async threads, a bounded number at a time.

use super::{File, Fs, read_full};
use crate::ByteStream;
use bytes::{Bytes, BytesMut};
use futures::stream;
use std::{io, ops::Range, sync::Arc};
use tokio::sync::Semaphore;

/// Bytes that one step of a stream reads: what a slow reader keeps in memory.
const PIECE: u64 = 64 * 1024;

/// The runtime shut down before the work was done.
#[derive(Debug, thiserror::Error)]
#[error("the process is shutting down")]
pub(crate) struct Stopped;

impl From<Stopped> for io::Error {
    fn from(stopped: Stopped) -> Self {
        io::Error::other(stopped)
    }
}

/// A file system and the threads that may wait for it at once.
#[derive(Clone)]
pub(crate) struct Worker {
    fs: Arc<dyn Fs>,
    permits: Arc<Semaphore>,
}

impl Worker {
    pub(crate) fn new(fs: Arc<dyn Fs>, threads: usize) -> Self {
        Self {
            fs,
            permits: Arc::new(Semaphore::new(threads.max(1))),
        }
    }

    /// Runs `work` to its end on a blocking thread, even if the caller goes away once it has begun.
    pub(crate) async fn run<T, E>(
        &self,
        work: impl FnOnce(&dyn Fs) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Stopped> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| Stopped)?;
        let fs = Arc::clone(&self.fs);
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&*fs)
        });
        match task.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Stopped.into()),
            },
        }
    }

    /// The bytes of `range` of an open file; ends with an error if the file is shorter.
    pub(crate) fn stream(&self, file: Arc<dyn File>, range: Range<u64>) -> ByteStream {
        let worker = self.clone();
        Box::pin(stream::try_unfold(range, move |left| {
            let (worker, file) = (worker.clone(), Arc::clone(&file));
            async move {
                if left.is_empty() {
                    return Ok(None);
                }
                let end = left.end.min(left.start + PIECE);
                // Made here and not on the blocking thread: an allocator keeps what one thread made and another frees, so
                // that each of the many blocking threads would come to hold some.
                let buffer =
                    BytesMut::zeroed(usize::try_from(end - left.start).map_err(io::Error::other)?);
                let piece = worker
                    .run(move |_| read_exact(&*file, buffer, left.start))
                    .await?;
                Ok(Some((piece, end..left.end)))
            }
        }))
    }
}

fn read_exact(file: &dyn File, mut buffer: BytesMut, offset: u64) -> io::Result<Bytes> {
    if read_full(file, &mut buffer, offset)? < buffer.len() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the file is shorter than it should be",
        ));
    }
    Ok(buffer.freeze())
}
