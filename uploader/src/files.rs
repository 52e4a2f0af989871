//! Files that only this service knows of: not stored yet, or given up.

use crate::{
    Uploader,
    error::{Failure, invalid, not_found},
};
use axum::extract::State;
use protocol::{
    FileId, TenantId,
    file::{Cursor, FileInfo, FilePage, FileQuery},
    upload::Upload,
};
use serde::Deserialize;
use service_kit::problem::{Json, Path, Query};

/// How many files a page has if nobody says.
const DEFAULT_LIMIT: u32 = 50;

/// How many files a page has at most.
const MAX_LIMIT: u32 = 1000;

/// Whose files: every list is of one tenant.
#[derive(Debug, Deserialize)]
pub(crate) struct InTenant {
    tenant: TenantId,
}

/// `GET /files/{id}`: the upload that brought a file.
pub(crate) async fn show(
    State(uploader): State<Uploader>,
    Path(id): Path<FileId>,
) -> Result<Json<Upload>, Failure> {
    let upload = uploader
        .store
        .upload_of_file(id)
        .await?
        .filter(|upload| upload.status.is_file());
    Ok(Json(upload.ok_or_else(not_found)?))
}

/// `GET /uploads?tenant=…`, narrowed by a [`FileQuery`]: files that are `cached`, `storing`, `retrying` or `upload_failed`.
/// Those `uploaded_successfully` are in the file manager's index.
pub(crate) async fn list(
    State(uploader): State<Uploader>,
    Query(InTenant { tenant }): Query<InTenant>,
    Query(query): Query<FileQuery>,
) -> Result<Json<FilePage>, Failure> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(invalid(format!("limit is 1 to {MAX_LIMIT}")).into());
    }
    let after = query
        .cursor
        .as_deref()
        .map(str::parse::<Cursor>)
        .transpose();
    let after = after.map_err(|error| invalid(error.to_string()))?;
    // One more than asked for tells whether another page follows.
    let uploads = uploader
        .store
        .files(&tenant, &query, after, limit + 1)
        .await?;
    let more = uploads.len() > limit as usize;
    let files: Vec<FileInfo> = uploads
        .iter()
        .take(limit as usize)
        .filter_map(Upload::file)
        .collect();
    let next_cursor = files
        .last()
        .filter(|_| more)
        .map(|last| Cursor::after(last).to_string());
    Ok(Json(FilePage { files, next_cursor }))
}
