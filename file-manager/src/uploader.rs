//! What this service asks of the uploader, which knows every upload and every file that is not stored yet.

use protocol::{
    FileId, TenantId, TransferStatus,
    file::{FilePage, FileQuery},
    upload::{UpdateStatus, Upload},
};
use reports::Reports;
use serde::Serialize;
use service_kit::peer::{Peer, PeerError};

mod reports;

/// A client of the uploader.
pub(crate) struct Uploader {
    peer: Peer,
    reports: Reports,
}

#[derive(Serialize)]
struct PageQuery<'a> {
    #[serde(flatten)]
    query: &'a FileQuery,
    tenant: &'a TenantId,
}

impl Uploader {
    pub(crate) fn new(peer: Peer) -> Self {
        let reports = Reports::default();
        Self { peer, reports }
    }

    /// Reports how an attempt ended; answers the status of the upload after it, or none if the uploader does not know it.
    pub(crate) async fn report(
        &self,
        report: &UpdateStatus,
    ) -> Result<Option<TransferStatus>, PeerError> {
        self.reports.send(&self.peer, report).await
    }

    /// The upload that brought a file, if there was one.
    pub(crate) async fn upload_of(&self, file: FileId) -> Result<Option<Upload>, PeerError> {
        known(self.peer.get_json(format!("/files/{file}")).await)
    }

    /// A page of the tenant's files that are not stored, or could not be.
    pub(crate) async fn page(
        &self,
        tenant: &TenantId,
        query: &FileQuery,
    ) -> Result<FilePage, PeerError> {
        let query = serde_urlencoded::to_string(PageQuery { query, tenant }).map_err(|error| {
            PeerError::InvalidRequest {
                peer: self.peer.name().into(),
                reason: error.to_string(),
            }
        })?;
        self.peer.get_json(format!("/uploads?{query}")).await
    }
}

/// An answer of `not-found` is one to go by, not a failure.
fn known<T>(answer: Result<T, PeerError>) -> Result<Option<T>, PeerError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.has_code(protocol::ErrorCode::NotFound.as_str()) => Ok(None),
        Err(error) => Err(error),
    }
}
