//! Memory for messages on their way from the sockets to the chunk cache: buffers that are used again and again, and a bound on
//! all of them together.

use bytes::{Buf, Bytes, BytesMut};
use protocol::frame;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Where the payload of a chunk begins, so that it can be written past the page cache.
pub(crate) const ALIGNMENT: usize = 4096;

/// Bytes that may be read beyond the end of a message, with the same system call: most often the next message's header.
pub(crate) const AHEAD: usize = 512;

/// A message that is not larger needs no buffer of the pool.
pub(crate) const SMALL: usize = 16 << 10;

/// Messages of at most so much get a buffer of the smaller kind.
const MIDDLE: usize = (64 << 10) + frame::HEADER_LEN;

/// Buffers are made and let go of by slabs of about this size: memory of its own kind, which goes back to the system whole.
const SLAB_BYTES: usize = 2 << 20;

/// How long nothing of a slab is used before it is let go of.
const REST: Duration = Duration::from_secs(2);

/// Buffers for messages. Clones share them.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    /// Bytes that may still be handed out.
    window: Arc<Semaphore>,
    total: usize,
    /// What a buffer of each kind takes, by [`Kind`].
    strides: [usize; 2],
    slabs: Mutex<Vec<Slab>>,
    /// Counts the slabs that were made.
    next: Mutex<u64>,
}

/// A kind of buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Middle,
    Large,
}

/// Leave to hold so and so many bytes, given back when dropped.
pub(crate) struct Room(#[expect(dead_code, reason = "held, never read")] OwnedSemaphorePermit);

/// A buffer with the beginning of a message, or all of it.
pub(crate) struct Buffer {
    space: BytesMut,
    len: usize,
    slab: u64,
    pool: Pool,
    _room: Room,
}

struct Slab {
    id: u64,
    kind: Kind,
    idle: Vec<BytesMut>,
    used: usize,
    used_at: Instant,
}

impl Pool {
    /// A pool that hands out `total` bytes, in messages of at most `largest`.
    pub(crate) fn new(total: usize, largest: usize) -> Self {
        let stride = |message: usize| (message + AHEAD).next_multiple_of(ALIGNMENT);
        Self(Arc::new(Shared {
            window: Arc::new(Semaphore::new(total)),
            total,
            strides: [stride(MIDDLE), stride(largest.max(MIDDLE))],
            slabs: Mutex::default(),
            next: Mutex::default(),
        }))
    }

    /// The kind of buffer for a message of `len` bytes.
    pub(crate) fn kind_for(len: usize) -> Kind {
        if len <= MIDDLE {
            Kind::Middle
        } else {
            Kind::Large
        }
    }

    /// Bytes that a buffer of this kind takes.
    pub(crate) fn size_of(&self, kind: Kind) -> usize {
        self.0.strides[kind as usize]
    }

    /// Leave to hold `bytes`, or as many as there are in all, if nobody else is waiting for it.
    pub(crate) fn try_room(&self, bytes: usize) -> Option<Room> {
        let window = self.0.window.clone();
        let room = window.try_acquire_many_owned(self.permits(bytes));
        room.ok().map(Room)
    }

    /// The same, once there is room; who comes first is served first.
    pub(crate) async fn room(self, bytes: usize) -> Room {
        let window = self.0.window.clone();
        match window.acquire_many_owned(self.permits(bytes)).await {
            Ok(room) => Room(room),
            // Nobody closes the semaphore.
            Err(_closed) => std::future::pending().await,
        }
    }

    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.0.total)).unwrap_or(u32::MAX)
    }

    /// A buffer of a kind, for which there is room.
    pub(crate) fn buffer(&self, kind: Kind, room: Room) -> Buffer {
        let mut slabs = self.slabs();
        let fullest = slabs
            .iter_mut()
            .filter(|slab| slab.kind == kind && !slab.idle.is_empty())
            .max_by_key(|slab| slab.used);
        let (slab, space) = match fullest.and_then(|slab| Some((slab.id, slab.hand_out()?))) {
            Some(found) => found,
            None => self.grow(&mut slabs, kind),
        };
        Buffer {
            space,
            len: 0,
            slab,
            pool: self.clone(),
            _room: room,
        }
    }

    /// Makes a slab, in the place of those that nobody uses.
    fn grow(&self, slabs: &mut Vec<Slab>, kind: Kind) -> (u64, BytesMut) {
        slabs.retain(|slab| slab.used > 0);
        let mut next = self.0.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next += 1;
        let mut slab = Slab::new(*next, kind, self.size_of(kind));
        let space = slab.hand_out().unwrap_or_default();
        slabs.push(slab);
        (*next, space)
    }

    fn take_back(&self, id: u64, space: BytesMut) {
        if let Some(slab) = self.slabs().iter_mut().find(|slab| slab.id == id) {
            slab.idle.push(space);
            slab.used -= 1;
            slab.used_at = Instant::now();
        }
    }

    /// Lets go of memory that has not been used for a while, again and again.
    pub(crate) async fn keep_small(&self) {
        loop {
            tokio::time::sleep(REST / 2).await;
            self.let_go(REST);
        }
    }

    fn let_go(&self, rest: Duration) {
        let unused: Vec<Slab> = self
            .slabs()
            .extract_if(.., |slab| slab.used == 0 && slab.used_at.elapsed() >= rest)
            .collect();
        // Not under the lock: the system takes its time.
        drop(unused);
    }

    fn slabs(&self) -> MutexGuard<'_, Vec<Slab>> {
        self.0.slabs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A whole message that came in memory of its own.
    pub(crate) fn adopt(bytes: Vec<u8>, room: Room) -> Bytes {
        struct Adopted(
            Vec<u8>,
            #[expect(dead_code, reason = "held, never read")] Room,
        );
        impl AsRef<[u8]> for Adopted {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        Bytes::from_owner(Adopted(bytes, room))
    }
}

