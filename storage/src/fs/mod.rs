//! The file operations that the disk adapters use, as a port, so that tests can cut the power between any two of them.

mod folder;
#[cfg(feature = "testing")]
mod power_cut;
mod real;
mod worker;

pub(crate) use folder::{FolderLock, FolderSync, make_root};
#[cfg(feature = "testing")]
pub use power_cut::{PowerCut, Survives};
pub use real::Real;
pub(crate) use worker::{Stopped, Worker};

use std::{
    ffi::OsString,
    io::{self, IoSlice},
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
}

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
    /// Those of the operating system.
    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Reads at most `buffer.len()` bytes at `offset`; 0 at the end of the file.
    ///
    /// # Errors
    /// Those of the operating system.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

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
    /// Those of the operating system.
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
