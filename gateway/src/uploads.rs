//! Uploads as the gateway handles them: opened at the uploader, held in the chunk cache, handed over when whole.

use crate::{policy::Policy, refusals};
use futures::TryStreamExt;
use http::Method;
use protocol::{
    Digest, ErrorCode, Hasher, Refusal, TransferStatus, UploadId, UploadKey,
    identity::Caller,
    message::Start,
    session::server::{Completed, Opened},
    upload::{EndUpload, FileMeta, OpenUpload, SubmitFile, Upload, UploadView},
};
use service_kit::peer::{Peer, PeerError};
use std::sync::Arc;
use storage::chunks::{ChunkCache, ChunkError, Hold};
use tokio::sync::Semaphore;

/// Uploads whose held bytes are hashed again at once; more would only slow each other down.
const REHASHED_AT_ONCE: usize = 8;

/// The uploader and the chunk cache, together.
pub(crate) struct Uploads {
    pub(crate) uploader: Peer,
    pub(crate) cache: Arc<dyn ChunkCache>,
    pub(crate) policy: Policy,
    rehashing: Semaphore,
}

/// An upload and, while it is open, the hold on it.
pub(crate) struct Started {
    pub(crate) upload: Upload,
    pub(crate) hold: Option<Hold>,
}

impl Started {
    pub(crate) fn opened(&self) -> Opened {
        let Upload {
            upload_id,
            file_id,
            status,
            expires_at,
            ..
        } = self.upload;
        let size = self.upload.meta.size;
        let offset = match self.hold {
            Some(hold) => hold.held,
            None if status.is_file() => size,
            None => 0,
        };
        Opened {
            upload_id,
            file_id,
            size,
            offset,
            status,
            expires_at,
            ended: refusals::of_ended(&self.upload),
        }
    }
}

impl Uploads {
    pub(crate) fn new(uploader: Peer, cache: Arc<dyn ChunkCache>, policy: Policy) -> Self {
        Self {
            uploader,
            cache,
            policy,
            rehashing: Semaphore::new(REHASHED_AT_ONCE),
        }
    }

    /// Opens or resumes what a `start-transfer` asks for.
    pub(crate) async fn start(&self, caller: &Caller, what: Start) -> Result<Started, Refusal> {
        match what {
            Start::Open { key, meta } => self.open(caller, key, meta).await,
            Start::Resume { upload_id } => {
                let upload = self.find(caller, upload_id).await?;
                self.hold(upload).await
            }
        }
    }

    async fn open(
        &self,
        caller: &Caller,
        key: Option<UploadKey>,
        meta: FileMeta,
    ) -> Result<Started, Refusal> {
        self.policy
            .check_declared(&meta.name, meta.content_type.as_deref())?;
        let request = OpenUpload {
            caller: caller.clone(),
            key,
            meta,
        };
        let call = self
            .uploader
            .request(Method::POST, "/uploads")
            .json(&request);
        let call = match key {
            Some(_) => call.repeatable(),
            // Each would open another upload.
            None => call,
        };
        let upload: Upload = call.receive().await.map_err(refusals::from_peer)?;
        let upload_id = upload.upload_id;
        let started = self.hold(upload).await;
        if started.is_err() && key.is_none() {
            // Without a key nobody can ask for this upload again.
            self.end(caller, upload_id, TransferStatus::Aborted, None)
                .await;
        }
        started
    }

    /// The caller's upload.
    pub(crate) async fn find(
        &self,
        caller: &Caller,
        upload_id: UploadId,
    ) -> Result<Upload, Refusal> {
        let found: Result<Upload, _> = self
            .uploader
            .get_json(format!("/uploads/{upload_id}"))
            .await;
        match found {
            Ok(upload) if upload.owner.id == caller.user_id => Ok(upload),
            Ok(_) => Err(refusals::not_found(upload_id)),
            Err(error) if error.has_code(ErrorCode::NotFound.as_str()) => {
                Err(refusals::not_found(upload_id))
            }
            Err(error) => Err(refusals::from_peer(error)),
        }
    }

    /// Takes hold of an upload in the chunk cache, if it is open.
    pub(crate) async fn hold(&self, upload: Upload) -> Result<Started, Refusal> {
        if upload.status != TransferStatus::Open {
            return Ok(Started { upload, hold: None });
        }
        let hold = match self.cache.resume(upload.upload_id).await {
            Ok(hold) => hold,
            Err(ChunkError::NotFound(_)) => self
                .cache
                .open(upload.upload_id, upload.meta.size)
                .await
                .map_err(refusals::from_chunks)?,
            // Sealed, but not yet a file: the server stopped between the two. Completing it again makes up for it.
            Err(ChunkError::Sealed(_)) => Hold {
                generation: u64::MAX,
                held: upload.meta.size,
            },
            Err(error) => return Err(refusals::from_chunks(error)),
        };
        Ok(Started {
            upload,
            hold: Some(hold),
        })
    }

    /// Reads what is held into a hasher and calls `look` with each piece.
    pub(crate) async fn rehash(
        &self,
        upload_id: UploadId,
        held: u64,
        mut hasher: Hasher,
        mut look: impl FnMut(&[u8]) + Send + 'static,
    ) -> Result<Hasher, Refusal> {
        let failed = |error: std::io::Error| {
            refusals::unavailable(format!("what is held can't be read: {error}"))
        };
        // The semaphore is never closed.
        let _turn = self.rehashing.acquire().await;
        let mut pieces = self
            .cache
            .read(upload_id, 0..held)
            .await
            .map_err(refusals::from_chunks)?;
        while let Some(piece) = pieces.try_next().await.map_err(failed)? {
            (hasher, look) = crate::blocking::run(move || {
                hasher.update(&piece);
                look(&piece);
                (hasher, look)
            })
            .await;
        }
        Ok(hasher)
    }

