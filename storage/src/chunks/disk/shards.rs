//! The folders that uploads are spread over, and what is found in them at start.

use super::{part::Paths, sidecar};
use crate::fs::{Access, FolderSync, Fs, Metadata, remove_if_there};
use protocol::UploadId;
use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::SystemTime,
};

/// The 256 folders below a root.
pub(super) struct Shards {
    root: PathBuf,
    shards: Vec<Shard>,
}

struct Shard {
    folder: FolderSync,
    /// Whether it is there and its name survives a power cut.
    made: AtomicBool,
}

/// An upload found at start.
pub(super) enum Found {
    /// It was being written: of `size` bytes, `claimed` are said to be held.
    Open { size: u64, claimed: u64 },
    /// It is sealed, and survives a power cut.
    Sealed { size: u64, touched: SystemTime },
}

impl Shards {
    pub(super) fn new(root: &Path) -> Self {
        let shard = |number| Shard {
            folder: FolderSync::new(root.join(format!("{number:02x}"))),
            made: AtomicBool::new(false),
        };
        Self {
            root: root.to_owned(),
            shards: (0..=255u8).map(shard).collect(),
        }
    }

    pub(super) fn paths(&self, upload: UploadId) -> Paths {
        let name = |suffix| {
            self.shard(upload)
                .folder
                .path()
                .join(format!("{upload}.{suffix}"))
        };
        Paths {
            part: name("part"),
            sidecar: name("crc"),
            sealed: name("sealed"),
        }
    }

    /// Makes the upload's folder exist and survive a power cut.
    pub(super) fn make(&self, fs: &dyn Fs, upload: UploadId) -> io::Result<()> {
        let shard = self.shard(upload);
        if shard.made.load(Ordering::Acquire) {
            return Ok(());
        }
        match fs.create_folder(shard.folder.path()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => fs.sync_folder(&self.root)?,
        }
        shard.made.store(true, Ordering::Release);
        Ok(())
    }

    /// Makes the names of the upload's files survive a power cut.
    pub(super) fn sync(&self, fs: &dyn Fs, upload: UploadId) -> io::Result<()> {
        self.shard(upload).folder.sync(fs)
    }

    /// Everything that is there. What a crash left half-done is finished or removed.
    pub(super) fn scan(&self, fs: &dyn Fs) -> io::Result<HashMap<UploadId, Found>> {
        let mut found = HashMap::new();
        let there = fs.list(&self.root)?;
        let there = |shard: &&Shard| {
            there
                .iter()
                .any(|entry| Some(&*entry.name) == shard.folder.path().file_name())
        };
        for shard in self.shards.iter().filter(there) {
            self.scan_shard(fs, shard, &mut found)?;
            shard.made.store(true, Ordering::Release);
        }
        // A process killed after making a shard may not have synced its name.
        fs.sync_folder(&self.root)?;
        Ok(found)
    }

    fn scan_shard(
        &self,
        fs: &dyn Fs,
        shard: &Shard,
        found: &mut HashMap<UploadId, Found>,
    ) -> io::Result<()> {
        let mut sealed = HashSet::new();
        let mut open = HashSet::new();
        for entry in fs.list(shard.folder.path())? {
            match entry.name.to_str().and_then(|name| name.split_once('.')) {
                Some((upload, "sealed")) => sealed.extend(upload.parse::<UploadId>()),
                Some((upload, "part" | "crc")) => open.extend(upload.parse::<UploadId>()),
                _ => {}
            }
        }
        if !sealed.is_empty() {
            // The process may have been killed between giving the name and syncing it.
            shard.folder.sync(fs)?;
        }
        for upload in &sealed {
            let Metadata { len, modified, .. } = fs.metadata(&self.paths(*upload).sealed)?;
            found.insert(
                *upload,
                Found::Sealed {
                    size: len,
                    touched: modified,
                },
            );
        }
        for upload in open.difference(&sealed) {
            found.extend(self.found_open(fs, *upload).map(|open| (*upload, open)));
        }
        for upload in open.intersection(&sealed) {
            remove_leftovers(fs, &self.paths(*upload));
        }
        Ok(())
    }

    fn found_open(&self, fs: &dyn Fs, upload: UploadId) -> Option<Found> {
        let paths = self.paths(upload);
        match read_open(fs, &paths) {
            Ok(Some(found)) => return Some(found),
            // Killed while it was being opened or removed: nobody was told that it exists.
            Ok(None) => remove_leftovers(fs, &paths),
            Err(error) if error.kind() == io::ErrorKind::NotFound => remove_leftovers(fs, &paths),
            Err(error) => {
                tracing::warn!(%upload, %error, "left an upload alone that can't be read");
            }
        }
        None
    }

    fn shard(&self, upload: UploadId) -> &Shard {
        // The end of an id is random; its beginning is the time, and the same for years.
        &self.shards[usize::from(upload.0.as_bytes()[15])]
    }
}

fn read_open(fs: &dyn Fs, paths: &Paths) -> io::Result<Option<Found>> {
    let len = fs.metadata(&paths.part)?.len;
    let sidecar = fs.open(&paths.sidecar, Access::Read)?;
    let Some(size) = sidecar::read_header(&*sidecar)? else {
        return Ok(None);
    };
    let claimed = sidecar::claimed(&*sidecar)?.min(len).min(size);
    Ok(Some(Found::Open { size, claimed }))
}

fn remove_leftovers(fs: &dyn Fs, paths: &Paths) {
    for path in [&paths.part, &paths.sidecar] {
        if let Err(error) = remove_if_there(fs, path) {
            tracing::warn!(path = %path.display(), %error, "could not remove a leftover");
        }
    }
}
