//! Ending an upload that is still open: refused for its content, or given up by its owner.

use crate::{
    Uploader,
    error::{Failure, invalid, not_found},
    metric,
    store::{Applied, Change},
};
use axum::extract::State;
use protocol::{
    Refusal, TransferStatus, UploadId,
    upload::{EndUpload, Upload},
};
use service_kit::problem::{Json, Path};

/// `POST /uploads/{id}/end`. An upload that is no longer open is answered as it is.
pub(crate) async fn handle(
    State(uploader): State<Uploader>,
    Path(id): Path<UploadId>,
    Json(request): Json<EndUpload>,
) -> Result<Json<Upload>, Failure> {
    let change = change(request.status, request.refusal)?;
    let upload = uploader.store.upload(id).await?.ok_or_else(not_found)?;
    if upload.owner.id != request.caller.user_id {
        return Err(not_found().into());
    }
    if upload.status != TransferStatus::Open {
        return Ok(Json(upload));
    }
    Ok(Json(end(&uploader, id, change).await?.upload))
}

fn change(status: TransferStatus, refusal: Option<Refusal>) -> Result<Change, Refusal> {
    match (status, refusal) {
        (TransferStatus::Rejected, Some(refusal)) => Ok(Change::Reject(refusal)),
        (TransferStatus::Rejected, None) => {
            Err(invalid("a rejection needs a refusal that says why"))
        }
        (TransferStatus::Aborted, _) => Ok(Change::Abort),
        _ => Err(invalid("an upload can be ended as rejected or aborted")),
    }
}

/// Ends an open upload and frees its bytes.
pub(crate) async fn end(
    uploader: &Uploader,
    id: UploadId,
    change: Change,
) -> Result<Applied, Failure> {
    let applied = uploader
        .store
        .apply(id, change, uploader.clock.now())
        .await?
        .ok_or_else(not_found)?;
    uploader.recent.forget(id);
    if applied.changed {
        let Upload { status, code, .. } = &applied.upload;
        tracing::info!(upload_id = %id, %status, code = code.map(|code| code.as_str()), "upload ended");
        metrics::counter!(metric::ENDED, "status" => status.as_str()).increment(1);
        uploader.free(id).await;
    }
    Ok(applied)
}
