//! The way of an upload, one use case per module.

pub(crate) mod end;
pub(crate) mod open;
pub(crate) mod report;
pub(crate) mod submit;
mod validate;

use crate::{
    Uploader,
    error::{Failure, not_found},
};
use axum::extract::State;
use protocol::{ErrorCode, Refusal, TransferStatus, UploadId, upload::Upload};
use service_kit::problem::{Json, Path};

/// `GET /uploads/{id}`.
pub(crate) async fn show(
    State(uploader): State<Uploader>,
    Path(id): Path<UploadId>,
) -> Result<Json<Upload>, Failure> {
    Ok(Json(
        uploader.store.upload(id).await?.ok_or_else(not_found)?,
    ))
}

/// What the client of an upload that ended before it became a file is told, each time it asks.
fn ended(upload: &Upload) -> Refusal {
    match upload.status {
        TransferStatus::Rejected => Refusal {
            detail: upload.reason.clone(),
            ..Refusal::bare(upload.code.unwrap_or(ErrorCode::InvalidMessage))
        },
        TransferStatus::Expired => Refusal::bare(ErrorCode::Expired),
        _ => Refusal::bare(ErrorCode::Aborted),
    }
}
