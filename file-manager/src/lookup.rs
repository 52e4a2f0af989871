//! Where a file is: in the index, or still with the uploader.

use crate::{FileManager, index::IndexError};
use axum::http::StatusCode;
use protocol::{
    ErrorCode, FileId, TransferStatus, file::FileInfo, identity::Caller, upload::Upload,
};
use service_kit::problem::Problem;
use std::time::Duration;

/// A file that the caller may see.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) info: FileInfo,
    /// Whether it is stored: then its content is in the blob store, else in the chunk cache.
    pub(crate) is_stored: bool,
}

impl FileManager {
    /// Finds a file.
    ///
    /// # Errors
    /// `not-found` when it does not exist or the caller may not see it.
    pub(crate) async fn find(&self, caller: &Caller, file: FileId) -> Result<Found, Problem> {
        if let Some(found) = self.find_stored(caller, file).await? {
            return Ok(found);
        }
        let upload = self
            .uploader()
            .upload_of(file)
            .await?
            .filter(|upload| caller.may_see(upload.owner.id, &upload.tenant));
        match upload.as_ref().map(|upload| upload.status) {
            // It was stored between the two questions.
            Some(TransferStatus::UploadedSuccessfully) => self.find_stored(caller, file).await?,
            _ => upload.as_ref().and_then(Upload::file).map(|info| Found {
                info,
                is_stored: false,
            }),
        }
        .ok_or_else(Problem::not_found)
    }

    async fn find_stored(&self, caller: &Caller, file: FileId) -> Result<Option<Found>, Problem> {
        let entry = self.index().get(file).await?;
        Ok(entry
            .filter(|entry| caller.may_see(entry.info.owner.id, &entry.tenant))
            .map(|entry| Found {
                info: entry.info,
                is_stored: true,
            }))
    }
}

impl From<IndexError> for Problem {
    fn from(error: IndexError) -> Self {
        tracing::error!(%error, "the index failed");
        match error {
            IndexError::Unavailable(_) => Self::unavailable(Duration::from_secs(1)),
            IndexError::Conflict(_) | IndexError::Damaged(_) => Self::internal(),
        }
    }
}

/// The problem of a code, with what is particular to this occurrence.
pub(crate) fn problem(code: ErrorCode, detail: impl Into<String>) -> Problem {
    let status =
        StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Problem::new(status, code.as_str(), code.title()).with_detail(detail)
}
