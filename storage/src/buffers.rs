//! Aligned buffers of one size, used again while there is work for them, and given back to the system when there is not.

use bytes::Bytes;
use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

/// How often buffers are given back that nobody needed since the time before.
const TRIM_INTERVAL: Duration = if cfg!(test) {
    Duration::from_millis(100)
} else {
    Duration::from_secs(2)
};

/// The buffers. Clones share them.
#[derive(Clone)]
pub(crate) struct Buffers(Arc<Shared>);

struct Shared {
    /// Length of a buffer in bytes.
    len: usize,
    /// What its beginning is a multiple of.
    alignment: usize,
    free: Mutex<Free>,
}

#[derive(Default)]
struct Free {
    buffers: Vec<Vec<u8>>,
    taken: usize,
    /// The fewest that were free since the last trimming: so many were not needed.
    spare: usize,
    /// Whether a task trims.
    trimmed: bool,
}

/// A buffer, which returns when it is dropped. What is in it at first is not defined.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// Where the aligned bytes begin.
    start: usize,
    home: Buffers,
}

impl Buffers {
    /// Makes none yet.
    pub(crate) fn new(len: usize, alignment: usize) -> Self {
        Self(Arc::new(Shared {
            len,
            alignment,
            free: Mutex::default(),
        }))
    }

    pub(crate) fn take(&self) -> Buffer {
        let free = {
            let mut free = self.0.free();
            let taken = free.buffers.pop();
            free.spare = free.spare.min(free.buffers.len());
            free.taken += 1;
            taken
        };
        // The slack is what lets the aligned bytes begin anywhere in the first part.
        let bytes = free.unwrap_or_else(|| vec![0; self.0.len + self.0.alignment]);
        Buffer {
            start: bytes.as_ptr().align_offset(self.0.alignment),
            bytes,
            home: self.clone(),
        }
    }

    /// How many are taken.
    pub(crate) fn in_use(&self) -> usize {
        self.0.free().taken
    }

    fn give_back(&self, bytes: Vec<u8>) {
        let mut free = self.0.free();
        free.taken -= 1;
        // Without a runtime nobody would trim.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        free.buffers.push(bytes);
        if !free.trimmed {
            free.trimmed = true;
            drop(free);
            runtime.spawn(trim(Arc::downgrade(&self.0)));
        }
    }
}

/// Gives back what is not needed, until nothing is left.
async fn trim(shared: Weak<Shared>) {
    let mut unfinished = Unfinished(shared);
    loop {
        tokio::time::sleep(TRIM_INTERVAL).await;
        let Some(shared) = unfinished.0.upgrade() else {
            return;
        };
        let mut free = shared.free();
        let spare = free.spare.min(free.buffers.len());
        // The last ones were used last.
        let unused: Vec<_> = free.buffers.drain(..spare).collect();
        free.spare = free.buffers.len();
        if free.buffers.is_empty() {
            free.buffers = Vec::new();
            free.trimmed = false;
            unfinished.0 = Weak::new();
            return;
        }
        drop(free);
        drop(unused);
    }
}

/// Says that nobody trims any more when the task ends early, as it does with its runtime.
struct Unfinished(Weak<Shared>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.free().trimmed = false;
        }
    }
}

impl Shared {
    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    /// The first `len` bytes, which return the buffer when the last of them is dropped.
    pub(crate) fn into_bytes(self, len: usize) -> Bytes {
        Bytes::from_owner(self).slice(..len)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.home.0.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.home.0.len]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(buffers: &Buffers) -> usize {
        buffers.0.free().buffers.len()
    }

    #[tokio::test]
    async fn buffers_are_aligned_and_used_again() {
        let buffers = Buffers::new(8192, 4096);
        let taken: Vec<_> = (0..4).map(|_| buffers.take()).collect();
        for buffer in &taken {
            assert_eq!(
                (buffer.len(), buffer.as_ptr().align_offset(4096)),
                (8192, 0)
            );
        }
        drop(taken);
        assert_eq!(free(&buffers), 4);
        let mut again = buffers.take();
        again[..2].copy_from_slice(b"ab");
        let bytes = again.into_bytes(2);
        assert_eq!((&bytes[..], free(&buffers)), (&b"ab"[..], 3));
        drop(bytes);
        assert_eq!(free(&buffers), 4);
    }

    /// Waits until so many are free.
    async fn until_free(buffers: &Buffers, number: usize) {
        let waited = tokio::time::timeout(TRIM_INTERVAL * 50, async {
            while free(buffers) != number {
                tokio::time::sleep(TRIM_INTERVAL / 4).await;
            }
        });
        waited.await.expect("they are given back in time");
    }

    #[tokio::test]
    async fn what_nobody_needs_is_given_back() {
        let buffers = Buffers::new(64, 64);
        for _ in 0..2 {
            drop((0..4).map(|_| buffers.take()).collect::<Vec<_>>());
            assert_eq!(free(&buffers), 4);
            until_free(&buffers, 0).await;
        }
    }
}
