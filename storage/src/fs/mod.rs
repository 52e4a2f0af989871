//! The file operations that the disk adapters use, as a port, so that tests can cut the power between any two of them.

mod folder;
#[cfg(feature = "testing")]
mod power_cut;
mod real;
mod worker;

pub(crate) use folder::{Folder, FolderLock, make_root};
#[cfg(feature = "testing")]
pub use power_cut::{PowerCut, Survives};
pub use real::Real;
pub(crate) use worker::{Stopped, Worker};

use std::{
    ffi::OsString,
    io::{self, IoSlice},
    ops::{Deref, Range},
    path::Path,
    time::SystemTime,
};

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing, without changing what is there.
    Write,
    /// Reading and writing; the file is made if it is not there, and emptied if it is.
    Create,
    /// Like [`Write`](Self::Write), but bytes go past the page cache, straight from the caller's memory: where they are in
    /// memory, where they go in the file and how many they are must each be a multiple of [`BLOCK`].
    WriteDirect,
    /// Like [`Create`](Self::Create), and writes as with [`WriteDirect`](Self::WriteDirect).
    CreateDirect,
}

impl Access {
    /// Whether the file is made, or emptied.
    #[must_use]
    pub fn creates(self) -> bool {
        matches!(self, Self::Create | Self::CreateDirect)
    }

    /// Whether writes go past the page cache.
    #[must_use]
    pub fn is_direct(self) -> bool {
        matches!(self, Self::WriteDirect | Self::CreateDirect)
    }
}

/// What writes past the page cache are aligned to: at least what any disk or file system asks for, and no more than a page.
pub const BLOCK: usize = 4096;

/// What is known of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Length in bytes.
    pub len: u64,
    /// When its content last changed.
    pub modified: SystemTime,
    /// When its content, names or attributes last changed.
    pub changed: SystemTime,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: OsString,
    /// Whether it names a folder.
    pub is_folder: bool,
}

/// An open file. All calls block.
pub trait File: Send + Sync {
    /// Writes all of `parts`, one after the other, at `offset`. After an error any part of it may have been written.
    ///
    /// # Errors
    /// Those of the operating system; [`io::ErrorKind::InvalidInput`] when the file was opened for writing past the page cache
    /// and something is not aligned.
    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Reads at most `buffer.len()` bytes at `offset`; 0 at the end of the file.
    ///
    /// # Errors
    /// Those of the operating system.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Reads as much of the same as is in memory, without waiting for the disk.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing of it is in memory, or that can't be known.
    fn read_cached(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let _ = (buffer, offset);
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Says that these bytes will be read soon, so that the disk may begin.
    fn will_need(&self, range: Range<u64>) {
        let _ = range;
    }

    /// Cuts the file to `len` bytes, or fills it with zeros up to there.
    ///
    /// # Errors
    /// Those of the operating system.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// Those of the operating system.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// Those of the operating system.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Makes the content survive a power cut. After an error the content must not be trusted, whatever a later call says:
    /// the operating system may have dropped what it could not write.
    ///
    /// # Errors
    /// Those of the operating system.
    fn sync_data(&self) -> io::Result<()>;
}

/// A file system. All calls block; a new name survives a power cut once its folder is synced.
pub trait Fs: Send + Sync + 'static {
    /// Opens a file.
    ///
    /// # Errors
    /// Those of the operating system; [`io::ErrorKind::InvalidInput`] or [`io::ErrorKind::Unsupported`] when it won't have writes
    /// past the page cache.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>>;

    /// Makes a folder.
    ///
    /// # Errors
    /// Those of the operating system; [`io::ErrorKind::AlreadyExists`] when it is there.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name, replacing what had it.
    ///
    /// # Errors
    /// Those of the operating system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name.
    ///
    /// # Errors
    /// Those of the operating system; [`io::ErrorKind::AlreadyExists`] when the name is taken.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name.
    ///
    /// # Errors
    /// Those of the operating system.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder survive a power cut.
    ///
    /// # Errors
    /// Those of the operating system.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, in no order.
    ///
    /// # Errors
    /// Those of the operating system.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;

    /// What is known of a file or folder.
    ///
    /// # Errors
    /// Those of the operating system.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;

    /// Bytes that can still be written to the file system that holds `path`.
    ///
    /// # Errors
    /// Those of the operating system.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// Whether `parts` may be written past the page cache at `offset`.
pub(crate) fn is_aligned(parts: &[impl Deref<Target = [u8]>], offset: u64) -> bool {
    offset.is_multiple_of(BLOCK as u64)
        && parts
            .iter()
            .all(|part| part.len().is_multiple_of(BLOCK) && part.as_ptr().align_offset(BLOCK) == 0)
}

/// Whether an error says that there is no room left.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Removes a file; one that is not there is no error.
pub(crate) fn remove_if_there(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    match fs.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Reads until `buffer` is full or the file ends; answers the bytes read.
pub(crate) fn read_full(file: &dyn File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
