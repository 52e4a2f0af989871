//! The bytes of an upload being written: the one place that writes, verifies and syncs them.

use super::{
    direct::{self, Tail},
    records::{CAPACITY, Record, Slot},
};
use crate::{
    buffers::Buffers,
    chunks::Piece,
    fs::{Access, BLOCK, File, Fs, read_full},
};
use protocol::UploadId;
use std::{
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A record is extended until it covers this many bytes, or more if the slot has too little room for an upload of its size.
const RECORD_COVERS: u64 = 64 * 1024;

/// Smaller uploads go through the page cache: that takes no longer, and an odd end costs less there.
const DIRECT_FROM: u64 = 64 * 1024;

/// Bytes verified at once.
const VERIFY: usize = 256 * 1024;

/// Where the bytes of an upload are.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    /// While they are being written.
    pub(super) part: PathBuf,
    /// Once all are held and synced.
    pub(super) sealed: PathBuf,
}

/// What the uploads of a cache share.
pub(super) struct Means {
    /// Rights to keep an upload's file open between appends.
    pub(super) kept_open: Arc<Semaphore>,
    /// To write past the page cache with; none if all goes through it.
    pub(super) buffers: Option<Buffers>,
}

/// An upload being written. Its file is made by what is first written to it: opening an upload costs nothing on the disk.
pub(super) struct Part {
    upload: UploadId,
    size: u64,
    slot: Slot,
    /// Whether the file is there.
    made: bool,
    held: Held,
    open: Option<Open>,
}

/// What is held.
#[derive(Clone, Copy, Default)]
pub(super) struct Held {
    bytes: u64,
    /// Records written.
    records: u64,
    /// Where the last record begins, and what it says.
    last: Option<(u64, Record)>,
}

/// The file, open for writing.
struct Open {
    file: Box<dyn File>,
    /// What writes past the page cache need.
    direct: Option<(Buffers, Tail)>,
    /// The right to keep it open between appends.
    kept: Option<OwnedSemaphorePermit>,
}

impl Part {
    /// An upload of which nothing is held.
    pub(super) fn new(upload: UploadId, size: u64, slot: Slot) -> Self {
        Self {
            upload,
            size,
            slot,
            made: false,
            held: Held::default(),
            open: None,
        }
    }

    /// An upload that was looked at by [`recover`].
    pub(super) fn found(upload: UploadId, size: u64, slot: Slot, held: Held) -> Self {
        Self {
            made: true,
            held,
            ..Self::new(upload, size, slot)
        }
    }

    /// Whether its file is there.
    pub(super) fn is_made(&self) -> bool {
        self.made
    }

