//! A file system that fails to order.

use super::Script;
use crate::fs::{Access, BLOCK, Entry, File, Fs, Metadata};
use std::{
    io::{self, IoSlice},
    path::Path,
    sync::Arc,
};

/// The operations of [`Fs`] and [`File`] that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FsCall {
    /// [`Fs::open`] for writing past the page cache, which then also counts as one of the next two.
    OpenDirect,
    /// [`Fs::open`] that makes the file.
    Create,
    /// [`Fs::open`] otherwise.
    Open,
    /// [`Fs::create_folder`].
    CreateFolder,
    /// [`Fs::rename`].
    Rename,
    /// [`Fs::hard_link`].
    HardLink,
    /// [`Fs::remove`].
    Remove,
    /// [`Fs::sync_folder`].
    SyncFolder,
    /// [`Fs::list`] and [`Fs::metadata`].
    Look,
    /// [`File::write_at`]: half of the bytes are written, then it fails.
    Write,
    /// [`File::read_at`].
    Read,
    /// [`File::set_len`].
    SetLen,
    /// [`File::sync_data`].
    SyncData,
    /// [`Fs::free_bytes`].
    FreeBytes,
}

/// A file system that fails to order. Gates have no effect on it.
pub struct FaultyFs {
    inner: Arc<dyn Fs>,
    script: Script<FsCall, io::Error>,
}

impl FaultyFs {
    /// Decorates a file system, without any fault yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Fs>) -> Self {
        Self {
            inner,
            script: Script::default(),
        }
    }

    /// What is to fail and what was called.
    #[must_use]
    pub fn script(&self) -> Script<FsCall, io::Error> {
        self.script.clone()
    }
}

impl Fs for FaultyFs {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        if access.is_direct() {
            self.script.count(FsCall::OpenDirect)?;
        }
        self.script.count(if access.creates() {
            FsCall::Create
        } else {
            FsCall::Open
        })?;
        let inner = self.inner.open(path, access)?;
        Ok(Box::new(FaultyFile {
            inner,
            is_direct: access.is_direct(),
            script: self.script.clone(),
        }))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.script.count(FsCall::CreateFolder)?;
        self.inner.create_folder(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.script.count(FsCall::Rename)?;
        self.inner.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.script.count(FsCall::HardLink)?;
        self.inner.hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.script.count(FsCall::Remove)?;
        self.inner.remove(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.script.count(FsCall::SyncFolder)?;
        self.inner.sync_folder(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.script.count(FsCall::Look)?;
        self.inner.list(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.script.count(FsCall::Look)?;
        self.inner.metadata(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.script.count(FsCall::FreeBytes)?;
        self.inner.free_bytes(path)
    }
}

struct FaultyFile {
    inner: Box<dyn File>,
    is_direct: bool,
    script: Script<FsCall, io::Error>,
}

impl File for FaultyFile {
    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        if let Err(error) = self.script.count(FsCall::Write) {
            self.inner.write_at(&mut self.half_of(parts), offset)?;
            return Err(error);
        }
        self.inner.write_at(parts, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.script.count(FsCall::Read)?;
        self.inner.read_at(buffer, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.script.count(FsCall::SetLen)?;
        self.inner.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.script.count(FsCall::SyncData)?;
        self.inner.sync_data()
    }
}

impl FaultyFile {
    /// About half of the bytes; whole blocks, if only such may be written.
    fn half_of<'a>(&self, parts: &'a [IoSlice<'_>]) -> Vec<IoSlice<'a>> {
        let mut left = parts.iter().map(|part| part.len()).sum::<usize>() / 2;
        if self.is_direct {
            left -= left % BLOCK;
        }
        let mut half = Vec::new();
        for part in parts {
            let taken = left.min(part.len());
            half.extend((taken > 0).then(|| IoSlice::new(&part[..taken])));
            left -= taken;
        }
        half
    }
}
