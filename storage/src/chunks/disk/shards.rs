//! The folders that uploads are spread over, and what is found in them at start.

use super::{
    part::Paths,
    records::{self, Slot},
};
use crate::fs::{Folder, Fs, Metadata, remove_if_there};
use protocol::UploadId;
use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The folders below a root: few, since a sync of one makes all names in it safe that wait for that.
const SHARDS: u8 = 16;

/// The folders below a root.
pub(super) struct Shards {
    root: PathBuf,
    shards: Vec<Folder>,
}

/// An upload found at start.
pub(super) enum Found {
    /// It was being written: of `size` bytes, `claimed` are said to be held.
    Open { size: u64, claimed: u64, slot: Slot },
    /// It is sealed, and survives a power cut.
    Sealed { size: u64, touched: SystemTime },
}

impl Shards {
    pub(super) fn new(root: &Path) -> Self {
        let shard = |number| Folder::new(root.join(format!("{number:02x}")));
        Self {
            root: root.to_owned(),
            shards: (0..SHARDS).map(shard).collect(),
        }
    }

    pub(super) fn paths(&self, upload: UploadId) -> Paths {
        let name = |suffix| self.shard(upload).path().join(format!("{upload}.{suffix}"));
        Paths {
            part: name("part"),
            sealed: name("sealed"),
        }
    }

    /// Makes the upload's folder exist and survive a power cut.
    pub(super) fn make(&self, fs: &dyn Fs, upload: UploadId) -> io::Result<()> {
        self.shard(upload).make(fs)
    }

    /// Makes the names of the upload's files survive a power cut.
    pub(super) fn sync(&self, fs: &dyn Fs, upload: UploadId) -> io::Result<()> {
        self.shard(upload).sync(fs)
    }

    /// Everything that is there, given what is known of the uploads that were being written. What a crash left half-done is
    /// finished or removed.
    pub(super) fn scan(
        &self,
        fs: &dyn Fs,
        mut known: HashMap<UploadId, records::Found>,
    ) -> io::Result<HashMap<UploadId, Found>> {
        let mut found = HashMap::new();
        let there = fs.list(&self.root)?;
        let there = |shard: &&Folder| {
            there
                .iter()
                .any(|entry| Some(&*entry.name) == shard.path().file_name())
        };
        for shard in self.shards.iter().filter(there) {
            self.scan_shard(fs, shard, &mut known, &mut found)?;
        }
        // A process killed after making a shard may not have synced its name.
        fs.sync_folder(&self.root)?;
        Ok(found)
    }

    fn scan_shard(
        &self,
        fs: &dyn Fs,
        shard: &Folder,
        known: &mut HashMap<UploadId, records::Found>,
        found: &mut HashMap<UploadId, Found>,
    ) -> io::Result<()> {
        let mut sealed = HashSet::new();
        let mut open = HashSet::new();
        for entry in fs.list(shard.path())? {
            match entry.name.to_str().and_then(|name| name.split_once('.')) {
                Some((upload, "sealed")) => sealed.extend(upload.parse::<UploadId>()),
                Some((upload, "part")) => open.extend(upload.parse::<UploadId>()),
                _ => {}
            }
        }
        if !sealed.is_empty() {
            // The process may have been killed between giving the name and syncing it.
            shard.sync(fs)?;
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
        for upload in open {
            let path = self.paths(upload).part;
            let known = known.remove(&upload).filter(|_| !sealed.contains(&upload));
            let claimed = match &known {
                Some(known) => known.claimed.min(fs.metadata(&path)?.len).min(known.size),
                None => 0,
            };
            match known {
                Some(records::Found { size, slot, .. }) if claimed > 0 => {
                    found.insert(
                        upload,
                        Found::Open {
                            size,
                            claimed,
                            slot,
                        },
                    );
                }
                // Sealed; or killed while it was being opened or removed, so that nothing is held, whatever a slot says of an
                // earlier upload of the same name.
                _ => {
                    if let Err(error) = remove_if_there(fs, &path) {
                        tracing::warn!(path = %path.display(), %error, "could not remove a leftover");
                    }
                }
            }
        }
        Ok(())
    }

    fn shard(&self, upload: UploadId) -> &Folder {
        // The end of an id is random; its beginning is the time, and the same for years.
        &self.shards[usize::from(upload.0.as_bytes()[15] % SHARDS)]
    }
}
