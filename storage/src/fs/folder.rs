//! Folders that survive a power cut: a root made and locked, sub-folders made once, syncs shared.

use super::Fs;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Makes `root` and the folders above it exist and survive a power cut.
pub(crate) fn make_root(fs: &dyn Fs, root: &Path) -> io::Result<()> {
    let Some(parent) = root.parent() else {
        return Ok(());
    };
    make_root(fs, parent)?;
    match fs.metadata(root) {
        Ok(_) => {
            // A process killed right after making it may not have synced it. A folder above that we may not read, or
            // that can't be synced, was not made by us.
            let _ = fs.sync_folder(parent);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs.create_folder(root)?;
            fs.sync_folder(parent)
        }
        Err(error) => Err(error),
    }
}

/// Keeps a second process, or a second adapter, out of a folder for as long as it lives.
#[derive(Debug)]
pub(crate) struct FolderLock(
    #[expect(dead_code, reason = "the lock ends when the file is closed")] fs::File,
);

impl FolderLock {
    /// Takes the lock `<root>/lock`. The operating system frees it however the process ends.
    pub(crate) fn take(root: &Path) -> io::Result<Self> {
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(root.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(fs::TryLockError::WouldBlock) => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another process uses this folder: stop that process or choose another folder",
            )),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// A folder within a root, made once. Those who wait for a sync of it share one.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Whether it is there and its name survives a power cut.
    made: AtomicBool,
    asked: AtomicU64,
    done: Mutex<u64>,
}

impl Folder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            made: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            done: Mutex::new(0),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder exist and survive a power cut.
    pub(crate) fn make(&self, fs: &dyn Fs) -> io::Result<()> {
        if self.made.load(Ordering::Acquire) {
            return Ok(());
        }
        match fs.create_folder(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            // One that is there may be left by a process that was killed before it synced the name.
            _ => self
                .path
                .parent()
                .map_or(Ok(()), |root| fs.sync_folder(root))?,
        }
        self.made.store(true, Ordering::Release);
        Ok(())
    }

    /// Makes every name that was put into the folder before this call survive a power cut.
    pub(crate) fn sync(&self, fs: &dyn Fs) -> io::Result<()> {
        let ticket = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if *done >= ticket {
            return Ok(());
        }
        // Everyone with a ticket up to here changed the folder before the sync that now begins.
        let covered = self.asked.load(Ordering::SeqCst);
        fs.sync_folder(&self.path)?;
        *done = covered;
        Ok(())
    }
}
