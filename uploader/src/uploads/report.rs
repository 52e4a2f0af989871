//! Reports on attempts to store a file.

use crate::{
    Uploader, clock,
    error::{Failure, invalid, not_found},
    metric,
    store::{Change, StoreError},
};
use axum::extract::State;
use futures::future::{join_all, try_join_all};
use protocol::upload::{
    AttemptOutcome, MAX_REPORTS, StatusUpdated, StatusesUpdated, UpdateStatus, UpdateStatuses,
    Upload,
};
use service_kit::problem::Json;
use std::time::Duration;

/// `PUT /file/update/status`. A report that is not on the present attempt changes nothing and learns how things stand.
pub(crate) async fn handle(
    State(uploader): State<Uploader>,
    Json(report): Json<UpdateStatus>,
) -> Result<Json<StatusUpdated>, Failure> {
    let upload = apply(&uploader, &report).await?.ok_or_else(not_found)?;
    free(&uploader, &upload).await;
    Ok(Json(StatusUpdated { upload }))
}

/// `PUT /file/update/statuses`. The reports share a commit. If it fails, some of them may have been heard all the same.
pub(crate) async fn handle_all(
    State(uploader): State<Uploader>,
    Json(UpdateStatuses { reports }): Json<UpdateStatuses>,
) -> Result<Json<StatusesUpdated>, Failure> {
    if reports.len() > MAX_REPORTS {
        return Err(invalid(format!("a call has at most {MAX_REPORTS} reports")).into());
    }
    let applied = reports.iter().map(|report| apply(&uploader, report));
    let uploads = try_join_all(applied).await?;
    join_all(
        uploads
            .iter()
            .flatten()
            .map(|upload| free(&uploader, upload)),
    )
    .await;
    let status = |upload: Option<Upload>| upload.map(|upload| upload.status);
    Ok(Json(StatusesUpdated {
        statuses: uploads.into_iter().map(status).collect(),
    }))
}

/// Makes the change that a report asks for; answers the upload after it, if there is one.
async fn apply(uploader: &Uploader, report: &UpdateStatus) -> Result<Option<Upload>, StoreError> {
    let change = change(uploader, report);
    let outcome = outcome(&change);
    let applied = uploader
        .store
        .apply(report.upload_id, change, uploader.clock.now())
        .await?;
    let Some(applied) = applied else {
        return Ok(None);
    };
    let counted = if applied.changed { outcome } else { "stale" };
    metrics::counter!(metric::REPORTS, "outcome" => counted).increment(1);
    if applied.changed {
        note(&applied.upload);
    }
    Ok(Some(applied.upload))
}

/// Frees the bytes of an upload that has ended, also after a report that repeats another: who made the first may have been cut
/// off between the commit and this.
async fn free(uploader: &Uploader, upload: &Upload) {
    if upload.status.is_final() {
        uploader.free(upload.upload_id).await;
    }
}

/// What a report on the present attempt would change.
fn change(uploader: &Uploader, report: &UpdateStatus) -> Change {
    let attempt = report.attempt;
    match &report.outcome {
        AttemptOutcome::UploadedSuccessfully { .. } => Change::Store { attempt },
        AttemptOutcome::UploadFailed { reason, permanent } => {
            let reason = reason.clone();
            if *permanent || attempt >= uploader.config.max_attempts.get() {
                return Change::Fail { attempt, reason };
            }
            let wait = backoff(
                uploader.config.retry_backoff.duration(),
                attempt,
                rand::random(),
            );
            Change::Retry {
                attempt,
                reason,
                due_at: clock::after(uploader.clock.now(), wait),
            }
        }
    }
}

fn outcome(change: &Change) -> &'static str {
    match change {
        Change::Store { .. } => "stored",
        Change::Retry { .. } => "retrying",
        _ => "failed",
    }
}

fn note(upload: &Upload) {
    let Upload {
        upload_id,
        file_id,
        status,
        attempts,
        reason,
        ..
    } = upload;
    match reason {
        Some(reason) => {
            tracing::warn!(%upload_id, %file_id, %status, attempts, reason, "storing a file failed");
        }
        None => tracing::debug!(%upload_id, %file_id, attempts, "file stored"),
    }
}

/// How long to wait after `attempt` failed: four times as long after each, and up to half of it less by chance (`random` in
/// 0..1), so that what failed together does not come back together.
fn backoff(base: Duration, attempt: u32, random: f64) -> Duration {
    let full = base.saturating_mul(4_u32.saturating_pow(attempt.saturating_sub(1)));
    full.mul_f64(1.0 - random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_fourfold_and_spread_over_half() {
        let base = Duration::from_secs(1);
        for (attempt, full) in [(1, 1), (2, 4), (3, 16)] {
            let full = Duration::from_secs(full);
            assert_eq!(backoff(base, attempt, 0.0), full);
            assert_eq!(backoff(base, attempt, 0.5), full.mul_f64(0.75));
            assert!(backoff(base, attempt, 0.999) >= full / 2);
        }
        assert_eq!(backoff(Duration::ZERO, 3, 0.3), Duration::ZERO);
    }
}
