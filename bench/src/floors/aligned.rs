//! Memory that `O_DIRECT` takes: its address is a multiple of a block. Buffers are few and used again: fresh memory costs more than
//! waiting for one's turn.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Condvar, Mutex, PoisonError},
};

/// What addresses, lengths and offsets of direct I/O are multiples of.
pub(super) const BLOCK: usize = 4096;

/// A buffer for a batch of chunks.
#[derive(Debug, Default)]
pub(super) struct Aligned {
    memory: Vec<u8>,
    start: usize,
    /// Bytes in use.
    pub(super) len: usize,
}

impl Aligned {
    /// Room for so many bytes, a multiple of a block.
    pub(super) fn new(capacity: usize) -> Self {
        let memory = vec![0; capacity + BLOCK];
        let start = memory.as_ptr().align_offset(BLOCK);
        Self {
            memory,
            start,
            len: 0,
        }
    }

    fn end(&self) -> usize {
        self.start + self.capacity()
    }

    pub(super) fn capacity(&self) -> usize {
        self.memory.len().saturating_sub(BLOCK)
    }

    /// The bytes in use.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    /// What is not in use.
    pub(super) fn room(&mut self) -> &mut [u8] {
        let end = self.end();
        &mut self.memory[self.start + self.len..end]
    }

    /// The bytes in use, with zeros up to a whole block.
    pub(super) fn blocks(&mut self) -> &[u8] {
        let whole = self.len.next_multiple_of(BLOCK);
        self.memory[self.start + self.len..self.start + whole].fill(0);
        &self.memory[self.start..self.start + whole]
    }
}

/// Buffers that connections take turns with.
#[derive(Debug)]
pub(super) struct Pool {
    state: Mutex<Stock>,
    given_back: Condvar,
    capacity: usize,
}

#[derive(Debug)]
struct Stock {
    free: Vec<Aligned>,
    /// How many more may be made.
    room: usize,
}

impl Pool {
    /// At most so many buffers of so many bytes.
    pub(super) fn new(buffers: usize, capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(Stock {
                free: Vec::new(),
                room: buffers,
            }),
            given_back: Condvar::new(),
            capacity,
        })
    }

    /// Waits for a buffer. It comes back when dropped.
    pub(super) fn take(self: &Arc<Self>) -> Lent {
        let stock = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = |stock: &mut Stock| stock.free.is_empty() && stock.room == 0;
        let stock = self.given_back.wait_while(stock, empty);
        let mut stock = stock.unwrap_or_else(PoisonError::into_inner);
        let buffer = stock.free.pop().unwrap_or_else(|| {
            stock.room -= 1;
            Aligned::new(self.capacity)
        });
        Lent {
            buffer,
            pool: self.clone(),
        }
    }
}

/// A buffer of a pool.
#[derive(Debug)]
pub(super) struct Lent {
    buffer: Aligned,
    pool: Arc<Pool>,
}

impl Deref for Lent {
    type Target = Aligned;

    fn deref(&self) -> &Aligned {
        &self.buffer
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Aligned {
        &mut self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.len = 0;
        let mut stock = self
            .pool
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        stock.free.push(buffer);
        drop(stock);
        self.pool.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_whole_and_end_with_zeros() {
        let mut buffer = Aligned::new(2 * BLOCK);
        buffer.room().fill(7);
        buffer.len = 5000;
        assert_eq!(buffer.room().len(), 2 * BLOCK - 5000);
        let blocks = buffer.blocks();
        assert_eq!(blocks.as_ptr().align_offset(BLOCK), 0);
        assert_eq!((blocks.len(), blocks[4999], blocks[5000]), (8192, 7, 0));
    }
    #[test]
    fn a_buffer_comes_back() {
        let pool = Pool::new(1, BLOCK);
        let mut lent = pool.take();
        lent.len = 9;
        let address = lent.bytes().as_ptr();
        let other = std::thread::spawn(move || {
            let lent = pool.take();
            (lent.bytes().as_ptr() as usize, lent.len)
        });
        drop(lent);
        assert_eq!(other.join().unwrap(), (address as usize, 0));
    }
}
