//! What a floor does with the bytes of a file: hash them, and write them or not.
//!
//! A file of at most a window is hashed and written by the thread that reads it: others fill the CPU while it waits for the disk. A
//! larger one has a thread that hashes and one that writes beside the one that reads, since a single client would otherwise wait
//! for each in turn.

use super::aligned::{Aligned, Lent};
use crate::upload::frames::CHUNK;
use protocol::{Digest, DigestAlgorithm, Hasher};
use rustix::fs::{Mode, OFlags};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::JoinHandle,
};

/// Bytes written at once of a file that one thread reads, hashes and writes: what it has just hashed is still in its core's cache.
pub(super) const INLINE_BATCH: usize = CHUNK;

/// The same of one that several threads pass on: fewer and larger writes.
const STAGED_BATCH: usize = 2 * CHUNK;

/// Buffers of such a file.
const BUFFERS: usize = 6;

/// A file that is written in whole batches.
pub(super) struct Direct {
    file: File,
    size: u64,
}

impl Direct {
    /// A new file.
    pub(super) fn create(path: &Path, size: u64) -> io::Result<Self> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Self {
            file: file.into(),
            size,
        })
    }

    fn write(&self, batch: &mut Aligned, offset: u64) -> io::Result<()> {
        self.file.write_all_at(batch.blocks(), offset)
    }

    /// The bytes are on the disk when this returns.
    fn finish(&self) -> io::Result<()> {
        if !self.size.is_multiple_of(super::aligned::BLOCK as u64) {
            self.file.set_len(self.size)?;
        }
        self.file.sync_data()
    }
}

/// A file that is being received.
pub(super) enum Receiving {
    Inline {
        hasher: Hasher,
        hashed: usize,
        written: u64,
        direct: Option<Direct>,
        /// The buffer to fill.
        buffer: Lent,
    },
    Staged(Stages),
}

impl Receiving {
    pub(super) fn inline(direct: Option<Direct>, buffer: Lent) -> Self {
        Self::Inline {
            hasher: Hasher::new(DigestAlgorithm::Sha256),
            hashed: 0,
            written: 0,
            direct,
            buffer,
        }
    }

    /// Where the next chunk goes.
    pub(super) fn buffer(&mut self) -> &mut Aligned {
        match self {
            Self::Inline { buffer, .. } => buffer,
            Self::Staged(stages) => &mut stages.buffer,
        }
    }

    /// A chunk was added to the buffer. Whether everything up to it is now written or on its way to be.
    pub(super) fn added(&mut self) -> io::Result<bool> {
        match self {
            Self::Inline {
                hasher,
                hashed,
                written,
                buffer,
                direct,
            } => {
                hasher.update(&buffer.bytes()[*hashed..]);
                *hashed = buffer.len;
                let full = buffer.len + CHUNK > buffer.capacity();
                if full {
                    if let Some(direct) = direct {
                        direct.write(buffer, *written)?;
                    }
                    *written += buffer.len as u64;
                    (buffer.len, *hashed) = (0, 0);
                }
                Ok(full)
            }
            Self::Staged(stages) => {
                let full = stages.buffer.len + CHUNK > stages.buffer.capacity();
                if full {
                    stages.pass_on()?;
                }
                Ok(false)
            }
        }
    }

    /// No more is to come. Answers the digest when everything is on the disk.
    pub(super) fn finish(self) -> io::Result<Digest> {
        match self {
            Self::Inline {
                hasher,
                written,
                direct,
                mut buffer,
                ..
            } => {
                if let Some(direct) = direct {
                    if buffer.len > 0 {
                        direct.write(&mut buffer, written)?;
                    }
                    // Somebody else may read while this one waits for the disk.
                    drop(buffer);
                    direct.finish()?;
                }
                Ok(hasher.finish())
            }
            Self::Staged(stages) => stages.finish(),
        }
    }
}

/// A file that one thread hashes and another one writes.
pub(super) struct Stages {
    buffer: Aligned,
    free: Receiver<Aligned>,
    to_hash: SyncSender<Aligned>,
    hashing: JoinHandle<Hasher>,
    writing: JoinHandle<io::Result<()>>,
}

impl Stages {
    /// `tell` is told how far the file is written, again and again.
    pub(super) fn start(
        direct: Option<Direct>,
        mut tell: impl FnMut(u64) -> io::Result<()> + Send + 'static,
    ) -> Self {
        let (to_hash, hashable) = sync_channel::<Aligned>(BUFFERS);
        let (to_write, writable) = sync_channel::<Aligned>(BUFFERS);
        let (done, free) = sync_channel(BUFFERS);
        for _ in 1..BUFFERS {
            // There is room for all.
            let _ = done.send(Aligned::new(STAGED_BATCH));
        }
        let hashing = std::thread::spawn(move || {
            let mut hasher = Hasher::new(DigestAlgorithm::Sha256);
            for batch in hashable {
                hasher.update(batch.bytes());
                if to_write.send(batch).is_err() {
                    break;
                }
            }
            hasher
        });
        let writing = std::thread::spawn(move || {
            let mut written = 0;
            for mut batch in writable {
                if let Some(direct) = &direct {
                    direct.write(&mut batch, written)?;
                }
                written += batch.len as u64;
                tell(written)?;
                batch.len = 0;
                // Nobody waits for the last ones.
                let _ = done.send(batch);
            }
            direct.map_or(Ok(()), |direct| direct.finish())
        });
        Self {
            buffer: Aligned::new(STAGED_BATCH),
            free,
            to_hash,
            hashing,
            writing,
        }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        let gone = || io::Error::other("the thread that writes has failed");
        let next = self.free.recv().map_err(|_| gone())?;
        let full = std::mem::replace(&mut self.buffer, next);
        self.to_hash.send(full).map_err(|_| gone())
    }

    fn finish(mut self) -> io::Result<Digest> {
        if self.buffer.len > 0 {
            self.pass_on()?;
        }
        drop(self.to_hash);
        let panicked = |_| io::Error::other("a thread has panicked");
        let hasher = self.hashing.join().map_err(panicked)?;
        self.writing.join().map_err(panicked)??;
        Ok(hasher.finish())
    }
}
