//! Memory that `O_DIRECT` takes: its address is a multiple of a block.

/// What addresses, lengths and offsets of direct I/O are multiples of.
pub(super) const BLOCK: usize = 4096;

/// A buffer for a batch of chunks, used again and again.
#[derive(Debug)]
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
        self.memory.len() - BLOCK
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
}
