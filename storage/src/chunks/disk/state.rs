//! What is known of one upload, and the steps of its life. Everything here blocks and runs under the upload's lock.

use super::{
    Inner, Slot,
    part::{self, Part, Paths},
    records,
};
use crate::{
    chunks::{CachedUpload, ChunkError, Hold, Piece},
    fs::{Access, File, Fs, remove_if_there},
};
use protocol::UploadId;
use std::{
    io,
    ops::Range,
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::SystemTime,
};
use tokio::sync::OwnedMutexGuard;

/// How an upload stands.
pub(super) enum State {
    /// Not there: being made, or removed.
    Absent,
    /// Found at start; of `size` bytes, `claimed` are said to be held, which nobody verified yet.
    Found {
        size: u64,
        claimed: u64,
        slot: records::Slot,
    },
    /// Being written.
    Open(Open),
    /// Closed for writing. Durable once its new name is synced.
    Sealed {
        size: u64,
        touched: SystemTime,
        durable: bool,
    },
}

pub(super) struct Open {
    part: Part,
    generation: u64,
    touched: SystemTime,
}

impl Open {
    /// Makes the file be there.
    fn make(
        &mut self,
        fs: &dyn Fs,
        inner: &Inner,
        upload: UploadId,
        paths: &Paths,
    ) -> Result<(), ChunkError> {
        if self.part.is_made() {
            return Ok(());
        }
        let made = inner
            .shards
            .make(fs, upload)
            .and_then(|()| self.part.make(fs, &paths.part, &inner.means));
        made.map_err(refusal)
    }
}

/// An upload under its lock.
pub(super) struct Locked {
    inner: Arc<Inner>,
    upload: UploadId,
    state: OwnedMutexGuard<State>,
    paths: Paths,
}

impl Locked {
    pub(super) fn new(inner: Arc<Inner>, upload: UploadId, state: OwnedMutexGuard<State>) -> Self {
        let paths = inner.shards.paths(upload);
        Self {
            inner,
            upload,
            state,
            paths,
        }
    }

    pub(super) fn slot(&self) -> &Slot {
        OwnedMutexGuard::mutex(&self.state)
    }

    pub(super) fn open(&mut self, fs: &dyn Fs, size: u64) -> Result<Hold, ChunkError> {
        if !matches!(*self.state, State::Absent) {
            return self.resume(fs);
        }
        let free = fs.free_bytes(&self.inner.root).map_err(refusal)?;
        self.inner.room.reserve(size, free)?;
        Ok(self.begin(size))
    }

    /// Opens it if that can be done without asking the disk.
    pub(super) fn open_at_once(&mut self, size: u64) -> Option<Hold> {
        let is_new = matches!(*self.state, State::Absent);
        (is_new && self.inner.room.reserve_at_once(size)).then(|| self.begin(size))
    }

    /// Goes on with nothing held and the room reserved.
    fn begin(&mut self, size: u64) -> Hold {
        // It may have been opened before by a process that has ended, and be forgotten.
        let generation = self.inner.era + 1;
        *self.state = State::Open(Open {
            part: Part::new(self.upload, size, self.inner.records.take()),
            generation,
            touched: SystemTime::now(),
        });
        Hold {
            generation,
            held: 0,
        }
    }

    pub(super) fn resume(&mut self, fs: &dyn Fs) -> Result<Hold, ChunkError> {
        self.settle(fs)?;
        match &mut *self.state {
            State::Open(open) => {
                open.generation += 1;
                Ok(Hold {
                    generation: open.generation,
                    held: open.part.held(),
                })
            }
            State::Sealed { .. } => Err(ChunkError::Sealed(self.upload)),
            State::Absent | State::Found { .. } => Err(ChunkError::NotFound(self.upload)),
        }
    }

    pub(super) fn append(
        &mut self,
        fs: &dyn Fs,
        generation: u64,
        offset: u64,
        parts: &[Piece],
    ) -> Result<u64, ChunkError> {
        let open = held_by(self.upload, &mut self.state, generation)?;
        let (before, size) = (open.part.held(), open.part.size());
        let length = parts
            .iter()
            .try_fold(0u64, |sum, part| sum.checked_add(part.len() as u64));
        let fits = length.is_some_and(|length| length <= size - before);
        if offset != before || !fits {
            return Err(ChunkError::OutOfOrder { expected: before });
        }
        if length == Some(0) {
            return Ok(before);
        }
        open.make(fs, &self.inner, self.upload, &self.paths)?;
        open.part
            .append(fs, &self.paths.part, parts, &self.inner.means)
            .map_err(refusal)?;
        open.touched = SystemTime::now();
        self.inner.room.moved(before, open.part.held());
        Ok(open.part.held())
    }

    pub(super) fn seal(&mut self, fs: &dyn Fs, generation: u64) -> Result<(), ChunkError> {
        if !matches!(*self.state, State::Sealed { .. }) {
            self.close(fs, generation)?;
        }
        self.settle(fs)
    }

    /// Syncs the bytes, then gives them their final name.
    fn close(&mut self, fs: &dyn Fs, generation: u64) -> Result<(), ChunkError> {
        let open = held_by(self.upload, &mut self.state, generation)?;
        let (held, size) = (open.part.held(), open.part.size());
        if held < size {
            return Err(ChunkError::OutOfOrder { expected: held });
        }
        open.make(fs, &self.inner, self.upload, &self.paths)?;
        let synced = open.part.sync(fs, &self.paths.part);
        self.inner.room.moved(held, open.part.held());
        synced
            .and_then(|()| fs.rename(&self.paths.part, &self.paths.sealed))
            .map_err(refusal)?;
        *self.state = State::Sealed {
            size,
            touched: open.touched,
            durable: false,
        };
        Ok(())
    }

