//! Who was promised how much room.

use crate::chunks::{ChunkError, Usage};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long it is believed what the file system had left, less what was written since. Others may write, too: to know better
/// would not keep them from it.
const BELIEVED: Duration = Duration::from_secs(1);

/// The room of a cache: what is held, what is promised, and what more can be promised.
#[derive(Debug)]
pub(super) struct Room {
    /// Bytes that may be held and promised in all.
    max: u64,
    /// Bytes of the file system that stay free.
    min_free: u64,
    taken: Mutex<Taken>,
    free: Mutex<Option<Free>>,
}

/// What the file system had left.
#[derive(Clone, Copy, Debug)]
struct Free {
    bytes: u64,
    at: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    held: u64,
    reserved: u64,
}

impl Room {
    pub(super) fn new(max: Option<u64>, min_free: u64) -> Self {
        Self {
            max: max.unwrap_or(u64::MAX),
            min_free,
            taken: Mutex::default(),
            free: Mutex::default(),
        }
    }

    /// Promises `size` bytes, of which none is written yet, if what is known of the room is enough to do so.
    pub(super) fn reserve_at_once(&self, size: u64) -> bool {
        let known = *self.free();
        known
            .filter(|free| free.at.elapsed() < BELIEVED)
            .is_some_and(|free| self.promise(size, free.bytes).is_ok())
    }

    /// Promises `size` bytes, of which none is written yet. `free` is what the file system has left.
    pub(super) fn reserve(&self, size: u64, free: u64) -> Result<(), ChunkError> {
        *self.free() = Some(Free {
            bytes: free,
            at: Instant::now(),
        });
        self.promise(size, free)
    }

    fn promise(&self, size: u64, free: u64) -> Result<(), ChunkError> {
        if size > self.max {
            let max = self.max;
            return Err(ChunkError::TooLarge(format!(
                "the upload needs {size} bytes of {max} in all: raise max_bytes"
            )));
        }
        let mut taken = self.taken();
        let by_limit = self.by_limit(*taken);
        if size > by_limit {
            return Err(ChunkError::Busy(format!(
                "the upload needs {size} bytes and {by_limit} are left: wait until files are stored, or raise max_bytes"
            )));
        }
        let by_disk = self.by_disk(*taken, free);
        if size > by_disk {
            return Err(ChunkError::Full(format!(
                "the upload needs {size} bytes and the disk has {by_disk} left: free disk space"
            )));
        }
        taken.reserved += size;
        Ok(())
    }

    /// Counts an upload found at start.
    pub(super) fn found(&self, held: u64, reserved: u64) {
        let mut taken = self.taken();
        taken.held += held;
        taken.reserved += reserved;
    }

    /// Of an open upload, `before` bytes were held and now `after` are.
    pub(super) fn moved(&self, before: u64, after: u64) {
        let mut taken = self.taken();
        taken.held = taken.held + after - before;
        taken.reserved = taken.reserved + before - after;
        drop(taken);
        if let Some(free) = &mut *self.free() {
            free.bytes = free.bytes.saturating_sub(after.saturating_sub(before));
        }
    }

    /// An upload is gone that had `held` bytes and was promised `reserved` more.
    pub(super) fn release(&self, held: u64, reserved: u64) {
        let mut taken = self.taken();
        taken.held -= held;
        taken.reserved -= reserved;
    }

    pub(super) fn usage(&self, free: u64) -> Usage {
        let taken = *self.taken();
        Usage {
            held: taken.held,
            reserved: taken.reserved,
            available: self.by_limit(taken).min(self.by_disk(taken, free)),
        }
    }

    fn by_limit(&self, taken: Taken) -> u64 {
        self.max
            .saturating_sub(taken.held)
            .saturating_sub(taken.reserved)
    }

    /// Bytes held are no longer free on the disk; bytes promised still are, and belong to others.
    fn by_disk(&self, taken: Taken, free: u64) -> u64 {
        free.saturating_sub(self.min_free)
            .saturating_sub(taken.reserved)
    }

    fn free(&self) -> MutexGuard<'_, Option<Free>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
