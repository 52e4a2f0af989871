//! One upload as its owner sees it: what to send, how far it is, how it ended.

use crate::{Error, Keys, Source, UploadError, session::Command};
use protocol::{Digest, FileId, Refusal, TransferStatus, UploadId, upload::FileMeta};
use tokio::sync::{mpsc, watch};

/// A file to be uploaded.
#[derive(Clone, Debug)]
pub struct Upload {
    pub(crate) source: Source,
    pub(crate) meta: FileMeta,
    pub(crate) keys: Keys,
    pub(crate) again: bool,
}

impl Upload {
    /// This content under this description, as a file that the server has never seen.
    #[must_use]
    pub fn new(source: Source, meta: FileMeta) -> Self {
        let meta = FileMeta {
            size: source.size(),
            ..meta
        };
        Self {
            source,
            meta,
            keys: Keys::random(),
            again: false,
        }
    }

    /// Sends it under these keys: what was sent under them before is not sent once more, but continued. Only an upload
    /// that ended without a file, and might end otherwise now, gives way to a new one under the next key.
    #[must_use]
    pub fn keys(mut self, keys: Keys) -> Self {
        self.keys = keys;
        self
    }

    /// Sends it once more even if the server has it already.
    #[must_use]
    pub fn again(mut self, again: bool) -> Self {
        self.again = again;
        self
    }
}

/// A file that is at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileOutcome {
    /// The upload that brought it.
    pub upload_id: UploadId,
    /// The file.
    pub file_id: Option<FileId>,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest, as the server computed it.
    pub digest: Option<Digest>,
    /// How it stood when this was heard.
    pub status: TransferStatus,
    /// Whether it had been uploaded before, by the same keys.
    pub already: bool,
}

/// How far an upload is.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The file's size in bytes.
    pub size: u64,
    /// Bytes sent. May go back, if bytes have to be sent again.
    pub sent: u64,
    /// Bytes that the server holds. May go back, if it lost some.
    pub acked: u64,
    /// How it stands.
    pub state: UploadState,
}

/// How an upload stands.
#[derive(Clone, Debug)]
pub enum UploadState {
    /// Waiting for its turn.
    Queued,
    /// Being sent.
    Sending,
    /// The server can't take it now; it is tried again by itself.
    Waiting(Refusal),
    /// The server holds it and is storing it.
    Cached(FileOutcome),
    /// It is stored.
    Stored(FileOutcome),
    /// It is not at the server.
    Failed(UploadError),
}

impl UploadState {
    /// Whether nothing follows.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Stored(_) | Self::Failed(_))
    }
}

/// An upload under way. Dropping it does not stop the upload.
#[derive(Debug)]
pub struct UploadHandle {
    pub(crate) ticket: u64,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) commands: mpsc::Sender<Command>,
}

impl UploadHandle {
    /// Waits until the server holds the whole file, synced: from then on the client need not keep it for the transfer's sake.
    ///
    /// # Errors
    /// If it does not come to that.
    pub async fn cached(&mut self) -> Result<FileOutcome, UploadError> {
        self.reached(|state| matches!(state, UploadState::Cached(_)) || state.is_final())
            .await
    }

    /// Waits until the file is stored and listed.
    ///
    /// # Errors
    /// If it does not come to that.
    pub async fn stored(&mut self) -> Result<FileOutcome, UploadError> {
        self.reached(UploadState::is_final).await
    }

    /// How far it is, and a way to hear of changes.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Gives the upload up and tells the server so. Its keys can be used again to send the file after all.
    pub async fn cancel(&self) {
        // If the session is over, so is the upload.
        let _ = self.commands.send(Command::Cancel(self.ticket)).await;
    }

    async fn reached(
        &mut self,
        reached: impl Fn(&UploadState) -> bool,
    ) -> Result<FileOutcome, UploadError> {
        let progress = self
            .progress
            .wait_for(|progress| reached(&progress.state))
            .await;
        match progress.map(|progress| progress.state.clone()) {
            Ok(UploadState::Cached(outcome) | UploadState::Stored(outcome)) => Ok(outcome),
            Ok(UploadState::Failed(error)) => Err(error),
            Ok(_) | Err(_) => Err(UploadError::Session(Error::Closed)),
        }
    }
}
