//! Appending past the page cache: what is aligned goes straight from the caller's memory, anything else by way of a buffer.
//!
//! A file ends in a whole block then, padded with zeros, until the upload is sealed. The bytes of that block that count are the
//! tail: the next append writes them once more, with its own behind them.

use crate::{
    buffers::Buffers,
    chunks::Piece,
    fs::{BLOCK, File, is_aligned},
};
use std::io::{self, IoSlice};

/// The bytes held behind the last whole block.
pub(super) type Tail = Vec<u8>;

/// Writes `parts` behind the tail, which begins at `start`; answers the new tail.
pub(super) fn append(
    file: &dyn File,
    buffers: &Buffers,
    (start, tail): (u64, &[u8]),
    parts: &[Piece],
) -> io::Result<Tail> {
    match parts.split_last() {
        Some((last, before)) if tail.is_empty() => {
            let (blocks, rest) = last.split_at(last.len() - last.len() % BLOCK);
            if is_aligned(before, start) && is_aligned(&[blocks], start) {
                let parts = before.iter().map(|part| &part[..]).chain([blocks]);
                return straight(file, buffers, start, parts.collect(), rest);
            }
        }
        _ => {}
    }
    staged(file, buffers, (start, tail), parts)
}

/// Writes whole blocks from where they are, and what is left behind them padded to another one.
fn straight(
    file: &dyn File,
    buffers: &Buffers,
    start: u64,
    blocks: Vec<&[u8]>,
    rest: &[u8],
) -> io::Result<Tail> {
    let mut end = (!rest.is_empty()).then(|| buffers.take());
    if let Some(end) = &mut end {
        end[..rest.len()].copy_from_slice(rest);
        end[rest.len()..BLOCK].fill(0);
    }
    let blocks = blocks
        .into_iter()
        .chain(end.as_ref().map(|end| &end[..BLOCK]));
    file.write_at(&mut blocks.map(IoSlice::new).collect::<Vec<_>>(), start)?;
    Ok(rest.to_vec())
}

/// Copies everything into a buffer, which is written whenever it is full.
fn staged(
    file: &dyn File,
    buffers: &Buffers,
    (start, tail): (u64, &[u8]),
    parts: &[Piece],
) -> io::Result<Tail> {
    let mut buffer = buffers.take();
    let (mut at, mut filled) = (start, tail.len());
    buffer[..filled].copy_from_slice(tail);
    for part in parts {
        let mut left = &part[..];
        while !left.is_empty() {
            let (now, later) = left.split_at(left.len().min(buffer.len() - filled));
            buffer[filled..filled + now.len()].copy_from_slice(now);
            filled += now.len();
            left = later;
            if filled == buffer.len() {
                file.write_at(&mut [IoSlice::new(&buffer)], at)?;
                at += filled as u64;
                filled = 0;
            }
        }
    }
    let padded = filled.next_multiple_of(BLOCK);
    buffer[filled..padded].fill(0);
    if padded > 0 {
        file.write_at(&mut [IoSlice::new(&buffer[..padded])], at)?;
    }
    Ok(buffer[filled - filled % BLOCK..filled].to_vec())
}