    /// Makes an upload whose bytes are all held a file.
    pub(crate) async fn submit(
        &self,
        caller: &Caller,
        upload: &Upload,
        generation: u64,
        computed: Digest,
        announced: Option<Digest>,
    ) -> Result<Completed, Refusal> {
        let request = SubmitFile {
            upload_id: upload.upload_id,
            caller: caller.clone(),
            generation,
            size: upload.meta.size,
            computed,
            announced,
        };
        let upload: Upload = self
            .uploader
            .request(Method::POST, "/file/upload")
            .json(&request)
            .repeatable()
            .receive()
            .await
            .map_err(refusals::from_peer)?;
        completed(&upload)
    }

    /// Completes an upload that no stream of the session holds: one that is a file already, or one whose bytes are all held.
    pub(crate) async fn complete_unheld(
        &self,
        caller: &Caller,
        upload_id: UploadId,
        announced: Option<Digest>,
    ) -> Result<Completed, Refusal> {
        let upload = self.find(caller, upload_id).await?;
        if upload.status != TransferStatus::Open {
            if let (Some(announced), Some(digest)) = (announced, upload.computed_digest)
                && announced != digest
            {
                return Err(Refusal::new(
                    ErrorCode::Conflict,
                    format!("the upload was completed with the digest {digest}"),
                ));
            }
            return completed(&upload);
        }
        // Look before taking hold: that would end the stream that may be sending elsewhere.
        let held = match self.cache.stat(upload_id).await {
            Ok(cached) => cached.held,
            Err(ChunkError::NotFound(_)) => 0,
            Err(error) => return Err(refusals::from_chunks(error)),
        };
        if held < upload.meta.size {
            let text = format!("{held} of {} bytes are here", upload.meta.size);
            return Err(Refusal::new(ErrorCode::Incomplete, text).expecting(held));
        }
        let Started { upload, hold } = self.hold(upload).await?;
        let Some(hold) = hold else {
            return completed(&upload);
        };
        let hasher = self
            .rehash(
                upload_id,
                hold.held,
                Hasher::new(upload.meta.digest_algorithm()),
                |_| {},
            )
            .await?;
        self.submit(caller, &upload, hold.generation, hasher.finish(), announced)
            .await
    }

    /// Gives an upload up for its owner.
    pub(crate) async fn abort(&self, caller: &Caller, upload_id: UploadId) -> Result<(), Refusal> {
        self.find(caller, upload_id).await?;
        let upload = self
            .send_end(caller, upload_id, TransferStatus::Aborted, None)
            .await
            .map_err(refusals::from_peer)?;
        match refusals::of_ended(&upload) {
            Some(refusal) if refusal.code == ErrorCode::Aborted => Ok(()),
            Some(refusal) => Err(refusal),
            None => Err(Refusal::new(
                ErrorCode::Conflict,
                format!("the upload is {} already", upload.status),
            )),
        }
    }

    /// Ends an upload, for the client's or the content's sake. If that is not possible now, the upload expires later.
    pub(crate) async fn end(
        &self,
        caller: &Caller,
        upload_id: UploadId,
        status: TransferStatus,
        refusal: Option<Refusal>,
    ) {
        if let Err(error) = self.send_end(caller, upload_id, status, refusal).await {
            tracing::warn!(%upload_id, %error, "an upload could not be ended; it will expire");
        }
    }

    async fn send_end(
        &self,
        caller: &Caller,
        upload_id: UploadId,
        status: TransferStatus,
        refusal: Option<Refusal>,
    ) -> Result<Upload, PeerError> {
        let request = EndUpload {
            caller: caller.clone(),
            status,
            refusal,
        };
        self.uploader
            .request(Method::POST, format!("/uploads/{upload_id}/end"))
            .json(&request)
            .repeatable()
            .receive()
            .await
    }

    /// The state of an upload, for its owner or an admin of its tenant.
    pub(crate) async fn view(
        &self,
        caller: &Caller,
        upload_id: UploadId,
    ) -> Result<UploadView, Refusal> {
        let upload: Upload = self
            .uploader
            .get_json(format!("/uploads/{upload_id}"))
            .await
            .map_err(refusals::from_peer)?;
        if !caller.may_see(upload.owner.id, &upload.tenant) {
            return Err(refusals::not_found(upload_id));
        }
        let offset = match upload.status {
            TransferStatus::Open => self
                .cache
                .stat(upload_id)
                .await
                .map_or(0, |cached| cached.held),
            status if status.is_file() => upload.meta.size,
            _ => 0,
        };
        Ok(UploadView {
            upload_id,
            file_id: upload.file_id,
            size: upload.meta.size,
            offset,
            status: upload.status,
            digest: upload.computed_digest.or(upload.meta.digest),
            attempts: upload.attempts,
            reason: upload.reason,
            opened_at: upload.opened_at,
            expires_at: upload.expires_at,
            name: upload.meta.name,
        })
    }
}

fn completed(upload: &Upload) -> Result<Completed, Refusal> {
    if let Some(refusal) = refusals::of_ended(upload) {
        return Err(refusal);
    }
    match upload.computed_digest {
        Some(digest) if upload.status.is_file() => Ok(Completed {
            upload_id: upload.upload_id,
            file_id: upload.file_id,
            size: upload.meta.size,
            digest,
        }),
        _ => Err(Refusal::new(
            ErrorCode::Internal,
            "the upload is neither open nor a file",
        )),
    }
}
