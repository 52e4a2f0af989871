//! `/api/v1/uploads/{id}`: the state of an upload, also after it ended.

use crate::{Gateway, caller::Authenticated, refusals};
use axum::{Json, extract::State};
use protocol::{UploadId, upload::UploadView};
use service_kit::problem::{Path, Problem};
use std::sync::Arc;

/// Shows an upload to its owner, or to an admin of its tenant.
pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Authenticated(caller): Authenticated,
    Path(upload_id): Path<UploadId>,
) -> Result<Json<UploadView>, Problem> {
    let view = gateway
        .uploads
        .view(&caller, upload_id)
        .await
        .map_err(refusals::to_problem)?;
    Ok(Json(view))
}
