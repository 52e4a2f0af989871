//! An uploader in memory that keeps to the contract and records what it is told.

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    routing::{get, put},
};
use futures::{FutureExt, future::BoxFuture};
use protocol::{
    FileId, TenantId, TransferStatus, UploadId,
    file::{Cursor, FileInfo, FilePage, FileQuery},
    upload::{AttemptOutcome, StatusUpdated, UpdateStatus, Upload},
};
use serde::Deserialize;
use service_kit::{peer::Peer, problem::Problem};
use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

/// After the attempt with this number a failure is final.
const ATTEMPTS: u32 = 3;

#[derive(Clone, Default)]
pub(crate) struct Uploader {
    state: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    uploads: HashMap<UploadId, Upload>,
    reports: Vec<UpdateStatus>,
    is_down: bool,
    refused: usize,
    page_limit: Option<u32>,
    before_answer: Option<BoxFuture<'static, ()>>,
    before_report: Option<BoxFuture<'static, ()>>,
}

impl Uploader {
    pub(crate) fn peer(&self) -> Peer {
        let router = Router::new()
            .route("/file/update/status", put(update))
            .route("/uploads", get(page))
            .route("/files/{file_id}", get(show))
            .with_state(self.clone());
        Peer::local("uploader", router)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.state.lock().unwrap()
    }

    /// Takes an upload as it is.
    pub(crate) fn know(&self, upload: &Upload) {
        self.known()
            .uploads
            .insert(upload.upload_id, upload.clone());
    }

    /// Knows nothing of an upload any more.
    pub(crate) fn forget(&self, upload: UploadId) {
        self.known().uploads.remove(&upload);
    }

    /// Begins an attempt, unless the upload has ended.
    pub(crate) fn begin(&self, upload: UploadId, attempt: u32) -> Option<Upload> {
        let mut known = self.known();
        let upload = known.uploads.get_mut(&upload)?;
        if !upload.status.is_final() {
            upload.status = TransferStatus::Storing;
            upload.attempts = attempt;
        }
        Some(upload.clone())
    }

    pub(crate) fn set_status(&self, upload: UploadId, status: TransferStatus) {
        self.known().uploads.get_mut(&upload).unwrap().status = status;
    }

    pub(crate) fn status(&self, upload: UploadId) -> TransferStatus {
        self.known().uploads[&upload].status
    }

    /// From now on every call is refused as `unavailable`, or none.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.known().is_down = is_down;
    }

    /// Pages are cut to this many files, whatever is asked for.
    pub(crate) fn limit_pages(&self, limit: u32) {
        self.known().page_limit = Some(limit);
    }

    /// The next question about files is answered only after this has happened.
    pub(crate) fn before_next_answer(&self, event: impl Future<Output = ()> + Send + 'static) {
        self.known().before_answer = Some(event.boxed());
    }

    /// The next report is taken only after this has happened.
    pub(crate) fn before_next_report(&self, event: impl Future<Output = ()> + Send + 'static) {
        self.known().before_report = Some(event.boxed());
    }

    async fn let_happen(&self) {
        let event = self.known().before_answer.take();
        if let Some(event) = event {
            event.await;
        }
    }

    /// How many calls were refused.
    pub(crate) fn refused(&self) -> usize {
        self.known().refused
    }

    pub(crate) fn reports(&self) -> Vec<UpdateStatus> {
        self.known().reports.clone()
    }

    /// The reports, once there are `count`.
    pub(crate) async fn wait_for_reports(&self, count: usize) -> Vec<UpdateStatus> {
        super::until(&format!("{count} reports"), || {
            self.known().reports.len() >= count
        })
        .await;
        self.reports()
    }

    fn answering(&self) -> Result<MutexGuard<'_, Known>, Problem> {
        let mut known = self.known();
        if known.is_down {
            known.refused += 1;
            return Err(Problem::unavailable(Duration::from_secs(1)));
        }
        Ok(known)
    }
}

