//! Stores a sealed upload as a blob: by a second name for the same bytes where that is possible, else by a copy.

use super::{DiskBlobs, Inner};
use crate::{
    blobs::{
        BlobError, Source,
        source::{expect_digest, expect_size, refused, unreadable},
    },
    chunks::SealedContent,
    fs::{Access, File, Fs},
};
use futures::StreamExt;
use protocol::{FileId, Hasher};
use std::{
    io::{self, IoSlice},
    path::Path,
    sync::Arc,
};

/// How a second name for the source's file turned out.
enum Linked {
    Done,
    /// The file system won't have it: copy.
    Impossible,
}

impl DiskBlobs {
    pub(super) async fn store(&self, file: FileId, source: &Source) -> Result<(), BlobError> {
        let size = source.size;
        let path = match source.cache.sealed(source.upload).await {
            Ok(SealedContent::File(path)) => path,
            elsewhere => {
                let is_stored = self.with(file, move |inner, fs| inner.is_stored(fs, file, size));
                if is_stored.await? {
                    return Ok(());
                }
                elsewhere.map_err(refused)?;
                return self.copy(file, source).await;
            }
        };
        let inner = Arc::clone(&self.inner);
        let linked = self.worker.run(move |fs| {
            let failure = |error| inner.failure(fs, file, &error);
            // A link is no copy: it names the very bytes that the digest was computed over before the upload was sealed, so
            // only their number is looked at. Where bytes are copied, the digest is verified.
            expect_size(size, fs.metadata(&path).map_err(failure)?.len)?;
            inner.link(fs, &path, file, size).map_err(failure)
        });
        match linked.await? {
            Linked::Done => Ok(()),
            Linked::Impossible => self.copy(file, source).await,
        }
    }

    /// Copies the content to a temporary name, and gives it its own once it is verified and synced.
    async fn copy(&self, file: FileId, source: &Source) -> Result<(), BlobError> {
        let held = source
            .cache
            .stat(source.upload)
            .await
            .map_err(refused)?
            .held;
        expect_size(source.size, held)?;
        let temporary = self.inner.temporary(file);
        let copied = self.copy_to(&temporary, file, source).await;
        if copied.is_err() {
            let _ = self.with(file, move |_, fs| fs.remove(&temporary)).await;
        }
        copied
    }

    async fn copy_to(
        &self,
        temporary: &Path,
        file: FileId,
        source: &Source,
    ) -> Result<(), BlobError> {
        let path = temporary.to_owned();
        let copy: Arc<dyn File> = self
            .with(file, move |_, fs| fs.open(&path, Access::Create))
            .await?
            .into();
        let mut content = source
            .cache
            .read(source.upload, 0..source.size)
            .await
            .map_err(refused)?;
        let mut hasher = Hasher::new(source.digest.algorithm);
        let mut at = 0;
        while let Some(piece) = content.next().await {
            let piece = piece.map_err(|error| unreadable(&error))?;
            let (copy, offset) = (Arc::clone(&copy), at);
            at += piece.len() as u64;
            let written = self.with(file, move |_, _| {
                hasher.update(&piece);
                copy.write_at(&mut [IoSlice::new(&piece)], offset)?;
                Ok(hasher)
            });
            hasher = written.await?;
        }
        expect_size(source.size, at)?;
        expect_digest(source.digest, hasher)?;
        let temporary = temporary.to_owned();
        self.with(file, move |inner, fs| {
            copy.sync_data()?;
            let folder = inner.folder(file);
            folder.make(fs)?;
            fs.rename(&temporary, &inner.path(file))?;
            folder.sync(fs)
        })
        .await
    }
}

impl Inner {
    /// Whether the blob is there; if so, it survives a power cut from here on.
    fn is_stored(&self, fs: &dyn Fs, file: FileId, size: u64) -> io::Result<bool> {
        let path = self.path(file);
        match fs.metadata(&path) {
            Ok(metadata) if metadata.len == size => {
                // The folder was synced before the blob got its name; the name may not be.
                self.folder(file).sync(fs)?;
                Ok(true)
            }
            Ok(metadata) => Err(io::Error::other(format!(
                "{} has {} bytes instead of {size}: the folder was changed from outside",
                path.display(),
                metadata.len
            ))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn link(&self, fs: &dyn Fs, source: &Path, file: FileId, size: u64) -> io::Result<Linked> {
        let folder = self.folder(file);
        folder.make(fs)?;
        match fs.hard_link(source, &self.path(file)) {
            Ok(()) => folder.sync(fs).map(|()| Linked::Done),
            // It was stored before, or another attempt was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.is_stored(fs, file, size).map(|_| Linked::Done)
            }
            Err(error) if refuses_links(&error) => Ok(Linked::Impossible),
            Err(error) => Err(error),
        }
    }
}

/// Another file system, one without links, or too many links.
fn refuses_links(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    matches!(
        error.kind(),
        CrossesDevices | PermissionDenied | TooManyLinks | Unsupported
    )
}
