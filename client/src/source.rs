//! What is uploaded: a file on disk or bytes in memory, read in parts and hashed on the way.

use crate::UploadError;
use bytes::Bytes;
use jiff::Timestamp;
use protocol::{Digest, DigestAlgorithm, Hasher, frame::Chunk, upload::FileMeta};
use std::{
    fs::{File, Metadata},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

/// Bytes hashed at once when a part of a file is read only for its digest.
const HASH_STEP: usize = 256 * 1024;

/// Content to be uploaded.
#[derive(Clone, Debug)]
pub struct Source(Kind);

#[derive(Clone, Debug)]
enum Kind {
    File { path: PathBuf, version: Version },
    Memory(Bytes),
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    size: u64,
    modified: Option<SystemTime>,
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}

impl Source {
    /// The file at `path` as it is now; if it changes until it is sent, the upload fails with [`UploadError::Changed`].
    ///
    /// # Errors
    /// If there is no such file, or it is not a regular one.
    pub async fn file(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let metadata = tokio::fs::metadata(&path).await?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        Ok(Self(Kind::File {
            path,
            version: Version::of(&metadata),
        }))
    }

    /// Bytes in memory.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Memory(bytes.into()))
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.0 {
            Kind::File { version, .. } => version.size,
            Kind::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// When it was last changed, for a file whose file system says so.
    #[must_use]
    pub fn modified(&self) -> Option<Timestamp> {
        match &self.0 {
            Kind::File { version, .. } => version.modified?.try_into().ok(),
            Kind::Memory(_) => None,
        }
    }

    /// What there is to say of it: this name, its size, and the time of its last change as the time of its making.
    #[must_use]
    pub fn meta(&self, name: impl Into<String>) -> FileMeta {
        FileMeta {
            name: name.into(),
            size: self.size(),
            content_type: None,
            digest: None,
            pool: None,
            captured_at: self.modified(),
            batch: None,
            title: None,
            description: None,
            tags: Vec::new(),
        }
    }
}

/// Reads a source while it is sent. All of it blocks; the parts are usually, but not always, read in order.
pub(crate) struct Reader {
    source: Source,
    state: Mutex<State>,
}

struct State {
    file: Option<File>,
    hasher: Hasher,
    /// Bytes hashed so far. Parts before are read again without being hashed; parts beyond are hashed at the end.
    hashed: u64,
}

impl Reader {
    pub(crate) fn new(source: Source) -> Arc<Self> {
        let state = State {
            file: None,
            hasher: Hasher::new(DigestAlgorithm::Sha256),
            hashed: 0,
        };
        Arc::new(Self {
            source,
            state: Mutex::new(state),
        })
    }

    /// A part of the source as a chunk frame.
    pub(crate) fn frame(&self, stream: u32, offset: u64, len: u64) -> Result<Bytes, UploadError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let payload = self.read(&mut state, offset, len)?;
        state.hash(offset, &payload);
        drop(state);
        Ok(Chunk::new(stream, offset, payload).encode())
    }

    /// The digest of the whole source, which is checked to be what it was.
    pub(crate) fn digest(&self) -> Result<Digest, UploadError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.hashed < self.source.size() {
            let offset = state.hashed;
            let len = (self.source.size() - offset).min(HASH_STEP as u64);
            let payload = self.read(&mut state, offset, len)?;
            state.hash(offset, &payload);
        }
        self.check(&state)?;
        Ok(state.hasher.clone().finish())
    }

    /// Whether the source is no longer what it was.
    pub(crate) fn has_changed(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.check(&state).is_err()
    }

    fn read(&self, state: &mut State, offset: u64, len: u64) -> Result<Bytes, UploadError> {
        match &self.source.0 {
            Kind::Memory(bytes) => {
                let start = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                let end = start
                    .saturating_add(usize::try_from(len).unwrap_or(usize::MAX))
                    .min(bytes.len());
                Ok(bytes.slice(start..end))
            }
            Kind::File { path, version } => {
                let file = match &mut state.file {
                    Some(file) => file,
                    none => {
                        let file = File::open(path)?;
                        if Version::of(&file.metadata()?) != *version {
                            return Err(UploadError::Changed);
                        }
                        none.insert(file)
                    }
                };
                let mut payload = vec![0; usize::try_from(len).unwrap_or_default()];
                read_exact_at(file, &mut payload, offset)?;
                Ok(payload.into())
            }
        }
    }

    fn check(&self, state: &State) -> Result<(), UploadError> {
        match (&self.source.0, &state.file) {
            (Kind::File { version, .. }, Some(file))
                if Version::of(&file.metadata()?) != *version =>
            {
                Err(UploadError::Changed)
            }
            _ => Ok(()),
        }
    }
}