    /// Makes the file of an upload of which nothing is held.
    pub(super) fn make(&mut self, fs: &dyn Fs, path: &Path, means: &Means) -> io::Result<()> {
        let open = self.open(fs, path, means)?;
        self.open = open.kept.is_some().then_some(open);
        Ok(())
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn held(&self) -> u64 {
        self.held.bytes
    }

    /// Adds `parts`; first the bytes, then the record that makes them count. An error leaves what is held as it was, and
    /// the next append writes over what this one left. The caller has checked that there is something and
    /// that it fits.
    pub(super) fn append(
        &mut self,
        fs: &dyn Fs,
        path: &Path,
        parts: &[Piece],
        means: &Means,
    ) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open(fs, path, means)?,
        };
        open.write(parts, self.held.bytes)?;
        self.held = self.record(parts)?;
        self.open = open.kept.is_some().then_some(open);
        Ok(())
    }

    /// Writes the records of bytes just written; answers what is held then.
    fn record(&self, parts: &[Piece]) -> io::Result<Held> {
        // Any two records that follow each other cover more than this, so that the slot has room for those of the whole upload.
        let covers = RECORD_COVERS.max(self.size.div_ceil(CAPACITY / 2));
        let mut held = self.held;
        let mut written = Vec::with_capacity(parts.len());
        let mut first = held.records;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            let end = held.bytes + part.len() as u64;
            match held.last.filter(|(start, _)| end - start <= covers) {
                Some((start, before)) => {
                    let crc = crc32c::crc32c_append(before.crc, part);
                    held.last = Some((start, Record { end, crc }));
                    // The record before is written once more, be it of this batch or not.
                    if written.pop().is_none() {
                        first -= 1;
                    }
                }
                None => {
                    let crc = part.crc();
                    held.last = Some((held.bytes, Record { end, crc }));
                    held.records += 1;
                }
            }
            held.bytes = end;
            written.extend(held.last.map(|(_, record)| record));
        }
        match first {
            0 => self.slot.begin(self.upload, self.size, &written)?,
            _ => self.slot.write(first, &written)?,
        }
        Ok(held)
    }

    /// Makes the held bytes survive a power cut, and the file end where they do. If syncing fails they are no longer held: the
    /// operating system may have dropped some of them and would call a second try a success.
    pub(super) fn sync(&mut self, fs: &dyn Fs, path: &Path) -> io::Result<()> {
        let file = match self.open.take() {
            Some(open) => open.file,
            None => fs.open(path, Access::Write)?,
        };
        if file.len()? != self.held.bytes {
            file.set_len(self.held.bytes)?;
        }
        let synced = file.sync_data();
        if synced.is_err() {
            self.distrust(fs, path);
        }
        synced
    }

    fn distrust(&mut self, fs: &dyn Fs, path: &Path) {
        self.held = Held::default();
        let emptied = self
            .slot
            .renew(self.upload, self.size)
            .and_then(|()| fs.open(path, Access::Write)?.set_len(0));
        if let Err(error) = emptied {
            tracing::warn!(path = %path.display(), %error, "could not empty an upload that could not be synced");
        }
    }

    /// Opens the file for writing through the page cache or past it, and makes it if it is not there.
    fn open(&mut self, fs: &dyn Fs, path: &Path, means: &Means) -> io::Result<Open> {
        let buffers = means.buffers.clone().filter(|_| self.size >= DIRECT_FROM);
        let direct = match buffers {
            Some(buffers) => Some((buffers, self.tail(fs, path)?)),
            None => None,
        };
        let access = match (self.made, direct.is_some()) {
            (true, true) => Access::WriteDirect,
            (true, false) => Access::Write,
            (false, true) => Access::CreateDirect,
            (false, false) => Access::Create,
        };
        let file = fs.open(path, access)?;
        self.made = true;
        Ok(Open {
            file,
            direct,
            kept: Arc::clone(&means.kept_open).try_acquire_owned().ok(),
        })
    }

    /// Reads what is held behind the last whole block.
    fn tail(&self, fs: &dyn Fs, path: &Path) -> io::Result<Tail> {
        let held = self.held.bytes;
        let odd = held % BLOCK as u64;
        let mut tail = vec![0; usize::try_from(odd).unwrap_or(BLOCK)];
        if odd > 0 {
            let file = fs.open(path, Access::Read)?;
            if read_full(&*file, &mut tail, held - odd)? < tail.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(tail)
    }
}

impl Open {
    /// Writes `parts` behind the bytes that are held.
    fn write(&mut self, parts: &[Piece], held: u64) -> io::Result<()> {
        match &mut self.direct {
            Some((buffers, tail)) => {
                let start = held - tail.len() as u64;
                *tail = direct::append(&*self.file, buffers, (start, tail), parts)?;
                Ok(())
            }
            None => {
                let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
                self.file.write_at(&mut slices, held)
            }
        }
    }
}

/// Finds the longest prefix whose records verify, and cuts off what lies beyond it.
pub(super) fn recover(fs: &dyn Fs, path: &Path, size: u64, slot: &Slot) -> io::Result<Held> {
    let file = fs.open(path, Access::Write)?;
    let mut held = Held::default();
    for record in slot.read()? {
        let follows = held.bytes < record.end && record.end <= size;
        if !follows || crc_of(&*file, held.bytes, record.end)? != Some(record.crc) {
            break;
        }
        held.last = Some((held.bytes, record));
        held.bytes = record.end;
        held.records += 1;
    }
    if file.len()? != held.bytes {
        file.set_len(held.bytes)?;
    }
    slot.cut(held.records)?;
    Ok(held)
}

/// The CRC-32C of the bytes from `start` to `end`; none if the file ends before.
fn crc_of(file: &dyn File, start: u64, end: u64) -> io::Result<Option<u32>> {
    let mut buffer = vec![0; VERIFY.min(usize::try_from(end - start).unwrap_or(VERIFY))];
    let (mut at, mut crc) = (start, 0);
    while at < end {
        let wanted = buffer
            .len()
            .min(usize::try_from(end - at).unwrap_or(VERIFY));
        if read_full(file, &mut buffer[..wanted], at)? < wanted {
            return Ok(None);
        }
        crc = crc32c::crc32c_append(crc, &buffer[..wanted]);
        at += wanted as u64;
    }
    Ok(Some(crc))
}
