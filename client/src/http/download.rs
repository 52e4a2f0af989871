//! Downloads: continued where they broke off, and verified before they count.

use super::HttpApi;
use crate::{Error, backoff::Backoff};
use futures::StreamExt;
use protocol::{ErrorCode, Hasher, file::FileInfo};
use reqwest::{
    StatusCode,
    header::{ACCEPT_ENCODING, RANGE},
};
use std::{fs::TryLockError, io, path::Path, sync::Arc};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt},
};

/// Breaks in a row, without a byte between, after which a download is given up.
const MAX_FAILURES: u32 = 8;

/// Bytes read at once when a part from before is hashed.
const HASH_STEP: usize = 256 * 1024;

/// Why a file could not be downloaded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DownloadError {
    /// The server did not give it.
    #[error(transparent)]
    Server(#[from] Error),
    /// It could not be written.
    #[error("can't write it: {0}")]
    Disk(Arc<io::Error>),
    /// What came is not the file, by its digest.
    #[error("what was received is not the file: its digest differs; download it again")]
    Damaged,
}

impl From<io::Error> for DownloadError {
    fn from(error: io::Error) -> Self {
        Self::Disk(Arc::new(error))
    }
}

/// A file on its way to disk.
struct Part<'a> {
    info: &'a FileInfo,
    file: File,
    hasher: Hasher,
    written: u64,
}

impl HttpApi {
    /// Downloads `info`'s content into the file `part`, going on behind what `part` holds already. `progress` is told the
    /// bytes held. On success `part` is whole and has the right digest; the caller gives it its name.
    ///
    /// # Errors
    /// If the server refuses it or stays out of reach, if the disk fails, or if the content is damaged; `part` is removed
    /// then only in the last case.
    pub async fn download(
        &self,
        info: &FileInfo,
        part: &Path,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<(), DownloadError> {
        for from_scratch in [false, true] {
            let mut download = Part::open(info, part, from_scratch).await?;
            let resumed = download.written > 0;
            progress(download.written);
            match self.fetch(&mut download, &mut progress).await {
                Ok(()) | Err(DownloadError::Damaged) => {}
                Err(error) => return Err(error),
            }
            download.file.flush().await?;
            if download.is_intact() {
                return Ok(());
            }
            tokio::fs::remove_file(part).await?;
            // It may have been the part from before that was wrong: that gets a second chance.
            if !resumed {
                break;
            }
        }
        Err(DownloadError::Damaged)
    }

    /// Fetches until the part is whole.
    async fn fetch(
        &self,
        part: &mut Part<'_>,
        progress: &mut (impl FnMut(u64) + Send),
    ) -> Result<(), DownloadError> {
        let mut backoff = Backoff::default();
        while part.written < part.info.size {
            let before = part.written;
            let error = match self.fetch_some(part, progress).await {
                Ok(()) if part.written == part.info.size => break,
                Ok(()) => Error::Unreachable {
                    server: self.server.to_string(),
                    reason: "the answer broke off".to_owned(),
                },
                Err(DownloadError::Server(error)) if can_pass(&error) => error,
                Err(error) => return Err(error),
            };
            if part.written > before {
                backoff.reset();
            }
            if backoff.failures() >= MAX_FAILURES {
                return Err(error.into());
            }
            let told = match &error {
                Error::Refused(refusal) => {
                    refusal.retry_after_ms.map(std::time::Duration::from_millis)
                }
                _ => None,
            };
            tokio::time::sleep(backoff.next(told)).await;
        }
        Ok(())
    }

    async fn fetch_some(
        &self,
        part: &mut Part<'_>,
        progress: &mut (impl FnMut(u64) + Send),
    ) -> Result<(), DownloadError> {
        let url = self.server.at([
            "api",
            "v1",
            "files",
            &part.info.file_id.to_string(),
            "content",
        ]);
        let from = part.written;
        let response = self
            .authenticated(|| {
                let request = self
                    .http
                    .get(url.clone())
                    .header(ACCEPT_ENCODING, "identity");
                if from > 0 {
                    request.header(RANGE, format!("bytes={from}-"))
                } else {
                    request
                }
            })
            .await?;
        if from > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
            part.restart().await?;
        }
        let mut body = response.bytes_stream();
        while let Some(bytes) = body.next().await {
            let bytes = bytes.map_err(|error| self.unreachable(&error))?;
            part.write(&bytes).await?;
            progress(part.written);
        }
        Ok(())
    }
}

impl<'a> Part<'a> {
    async fn open(
        info: &'a FileInfo,
        path: &Path,
        from_scratch: bool,
    ) -> Result<Self, DownloadError> {
        let file = std::fs::File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another download of this file is under way",
            ),
            TryLockError::Error(error) => error,
        })?;
        if from_scratch {
            file.set_len(0)?;
        }
        let file = File::from_std(file);
        let algorithm = info
            .digest
            .map(|digest| digest.algorithm)
            .unwrap_or_default();
        let mut part = Self {
            info,
            file,
            hasher: Hasher::new(algorithm),
            written: 0,
        };
        if part.file.metadata().await?.len() > info.size {
            part.restart().await?;
        }
        let mut buffer = vec![0; HASH_STEP];
        loop {
            match part.file.read(&mut buffer).await? {
                0 => break,
                read => {
                    part.hasher.update(&buffer[..read]);
                    part.written += read as u64;
                }
            }
        }
        Ok(part)
    }

    async fn restart(&mut self) -> Result<(), DownloadError> {
        self.file.set_len(0).await?;
        self.file.rewind().await?;
        let algorithm = self
            .info
            .digest
            .map(|digest| digest.algorithm)
            .unwrap_or_default();
        self.hasher = Hasher::new(algorithm);
        self.written = 0;
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), DownloadError> {
        if self.written + bytes.len() as u64 > self.info.size {
            return Err(DownloadError::Damaged);
        }
        self.file.write_all(bytes).await?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Whether it is the file. One whose digest nobody knows can only have the right size.
    fn is_intact(&self) -> bool {
        self.written == self.info.size
            && self
                .info
                .digest
                .is_none_or(|digest| digest == self.hasher.clone().finish())
    }
}

/// Whether the same request may succeed soon.
fn can_pass(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } => true,
        Error::Refused(refusal) => matches!(
            refusal.code,
            ErrorCode::Unavailable | ErrorCode::RateLimited | ErrorCode::Internal
        ),
        _ => false,
    }
}
