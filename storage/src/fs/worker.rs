//! Runs blocking file operations away from the async threads, a bounded number at a time.

use super::{BLOCK, File, Fs, read_full};
use crate::{
    ByteStream,
    buffers::{Buffer, Buffers},
};
use bytes::Bytes;
use futures::stream;
use std::{io, ops::Range, sync::Arc};
use tokio::sync::Semaphore;

/// Bytes that one step of a stream reads: what a slow reader keeps in memory.
const PIECE: u64 = 256 * 1024;

/// The same where so little is left, or where so many read that their memory counts.
const SMALL_PIECE: u64 = 64 * 1024;

/// Readers that may have whole pieces.
const MANY: usize = 128;

/// Bytes that the disk is asked to have ready when some had to be waited for.
const AHEAD: u64 = 1024 * 1024;

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
    pieces: Buffers,
}

impl Worker {
    pub(crate) fn new(fs: Arc<dyn Fs>, threads: usize) -> Self {
        Self {
            fs,
            permits: Arc::new(Semaphore::new(threads.max(1))),
            pieces: Buffers::new(PIECE as usize, BLOCK),
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
                let end = left.end.min(left.start + worker.piece());
                let piece = worker.read(file, left.start..end, left.end).await?;
                Ok(Some((piece, end..left.end)))
            }
        }))
    }

    /// How much to read in one step.
    fn piece(&self) -> u64 {
        if self.pieces.in_use() < MANY {
            PIECE
        } else {
            SMALL_PIECE
        }
    }

    /// Reads `wanted`, of what will be read up to `end`: at once if it is in memory, else on a blocking thread.
    async fn read(&self, file: Arc<dyn File>, wanted: Range<u64>, end: u64) -> io::Result<Bytes> {
        let len = usize::try_from(wanted.end - wanted.start).map_err(io::Error::other)?;
        // Made here and not on the blocking thread: an allocator keeps what one thread made and another frees, so
        // that each of the many blocking threads would come to hold some.
        let mut room = if wanted.end - wanted.start > SMALL_PIECE {
            Room::Pooled(self.pieces.take(), len)
        } else {
            Room::Own(vec![0; len])
        };
        let read = match file.read_cached(room.bytes(), wanted.start) {
            Ok(read) if read == len => return Ok(room.into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.run(move |_| {
            file.will_need(wanted.end..end.min(wanted.end + AHEAD));
            read_exact(
                &*file,
                &mut room.bytes()[read..],
                wanted.start + read as u64,
            )?;
            Ok(room.into())
        })
        .await
    }
}

/// Where a piece is read to.
enum Room {
    /// So many bytes of a buffer.
    Pooled(Buffer, usize),
    Own(Vec<u8>),
}

impl Room {
    fn bytes(&mut self) -> &mut [u8] {
        match self {
            Self::Pooled(buffer, len) => &mut buffer[..*len],
            Self::Own(bytes) => bytes,
        }
    }
}

impl From<Room> for Bytes {
    fn from(room: Room) -> Self {
        match room {
            Room::Pooled(buffer, len) => buffer.into_bytes(len),
            Room::Own(bytes) => bytes.into(),
        }
    }
}

fn read_exact(file: &dyn File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    if read_full(file, buffer, offset)? < buffer.len() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the file is shorter than it should be",
        ));
    }
    Ok(())
}