impl State {
    fn hash(&mut self, offset: u64, payload: &[u8]) {
        if offset == self.hashed {
            self.hasher.update(payload);
            self.hashed += payload.len() as u64;
        }
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(not(unix))]
fn read_exact_at(mut file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(buffer)
}

impl From<io::Error> for UploadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // It was as long as needed when it was opened.
            io::ErrorKind::UnexpectedEof => Self::Changed,
            _ => Self::Unreadable(Arc::new(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha256(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(DigestAlgorithm::Sha256);
        hasher.update(bytes);
        hasher.clone().finish()
    }

    async fn file(content: &[u8]) -> (tempfile::TempDir, PathBuf, Arc<Reader>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, content).unwrap();
        let reader = Reader::new(Source::file(&path).await.unwrap());
        (dir, path, reader)
    }

    #[tokio::test]
    async fn the_digest_is_right_in_whatever_order_parts_are_read() {
        let content: Vec<u8> = (0..600_000_u32).map(|n| (n % 251) as u8).collect();
        for order in [
            &[(0, 300_000), (300_000, 300_000)][..],
            &[(300_000, 300_000)],
            &[(0, 9), (0, 9), (9, 20), (4, 9)],
            &[],
        ] {
            let (_dir, _, reader) = file(&content).await;
            for &(offset, len) in order {
                let frame = reader.frame(3, offset, len).unwrap();
                let chunk = Chunk::decode(frame).unwrap();
                let (start, end) = (offset as usize, (offset + len) as usize);
                assert!(
                    chunk.is_intact() && chunk.stream == 3 && chunk.payload == content[start..end]
                );
            }
            assert_eq!(reader.digest().unwrap(), sha256(&content));
        }
    }

    #[tokio::test]
    async fn bytes_in_memory_are_read_alike() {
        let reader = Reader::new(Source::bytes(&b"hello"[..]));
        assert_eq!(
            Chunk::decode(reader.frame(1, 1, 3).unwrap())
                .unwrap()
                .payload,
            "ell"
        );
        assert_eq!(reader.digest().unwrap(), sha256(b"hello"));
        assert!(!reader.has_changed());
    }

    #[tokio::test]
    async fn a_file_that_changes_is_not_sent() {
        let (_dir, path, reader) = file(b"hello").await;
        std::fs::write(&path, b"hello, world").unwrap();
        assert!(
            matches!(reader.frame(1, 0, 5), Err(UploadError::Changed)),
            "changed before it was opened"
        );

        let (_dir, path, reader) = file(b"hello").await;
        reader.frame(1, 0, 2).unwrap();
        std::fs::write(&path, b"hel").unwrap();
        assert!(
            matches!(reader.frame(1, 2, 3), Err(UploadError::Changed)),
            "cut short"
        );
        assert!(reader.has_changed());

        let (_dir, path, reader) = file(b"hello").await;
        reader.frame(1, 0, 5).unwrap();
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
        assert!(
            matches!(reader.digest(), Err(UploadError::Changed)),
            "touched"
        );
    }

    #[tokio::test]
    async fn only_regular_files_are_sources() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Source::file(dir.path()).await.is_err());
        assert!(Source::file(dir.path().join("none")).await.is_err());
    }
}
