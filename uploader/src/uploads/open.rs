//! Opening an upload.

use super::validate;
use crate::{
    Uploader,
    clock::{self, whole_micros},
    error::Failure,
    metric,
    store::Opened,
};
use axum::{extract::State, http::StatusCode};
use protocol::{
    ErrorCode, FileId, Refusal, TransferStatus, UploadId,
    identity::Owner,
    upload::{FileMeta, OpenUpload, Upload},
};
use service_kit::problem::Json;

/// `POST /uploads`: 201 for a new upload, 200 for the one opened before with the same key.
pub(crate) async fn handle(
    State(uploader): State<Uploader>,
    Json(request): Json<OpenUpload>,
) -> Result<(StatusCode, Json<Upload>), Failure> {
    let opened = open(&uploader, request).await;
    let outcome = match &opened {
        Ok((true, _)) => "created",
        Ok((false, _)) => "existing",
        Err(failure) => failure.code().as_str(),
    };
    metrics::counter!(metric::OPENED, "outcome" => outcome).increment(1);
    opened.map(|(created, upload)| {
        (
            if created {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            },
            Json(upload),
        )
    })
}

/// Opens an upload, or finds the one opened with the same key; answers whether it is new.
async fn open(uploader: &Uploader, request: OpenUpload) -> Result<(bool, Upload), Failure> {
    let meta = as_kept(request.meta);
    validate::check(&meta, &uploader.config)?;
    let now = uploader.clock.now();
    let upload = Upload {
        upload_id: UploadId::new(),
        file_id: FileId::new(),
        owner: Owner::from(&request.caller),
        tenant: request.caller.tenant,
        meta,
        computed_digest: None,
        status: TransferStatus::Open,
        attempts: 0,
        reason: None,
        code: None,
        opened_at: now,
        expires_at: clock::after(now, uploader.config.upload_lifetime.duration()),
        received_at: None,
    };
    let quota = uploader.config.user_quota_bytes.map(|quota| quota.0);
    match uploader.store.open(&upload, request.key, quota).await? {
        Opened::Created => {
            tracing::debug!(upload_id = %upload.upload_id, user_id = %upload.owner.id, size = upload.meta.size, "upload opened");
            uploader.recent.remember(&upload);
            Ok((true, upload))
        }
        Opened::Existing(existing) if existing.meta == upload.meta => Ok((false, *existing)),
        Opened::Existing(existing) => {
            let detail = format!(
                "upload {} was opened with this key and other metadata",
                existing.upload_id
            );
            Err(Refusal::new(ErrorCode::Conflict, detail).into())
        }
        Opened::QuotaExceeded { used } => {
            let detail = format!("{used} of {} bytes are used", quota.unwrap_or_default());
            Err(Refusal::new(ErrorCode::QuotaExceeded, detail).into())
        }
    }
}

/// Metadata as the database keeps it, so that the same key with the same metadata is found equal.
fn as_kept(meta: FileMeta) -> FileMeta {
    FileMeta {
        captured_at: meta.captured_at.map(whole_micros),
        ..meta
    }
}