async fn update(
    State(uploader): State<Uploader>,
    Json(report): Json<UpdateStatus>,
) -> Result<Json<StatusUpdated>, Problem> {
    let event = uploader.known().before_report.take();
    if let Some(event) = event {
        event.await;
    }
    let mut known = uploader.answering()?;
    known.reports.push(report.clone());
    let upload = known
        .uploads
        .get_mut(&report.upload_id)
        .ok_or_else(Problem::not_found)?;
    if upload.attempts == report.attempt && !upload.status.is_final() {
        upload.status = match &report.outcome {
            AttemptOutcome::UploadedSuccessfully { .. } => TransferStatus::UploadedSuccessfully,
            AttemptOutcome::UploadFailed { permanent, .. }
                if *permanent || report.attempt >= ATTEMPTS =>
            {
                TransferStatus::UploadFailed
            }
            AttemptOutcome::UploadFailed { .. } => TransferStatus::Retrying,
        };
        if let AttemptOutcome::UploadFailed { reason, .. } = report.outcome {
            upload.reason = Some(reason);
        }
    }
    Ok(Json(StatusUpdated {
        upload: upload.clone(),
    }))
}

async fn show(
    State(uploader): State<Uploader>,
    Path(file): Path<FileId>,
) -> Result<Json<Upload>, Problem> {
    uploader.let_happen().await;
    let known = uploader.answering()?;
    let upload = known.uploads.values().find(|upload| upload.file_id == file);
    upload.cloned().map(Json).ok_or_else(Problem::not_found)
}

#[derive(Deserialize)]
struct Tenant {
    tenant: TenantId,
}

async fn page(
    State(uploader): State<Uploader>,
    Query(query): Query<FileQuery>,
    Query(Tenant { tenant }): Query<Tenant>,
) -> Result<Json<FilePage>, Problem> {
    uploader.let_happen().await;
    let known = uploader.answering()?;
    let after: Option<Cursor> = query.cursor.as_ref().map(|cursor| cursor.parse().unwrap());
    let selected = |file: &FileInfo| {
        query.owner.is_none_or(|owner| file.owner.id == owner)
            && query.pool.is_none_or(|pool| file.pool == Some(pool))
            && query.status.is_none_or(|status| file.status == status)
            && query.tag.as_ref().is_none_or(|tag| file.tags.contains(tag))
            && query.from.is_none_or(|from| file.received_at >= from)
            && query.to.is_none_or(|to| file.received_at < to)
            && after.is_none_or(|after| Cursor::after(file) < after)
    };
    let uploads = known
        .uploads
        .values()
        .filter(|upload| upload.tenant == tenant);
    let mut files: Vec<_> = uploads.filter_map(unstored).filter(selected).collect();
    files.sort_by_key(|file| Reverse(Cursor::after(file)));
    let limit = query
        .limit
        .unwrap()
        .min(known.page_limit.unwrap_or(u32::MAX)) as usize;
    let more = files.len() > limit;
    files.truncate(limit);
    let next_cursor = files
        .last()
        .filter(|_| more)
        .map(|last| Cursor::after(last).to_string());
    Ok(Json(FilePage { files, next_cursor }))
}

/// The upload as a file, if it is one that is not stored.
fn unstored(upload: &Upload) -> Option<FileInfo> {
    if !upload.status.is_file() || upload.status == TransferStatus::UploadedSuccessfully {
        return None;
    }
    let meta = upload.meta.clone();
    Some(FileInfo {
        file_id: upload.file_id,
        upload_id: upload.upload_id,
        name: meta.name,
        size: meta.size,
        content_type: meta.content_type,
        digest: upload.computed_digest,
        status: upload.status,
        owner: upload.owner.clone(),
        pool: meta.pool,
        batch: meta.batch,
        captured_at: meta.captured_at,
        received_at: upload.received_at?,
        stored_at: None,
        attempts: upload.attempts,
        reason: upload.reason.clone(),
        title: meta.title,
        description: meta.description,
        tags: meta.tags,
    })
}
