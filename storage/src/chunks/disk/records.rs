//! Which bytes of the uploads being written are held: one file of slots, a slot for each of them, so that no file is made and
//! removed for that.
//!
//! ```text
//! slot    4096 bytes: a header, then records
//! header  0..8 magic   8..24 upload   24..32 size   32..40 stamp   40..44 CRC-32C of all before   44..48 zeros
//! record  0..8 end of the bytes it covers   8..12 their CRC-32C   12..16 CRC-32C of stamp, the record's number and both
//! ```
//!
//! A record covers the bytes from where the record before it ends. All numbers are little-endian. Records are aligned to
//! their size, so that none lies across two pages or sectors: a record is written whole or not at all.
//!
//! A slot is used by one upload after the other. A stamp is never given twice, so that records of an earlier one are not
//! believed. Nothing is written when an upload ends: what a slot says of an upload whose bytes are gone counts for nothing.

use crate::fs::{Access, File, Fs, read_full};
use protocol::UploadId;
use std::{
    collections::{HashMap, HashSet},
    io::{self, IoSlice},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use uuid::Uuid;

const SLOT: usize = 4096;
const HEADER: usize = 48;
const RECORD: usize = 16;

/// Records that a slot has room for.
pub(super) const CAPACITY: u64 = ((SLOT - HEADER) / RECORD) as u64;

/// Slots read at once.
const BATCH: usize = 64;

const MAGIC: [u8; 8] = *b"SLUICE02";

/// What one record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Where the bytes it covers end.
    pub(super) end: u64,
    /// Their CRC-32C.
    pub(super) crc: u32,
}

/// The file.
pub(super) struct Records {
    file: Box<dyn File>,
    slots: Mutex<Slots>,
    /// The stamp that was given last.
    stamp: AtomicU64,
}

#[derive(Default)]
struct Slots {
    free: Vec<u32>,
    /// Slots that there are, free ones included.
    count: u32,
}

/// The slot of an upload, free again once this is dropped.
pub(super) struct Slot {
    records: Arc<Records>,
    number: u32,
    stamp: u64,
}

/// What a slot says at the start.
pub(super) struct Found {
    pub(super) size: u64,
    /// Where the last whole record says that the held bytes end; nobody has looked at the bytes or at the records before it.
    pub(super) claimed: u64,
    pub(super) slot: Slot,
}

/// A header.
#[derive(Clone, Copy)]
struct Header {
    upload: UploadId,
    size: u64,
    stamp: u64,
}

impl Records {
    /// Opens the file, made if it is not there, and finds what is in it. Stamps are given from `era` on.
    pub(super) fn open(
        fs: &dyn Fs,
        path: &Path,
        era: u64,
    ) -> io::Result<(Arc<Self>, HashMap<UploadId, Found>)> {
        let access = match fs.metadata(path) {
            Ok(_) => Access::Write,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Access::Create,
            Err(error) => return Err(error),
        };
        let file = fs.open(path, access)?;
        let (headers, count) = headers(&*file)?;
        let taken: HashSet<u32> = headers.values().map(|(number, ..)| *number).collect();
        let stamps = headers.values().map(|(_, header, _)| header.stamp);
        let records = Arc::new(Self {
            file,
            stamp: AtomicU64::new(stamps.max().unwrap_or_default().max(era)),
            slots: Mutex::new(Slots {
                free: (0..count)
                    .rev()
                    .filter(|slot| !taken.contains(slot))
                    .collect(),
                count,
            }),
        });
        let found = headers.into_values().map(|(number, header, claimed)| {
            let slot = Slot {
                records: Arc::clone(&records),
                number,
                stamp: header.stamp,
            };
            let found = Found {
                size: header.size,
                claimed,
                slot,
            };
            (header.upload, found)
        });
        let found = found.collect();
        Ok((records, found))
    }

    /// A slot for a new upload. It is the upload's on the disk once it has [begun](Slot::begin).
    pub(super) fn take(self: &Arc<Self>) -> Slot {
        let number = {
            let mut slots = self.slots();
            slots.free.pop().unwrap_or_else(|| {
                slots.count += 1;
                slots.count - 1
            })
        };
        Slot {
            records: Arc::clone(self),
            number,
            stamp: self.next_stamp(),
        }
    }