impl Slab {
    /// Buffers of `stride` bytes each; what comes behind a chunk's header begins at a multiple of [`ALIGNMENT`] in each of them.
    fn new(id: u64, kind: Kind, stride: usize) -> Self {
        let count = (SLAB_BYTES / stride).max(1);
        // The system gives pages of zeros when they are touched, not before.
        let mut memory = BytesMut::zeroed(count * stride + ALIGNMENT);
        let payload = memory.as_ptr().wrapping_add(frame::HEADER_LEN);
        memory.advance(payload.align_offset(ALIGNMENT));
        Self {
            id,
            kind,
            idle: (0..count).map(|_| memory.split_to(stride)).rev().collect(),
            used: 0,
            used_at: Instant::now(),
        }
    }

    fn hand_out(&mut self) -> Option<BytesMut> {
        let space = self.idle.pop()?;
        self.used += 1;
        Some(space)
    }
}

impl Buffer {
    /// Bytes of the message that are here.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.space[..self.len]
    }

    /// Room for what comes next: `wanted` bytes, or as many as fit.
    pub(crate) fn spare(&mut self, wanted: usize) -> &mut [u8] {
        let end = self.space.len().min(self.len.saturating_add(wanted));
        &mut self.space[self.len..end]
    }

    /// Makes the first `count` bytes of what is spare part of the message; answers them.
    pub(crate) fn fill(&mut self, count: usize) -> &mut [u8] {
        let from = self.len;
        self.len += count;
        &mut self.space[from..self.len]
    }

    /// The message, whole. The buffer goes back to the pool with the last of its slices.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool
            .take_back(self.slab, std::mem::take(&mut self.space));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: usize = 260 << 10;

    fn take(pool: &Pool, kind: Kind) -> Option<Buffer> {
        Some(pool.buffer(kind, pool.try_room(pool.size_of(kind))?))
    }

    #[test]
    fn payloads_are_aligned_and_buffers_do_not_overlap() {
        let pool = Pool::new(32 << 20, LARGEST);
        for kind in [Kind::Middle, Kind::Large] {
            let mut buffers: Vec<Buffer> = (0..40).filter_map(|_| take(&pool, kind)).collect();
            assert_eq!(buffers.len(), 40);
            for (number, buffer) in (0..).zip(&mut buffers) {
                let size = pool.size_of(kind);
                assert_eq!(buffer.spare(usize::MAX).len(), size);
                buffer.fill(size).fill(number);
            }
            for (number, buffer) in (0..).zip(buffers) {
                let message = buffer.freeze();
                let payload = message.slice(frame::HEADER_LEN..);
                assert_eq!(payload.as_ptr().align_offset(ALIGNMENT), 0);
                assert!(message.iter().all(|byte| *byte == number));
            }
        }
    }

    #[tokio::test]
    async fn who_comes_too_late_waits_until_others_give_back() {
        let largest = Pool::new(0, LARGEST).size_of(Kind::Large);
        let pool = Pool::new(2 * largest, LARGEST);
        let mut first = take(&pool, Kind::Large).expect("there is room");
        first.fill(10);
        let second = take(&pool, Kind::Large).expect("there is room");
        assert!(take(&pool, Kind::Large).is_none());
        let message = first.freeze();
        let mut waiting = std::pin::pin!(pool.clone().room(largest));
        assert!(futures::poll!(&mut waiting).is_pending());
        assert!(pool.try_room(1).is_none(), "no way past who waits");
        let slice = message.slice(5..6);
        drop(message);
        assert!(
            futures::poll!(&mut waiting).is_pending(),
            "some of it is left"
        );
        drop(slice);
        assert!(futures::poll!(&mut waiting).is_ready());
        drop(second);
        assert!(pool.try_room(largest).is_some());
    }

    #[test]
    fn a_message_larger_than_all_that_may_be_held_still_comes_through_alone() {
        let pool = Pool::new(100 << 10, LARGEST);
        let alone = take(&pool, Kind::Large);
        assert!(alone.is_some() && take(&pool, Kind::Large).is_none());
    }

    #[test]
    fn memory_is_used_again_and_let_go_of_at_rest() {
        let pool = Pool::new(32 << 20, LARGEST);
        let per_slab = SLAB_BYTES / pool.size_of(Kind::Large);
        for _ in 0..3 {
            let buffers: Vec<_> = (0..=per_slab)
                .filter_map(|_| take(&pool, Kind::Large))
                .collect();
            assert_eq!((buffers.len(), pool.slabs().len()), (per_slab + 1, 2));
        }
        pool.let_go(Duration::from_secs(3600));
        assert_eq!(pool.slabs().len(), 2);
        let used = take(&pool, Kind::Large);
        pool.let_go(Duration::ZERO);
        assert_eq!(pool.slabs().len(), 1);
        drop(used);
        let _other = take(&pool, Kind::Middle);
        assert_eq!(
            pool.slabs().len(),
            1,
            "one kind takes the place of the other"
        );
    }
}
