//! The bytes of an upload being written: the one place that writes, verifies and syncs them.

use super::sidecar::{self, HEADER, RECORD, Record, Records};
use crate::fs::{Access, File, Fs, read_full, remove_if_there};
use bytes::Bytes;
use std::{
    io::{self, IoSlice},
    path::PathBuf,
    sync::Arc,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A record is extended until it covers this many bytes, so that small appends can't make the sidecar large.
const RECORD_COVERS: u64 = 64 * 1024;

/// Bytes verified at once.
const VERIFY: usize = 256 * 1024;

/// Where the files of an upload are.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    /// The bytes while they are being written.
    pub(super) part: PathBuf,
    /// Which of them are held.
    pub(super) sidecar: PathBuf,
    /// The bytes once all are held and synced.
    pub(super) sealed: PathBuf,
}

/// An upload being written.
pub(super) struct Part {
    size: u64,
    held: u64,
    /// Records written.
    records: u64,
    /// Where the last record begins, and what it says.
    last: Option<(u64, Record)>,
    files: Option<Files>,
}

struct Files {
    part: Box<dyn File>,
    sidecar: Box<dyn File>,
    /// The right to keep them open between appends.
    _slot: Option<OwnedSemaphorePermit>,
}

impl Part {
    /// Makes the files of an upload of `size` bytes.
    pub(super) fn create(fs: &dyn Fs, paths: &Paths, size: u64) -> io::Result<Self> {
        let made = fs.open(&paths.part, Access::Create).and_then(|_| {
            let sidecar = fs.open(&paths.sidecar, Access::Create)?;
            sidecar::write_header(&*sidecar, size)
        });
        if let Err(error) = made {
            // Without a whole header they are no upload, and the next start sweeps them.
            let _ = remove_if_there(fs, &paths.part);
            let _ = remove_if_there(fs, &paths.sidecar);
            return Err(error);
        }
        Ok(Self {
            size,
            held: 0,
            records: 0,
            last: None,
            files: None,
        })
    }

    /// Finds the longest prefix whose records verify, and cuts off what lies beyond it.
    pub(super) fn recover(fs: &dyn Fs, paths: &Paths, size: u64) -> io::Result<Self> {
        let part = fs.open(&paths.part, Access::Write)?;
        let sidecar = fs.open(&paths.sidecar, Access::Write)?;
        let mut this = Self {
            size,
            held: 0,
            records: 0,
            last: None,
            files: None,
        };
        let mut records = Records::new(&*sidecar);
        while let Some(record) = records.next()? {
            let follows = this.held < record.end && record.end <= size;
            if !follows || crc_of(&*part, this.held, record.end)? != Some(record.crc) {
                break;
            }
            this.last = Some((this.held, record));
            this.held = record.end;
            this.records += 1;
        }
        if part.len()? != this.held {
            part.set_len(this.held)?;
        }
        let end = HEADER + this.records * RECORD;
        if sidecar.len()? != end {
            sidecar.set_len(end)?;
        }
        Ok(this)
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// Adds `parts`; first the bytes, then the record that makes them count. An error leaves what is held as it was, and
    /// the next append writes over what this one left. The caller has checked that they fit.
    pub(super) fn append(
        &mut self,
        fs: &dyn Fs,
        paths: &Paths,
        parts: &[Bytes],
        slots: &Arc<Semaphore>,
    ) -> io::Result<()> {
        let length: u64 = parts.iter().map(|part| part.len() as u64).sum();
        if length == 0 {
            return Ok(());
        }
        let files = match self.files.take() {
            Some(files) => files,
            None => Files::open(fs, paths, slots)?,
        };
        let written = self.write(&files, parts, length);
        if files._slot.is_some() && written.is_ok() {
            self.files = Some(files);
        }
        written
    }

    fn write(&mut self, files: &Files, parts: &[Bytes], length: u64) -> io::Result<()> {
        let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        files.part.write_at(&mut slices, self.held)?;

        let end = self.held + length;
        let extended = self.last.filter(|(start, _)| end - start <= RECORD_COVERS);
        let (index, start, crc) = match extended {
            Some((start, record)) => (self.records - 1, start, record.crc),
            None => (self.records, self.held, 0),
        };
        let crc = parts
            .iter()
            .fold(crc, |crc, part| crc32c::crc32c_append(crc, part));
        let record = Record { end, crc };
        sidecar::write_record(&*files.sidecar, index, record)?;

        self.held = end;
        self.records = index + 1;
        self.last = Some((start, record));
        Ok(())
    }

    /// Makes the held bytes survive a power cut. If that fails they are no longer held: the operating system may have
    /// dropped some of them and would call a second try a success.
    pub(super) fn sync(&mut self, fs: &dyn Fs, paths: &Paths) -> io::Result<()> {
        let kept = self.files.take();
        let file = match &kept {
            Some(files) => &files.part,
            None => &fs.open(&paths.part, Access::Write)?,
        };
        let synced = file.sync_data();
        if synced.is_err() {
            self.distrust(fs, paths);
        }
        synced
    }

    fn distrust(&mut self, fs: &dyn Fs, paths: &Paths) {
        self.held = 0;
        self.records = 0;
        self.last = None;
        let emptied = fs
            .open(&paths.sidecar, Access::Write)
            .and_then(|sidecar| sidecar.set_len(HEADER));
        let emptied = emptied.and_then(|()| fs.open(&paths.part, Access::Write)?.set_len(0));
        if let Err(error) = emptied {
            tracing::warn!(path = %paths.part.display(), %error, "could not empty an upload that could not be synced");
        }
    }
}

impl Files {
    fn open(fs: &dyn Fs, paths: &Paths, slots: &Arc<Semaphore>) -> io::Result<Self> {
        Ok(Self {
            part: fs.open(&paths.part, Access::Write)?,
            sidecar: fs.open(&paths.sidecar, Access::Write)?,
            _slot: Arc::clone(slots).try_acquire_owned().ok(),
        })
    }
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