    fn next_stamp(&self) -> u64 {
        self.stamp.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Gives the file's room back if no slot is in use.
    pub(super) fn shrink(&self) -> io::Result<()> {
        let mut slots = self.slots();
        if slots.count == 0 || slots.free.len() < slots.count as usize {
            return Ok(());
        }
        *slots = Slots::default();
        self.file.set_len(0)
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Says that nothing is held.
    pub(super) fn renew(&mut self, upload: UploadId, size: u64) -> io::Result<()> {
        self.stamp = self.records.next_stamp();
        self.write_at(&self.header(upload, size), 0)
    }

    /// Says whose it is, and writes the first records.
    pub(super) fn begin(&self, upload: UploadId, size: u64, first: &[Record]) -> io::Result<()> {
        let mut bytes = self.header(upload, size).to_vec();
        bytes.extend(self.encoded(0, first));
        self.write_at(&bytes, 0)
    }

    fn header(&self, upload: UploadId, size: u64) -> [u8; HEADER] {
        let stamp = self.stamp;
        let header = Header {
            upload,
            size,
            stamp,
        };
        header.encode()
    }

    /// Writes records from number `index` on; all numbers are below [`CAPACITY`].
    pub(super) fn write(&self, index: u64, records: &[Record]) -> io::Result<()> {
        let bytes: Vec<u8> = self.encoded(index, records).collect();
        self.write_at(&bytes, place(index))
    }

    fn encoded(&self, index: u64, records: &[Record]) -> impl Iterator<Item = u8> {
        let stamp = self.stamp;
        (index..)
            .zip(records)
            .flat_map(move |(index, record)| encode(stamp, index, *record))
    }

    /// The records from the first on, up to the first that is not whole.
    pub(super) fn read(&self) -> io::Result<Vec<Record>> {
        let slot = self.content()?;
        Ok((0..CAPACITY)
            .map_while(|index| record(&slot, self.stamp, index))
            .collect())
    }

    /// Takes back record number `index` and all after it.
    pub(super) fn cut(&self, index: u64) -> io::Result<()> {
        let start = place(index);
        let rest = &self.content()?[start..];
        match rest.iter().rposition(|byte| *byte != 0) {
            Some(last) => self.write_at(&vec![0; last + 1], start),
            None => Ok(()),
        }
    }

    fn content(&self) -> io::Result<Vec<u8>> {
        let mut slot = vec![0; SLOT];
        read_full(&*self.records.file, &mut slot, start(self.number))?;
        Ok(slot)
    }

    fn write_at(&self, bytes: &[u8], at: usize) -> io::Result<()> {
        let offset = start(self.number) + at as u64;
        self.records
            .file
            .write_at(&mut [IoSlice::new(bytes)], offset)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.records.slots().free.push(self.number);
    }
}

/// The newest header of each upload with its slot and what is claimed there, and how many slots there are.
type Headers = HashMap<UploadId, (u32, Header, u64)>;

fn headers(file: &dyn File) -> io::Result<(Headers, u32)> {
    let mut headers = Headers::new();
    let count = file.len()?.div_ceil(SLOT as u64);
    let count = u32::try_from(count).map_err(io::Error::other)?;
    let mut batch = vec![0; SLOT * BATCH.min(count as usize)];
    for first in (0..count).step_by(BATCH) {
        let read = read_full(file, &mut batch, start(first))?;
        batch[read..].fill(0);
        for (number, slot) in (first..count).zip(batch.chunks_exact(SLOT)) {
            let Some(header) = Header::decode(slot) else {
                continue;
            };
            let newer = headers
                .get(&header.upload)
                .is_none_or(|(_, other, _)| other.stamp < header.stamp);
            if newer {
                headers.insert(header.upload, (number, header, claimed(slot, header.stamp)));
            }
        }
    }
    Ok((headers, count))
}

fn claimed(slot: &[u8], stamp: u64) -> u64 {
    let last = (0..CAPACITY)
        .rev()
        .find_map(|index| record(slot, stamp, index));
    last.map_or(0, |record| record.end)
}

/// Where a slot begins in the file.
fn start(number: u32) -> u64 {
    u64::from(number) * SLOT as u64
}

/// Where a record begins in its slot.
fn place(index: u64) -> usize {
    HEADER + usize::try_from(index).unwrap_or(usize::MAX) * RECORD
}

impl Header {
    fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..24].copy_from_slice(self.upload.0.as_bytes());
        bytes[24..32].copy_from_slice(&self.size.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.stamp.to_le_bytes());
        let check = crc32c::crc32c(&bytes[..40]);
        bytes[40..44].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    fn decode(slot: &[u8]) -> Option<Self> {
        let whole = slot[..8] == MAGIC && u32_at(slot, 40) == crc32c::crc32c(&slot[..40]);
        let upload = *slot[8..].first_chunk::<16>()?;
        whole.then(|| Self {
            upload: UploadId(Uuid::from_bytes(upload)),
            size: u64_at(slot, 24),
            stamp: u64_at(slot, 32),
        })
    }
}

fn encode(stamp: u64, index: u64, record: Record) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    bytes[..8].copy_from_slice(&record.end.to_le_bytes());
    bytes[8..12].copy_from_slice(&record.crc.to_le_bytes());
    let check = check(stamp, index, &bytes);
    bytes[12..].copy_from_slice(&check.to_le_bytes());
    bytes
}

fn record(slot: &[u8], stamp: u64, index: u64) -> Option<Record> {
    let bytes = slot[place(index)..].first_chunk::<RECORD>()?;
    let record = Record {
        end: u64_at(bytes, 0),
        crc: u32_at(bytes, 8),
    };
    (record.end > 0 && u32_at(bytes, 12) == check(stamp, index, bytes)).then_some(record)
}

/// The number takes part so that a record at a wrong place is not believed.
fn check(stamp: u64, index: u64, record: &[u8; RECORD]) -> u32 {
    let check = crc32c::crc32c(&stamp.to_le_bytes());
    let check = crc32c::crc32c_append(check, &index.to_le_bytes());
    crc32c::crc32c_append(check, &record[..12])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let found = bytes[at..].first_chunk().copied();
    found.map_or(0, u64::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let found = bytes[at..].first_chunk().copied();
    found.map_or(0, u32::from_le_bytes)
}
