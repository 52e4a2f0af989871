//! The sidecar of an upload being written: a header with the announced size, then records of which bytes are held.
//!
//! ```text
//! header  0..8 magic   8..16 size   16..20 CRC-32C of both   20..32 zeros
//! record  0..8 end of the bytes it covers   8..12 their CRC-32C   12..16 CRC-32C of the record's number and both
//! ```
//!
//! A record covers the bytes from where the record before it ends. All numbers are little-endian. Records are aligned to
//! their size, so that none lies across two pages or sectors: a record is written whole or not at all.

use crate::fs::{File, read_full};
use std::io::{self, IoSlice};

/// Length of the header in bytes.
pub(super) const HEADER: u64 = 32;

/// Length of a record in bytes.
pub(super) const RECORD: u64 = 16;

/// Records read at once.
const BATCH: usize = 4096;

const MAGIC: [u8; 8] = *b"SLUICE01";

/// What one record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Where the bytes it covers end.
    pub(super) end: u64,
    /// Their CRC-32C.
    pub(super) crc: u32,
}

/// Writes the header.
pub(super) fn write_header(file: &dyn File, size: u64) -> io::Result<()> {
    let mut header = [0; HEADER as usize];
    header[..8].copy_from_slice(&MAGIC);
    header[8..16].copy_from_slice(&size.to_le_bytes());
    let check = crc32c::crc32c(&header[..16]);
    header[16..20].copy_from_slice(&check.to_le_bytes());
    file.write_at(&mut [IoSlice::new(&header)], 0)
}

/// The announced size; none if the header is not whole.
pub(super) fn read_header(file: &dyn File) -> io::Result<Option<u64>> {
    let mut header = [0; HEADER as usize];
    let read = read_full(file, &mut header, 0)?;
    let whole = read == header.len()
        && header[..8] == MAGIC
        && u32_at(&header, 16) == crc32c::crc32c(&header[..16]);
    Ok(whole.then(|| u64_at(&header, 8)))
}

/// Writes record number `index`.
pub(super) fn write_record(file: &dyn File, index: u64, record: Record) -> io::Result<()> {
    file.write_at(
        &mut [IoSlice::new(&encode(index, record))],
        HEADER + index * RECORD,
    )
}

/// Where the last whole record says that the held bytes end, without looking at the bytes or at the records before it.
pub(super) fn claimed(file: &dyn File) -> io::Result<u64> {
    let mut index = file.len()?.saturating_sub(HEADER) / RECORD;
    while index > 0 {
        index -= 1;
        let mut bytes = [0; RECORD as usize];
        read_full(file, &mut bytes, HEADER + index * RECORD)?;
        if let Some(record) = decode(index, &bytes) {
            return Ok(record.end);
        }
    }
    Ok(0)
}

/// The records from the first on, up to the first that is not whole.
pub(super) struct Records<'a> {
    file: &'a dyn File,
    index: u64,
    buffer: Vec<u8>,
    position: usize,
}

impl<'a> Records<'a> {
    pub(super) fn new(file: &'a dyn File) -> Self {
        Self {
            file,
            index: 0,
            buffer: Vec::new(),
            position: 0,
        }
    }

    /// The next record; none at the end of the whole ones.
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        if self.position == self.buffer.len() {
            self.fill()?;
        }
        let Some(bytes) = self.buffer[self.position..].first_chunk() else {
            return Ok(None);
        };
        let record = decode(self.index, bytes);
        if record.is_some() {
            self.index += 1;
            self.position += RECORD as usize;
        }
        Ok(record)
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.resize(BATCH * RECORD as usize, 0);
        let read = read_full(self.file, &mut self.buffer, HEADER + self.index * RECORD)?;
        self.buffer.truncate(read - read % RECORD as usize);
        self.position = 0;
        Ok(())
    }
}

fn encode(index: u64, record: Record) -> [u8; RECORD as usize] {
    let mut bytes = [0; RECORD as usize];
    bytes[..8].copy_from_slice(&record.end.to_le_bytes());
    bytes[8..12].copy_from_slice(&record.crc.to_le_bytes());
    let check = check(index, &bytes);
    bytes[12..].copy_from_slice(&check.to_le_bytes());
    bytes
}

fn decode(index: u64, bytes: &[u8; RECORD as usize]) -> Option<Record> {
    let record = Record {
        end: u64_at(bytes, 0),
        crc: u32_at(bytes, 8),
    };
    (record.end > 0 && u32_at(bytes, 12) == check(index, bytes)).then_some(record)
}

/// The number takes part so that a record at a wrong place is not believed.
fn check(index: u64, record: &[u8; RECORD as usize]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&index.to_le_bytes()), &record[..12])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..]
        .first_chunk()
        .copied()
        .map_or(0, u64::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..]
        .first_chunk()
        .copied()
        .map_or(0, u32::from_le_bytes)
}