    pub(super) fn sealed(&mut self, fs: &dyn Fs) -> Result<PathBuf, ChunkError> {
        self.settle(fs)?;
        match *self.state {
            State::Sealed { .. } => Ok(self.path()),
            _ => Err(ChunkError::NotFound(self.upload)),
        }
    }

    /// Where the bytes are once it is sealed.
    pub(super) fn path(&self) -> PathBuf {
        self.paths.sealed.clone()
    }

    pub(super) fn stat(&mut self, fs: &dyn Fs) -> Result<CachedUpload, ChunkError> {
        self.settle(fs)?;
        self.known().ok_or(ChunkError::NotFound(self.upload))
    }

    /// How it stands, if that can be told without the disk.
    pub(super) fn known(&self) -> Option<CachedUpload> {
        let (held, sealed, touched) = match &*self.state {
            State::Open(open) => (open.part.held(), false, open.touched),
            State::Sealed {
                size,
                touched,
                durable: true,
            } => (*size, true, *touched),
            State::Absent | State::Found { .. } | State::Sealed { .. } => return None,
        };
        Some(CachedUpload {
            upload: self.upload,
            held,
            sealed,
            touched,
        })
    }

    /// How the upload stands as far as that is known without verifying it: what was found at start may hold less than it claims.
    pub(super) fn glance(&mut self, fs: &dyn Fs) -> Result<CachedUpload, ChunkError> {
        let State::Found { claimed, .. } = *self.state else {
            return self.stat(fs);
        };
        let touched = fs.metadata(&self.paths.part).map_err(refusal)?.modified;
        Ok(CachedUpload {
            upload: self.upload,
            held: claimed,
            sealed: false,
            touched,
        })
    }

    /// The open file of the bytes, of which `range` is held.
    pub(super) fn read(
        &mut self,
        fs: &dyn Fs,
        range: &Range<u64>,
    ) -> Result<Arc<dyn File>, ChunkError> {
        let CachedUpload { held, sealed, .. } = self.stat(fs)?;
        if range.end > held {
            return Err(ChunkError::OutOfOrder { expected: held });
        }
        if let State::Open(open) = &mut *self.state {
            open.make(fs, &self.inner, self.upload, &self.paths)?;
        }
        let path = if sealed {
            &self.paths.sealed
        } else {
            &self.paths.part
        };
        fs.open(path, Access::Read).map(Arc::from).map_err(refusal)
    }

    pub(super) fn remove(&mut self, fs: &dyn Fs) -> Result<(), ChunkError> {
        let (held, reserved, content) = match &*self.state {
            State::Absent => return Ok(()),
            State::Found { size, claimed, .. } => (*claimed, size - claimed, &self.paths.part),
            State::Open(open) => (
                open.part.held(),
                open.part.size() - open.part.held(),
                &self.paths.part,
            ),
            State::Sealed { size, .. } => (*size, 0, &self.paths.sealed),
        };
        remove_if_there(fs, content).map_err(refusal)?;
        *self.state = State::Absent;
        self.inner.room.release(held, reserved);
        Ok(())
    }

    /// Verifies what was found at start, and makes a seal survive a power cut that was not known to.
    fn settle(&mut self, fs: &dyn Fs) -> Result<(), ChunkError> {
        match &mut *self.state {
            State::Found { size, slot, .. } => {
                let path = &self.paths.part;
                let touched = fs.metadata(path).map_err(refusal)?.modified;
                let held = part::recover(fs, path, *size, slot).map_err(refusal)?;
                self.take_up(held, touched);
            }
            State::Sealed { durable, .. } if !*durable => {
                self.inner.shards.sync(fs, self.upload).map_err(refusal)?;
                *durable = true;
            }
            State::Absent | State::Open(_) | State::Sealed { .. } => {}
        }
        Ok(())
    }

    /// Goes on with what was found at start, of which `held` has proved to be there.
    fn take_up(&mut self, held: part::Held, touched: SystemTime) {
        let before = std::mem::replace(&mut *self.state, State::Absent);
        if let State::Found {
            size,
            claimed,
            slot,
        } = before
        {
            let part = Part::found(self.upload, size, slot, held);
            self.inner.room.moved(claimed, part.held());
            *self.state = State::Open(Open {
                part,
                generation: self.inner.era,
                touched,
            });
        }
    }
}

/// What is not there takes no place in the map either, however the work on it ended.
impl Drop for Locked {
    fn drop(&mut self) {
        if matches!(*self.state, State::Absent) {
            let mut uploads = self
                .inner
                .uploads
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if uploads
                .get(&self.upload)
                .is_some_and(|slot| Arc::ptr_eq(slot, self.slot()))
            {
                uploads.remove(&self.upload);
            }
        }
    }
}

/// The upload, if `generation` is the one that holds it.
fn held_by(upload: UploadId, state: &mut State, generation: u64) -> Result<&mut Open, ChunkError> {
    match state {
        State::Open(open) if open.generation == generation => Ok(open),
        // Nobody holds yet what was found at start.
        State::Open(_) | State::Found { .. } => Err(ChunkError::Superseded { upload }),
        State::Sealed { .. } => Err(ChunkError::Sealed(upload)),
        State::Absent => Err(ChunkError::NotFound(upload)),
    }
}

pub(super) fn refusal(error: io::Error) -> ChunkError {
    if crate::fs::is_full(&error) {
        ChunkError::Full(error.to_string())
    } else {
        ChunkError::Unavailable(error.to_string())
    }
}
