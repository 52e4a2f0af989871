//! Turning a complete upload into a file.

use super::{end, ended};
use crate::{
    Uploader,
    error::{Failure, invalid, not_found, seal_refused},
    metric,
    store::Change,
};
use axum::extract::State;
use protocol::{
    ErrorCode, Refusal, TransferStatus,
    upload::{SubmitFile, Upload},
};
use service_kit::problem::Json;

/// `POST /file/upload`: verifies, seals and queues the file. Repeating it repeats the answer.
pub(crate) async fn handle(
    State(uploader): State<Uploader>,
    Json(request): Json<SubmitFile>,
) -> Result<Json<Upload>, Failure> {
    let submitted = submit(&uploader, &request).await;
    let outcome = match &submitted {
        Ok((true, _)) => "cached",
        Ok((false, _)) => "repeated",
        Err(failure) => failure.code().as_str(),
    };
    metrics::counter!(metric::SUBMITTED, "outcome" => outcome).increment(1);
    submitted.map(|(_, upload)| Json(upload))
}

/// Answers the file's upload, and whether it became a file just now.
async fn submit(uploader: &Uploader, request: &SubmitFile) -> Result<(bool, Upload), Failure> {
    if !is_known_to_fit(uploader, request) {
        let upload = owned(uploader, request).await?;
        if upload.status != TransferStatus::Open {
            return as_it_is(upload);
        }
        check_size(&upload, request.size)?;
        check_digest(uploader, &upload, request).await?;
    }
    let id = request.upload_id;
    if let Err(error) = uploader.chunks.seal(id, request.generation).await {
        // Someone else may have been faster, so that the bytes are already stored and freed.
        let present = owned(uploader, request).await?;
        return match present.status {
            TransferStatus::Open => Err(seal_refused(id, &error).into()),
            _ => as_it_is(present),
        };
    }
    cache(uploader, request).await
}

/// Whether the request would pass the checks, going by what was remembered of the upload. How the upload stands is seen when
/// it is sealed and changed.
fn is_known_to_fit(uploader: &Uploader, request: &SubmitFile) -> bool {
    let Some(facts) = uploader.recent.of(request.upload_id) else {
        return false;
    };
    let is_as_computed = |digest: protocol::Digest| digest == request.computed;
    // Without an announced digest it is the usual one that is computed.
    let kind = facts.digest.map(|digest| digest.algorithm);
    facts.owner == request.caller.user_id
        && facts.size == request.size
        && request.computed.algorithm == kind.unwrap_or_default()
        && facts.digest.is_none_or(is_as_computed)
        && request.announced.is_none_or(is_as_computed)
}

/// The upload, if it is the caller's.
async fn owned(uploader: &Uploader, request: &SubmitFile) -> Result<Upload, Failure> {
    let upload = uploader.store.upload(request.upload_id).await?;
    Ok(upload
        .filter(|upload| upload.owner.id == request.caller.user_id)
        .ok_or_else(not_found)?)
}

/// The answer for an upload that is no longer open.
fn as_it_is(upload: Upload) -> Result<(bool, Upload), Failure> {
    if upload.status.is_file() {
        Ok((false, upload))
    } else {
        Err(ended(&upload).into())
    }
}

fn check_size(upload: &Upload, size: u64) -> Result<(), Refusal> {
    let announced = upload.meta.size;
    match size.cmp(&announced) {
        std::cmp::Ordering::Less => Err(Refusal::bare(ErrorCode::Incomplete).expecting(size)),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(Refusal::new(
            ErrorCode::SizeExceeded,
            format!("{size} bytes came where {announced} were announced"),
        )),
    }
}

/// Compares the digest with those announced at the start and at the end. A mismatch ends the upload: the same bytes will
/// never fit.
async fn check_digest(
    uploader: &Uploader,
    upload: &Upload,
    request: &SubmitFile,
) -> Result<(), Failure> {
    let algorithm = upload.meta.digest_algorithm();
    let of_another_kind = |digest: &protocol::Digest| digest.algorithm != algorithm;
    if of_another_kind(&request.computed) || request.announced.as_ref().is_some_and(of_another_kind)
    {
        return Err(invalid(format!(
            "the digest of this upload is a {}",
            algorithm.as_str()
        ))
        .into());
    }
    let announced = [upload.meta.digest, request.announced];
    let Some(wrong) = announced
        .into_iter()
        .flatten()
        .find(|digest| *digest != request.computed)
    else {
        return Ok(());
    };
    let detail = format!("announced {wrong}, received {}", request.computed);
    let refusal = Refusal::new(ErrorCode::DigestMismatch, detail);
    let applied = end::end(uploader, upload.upload_id, Change::Reject(refusal)).await?;
    if applied.upload.status.is_file() {
        // Another request, with the right digest, has made it a file meanwhile; what this one announced is wrong still.
        return Err(Refusal::bare(ErrorCode::DigestMismatch).into());
    }
    Err(ended(&applied.upload).into())
}

/// Makes the sealed upload a file, unless it ended meanwhile.
async fn cache(uploader: &Uploader, request: &SubmitFile) -> Result<(bool, Upload), Failure> {
    let change = Change::Cache {
        digest: request.computed,
    };
    let applied = uploader
        .store
        .apply(request.upload_id, change, uploader.clock.now())
        .await?;
    let applied = applied.ok_or_else(not_found)?;
    uploader.recent.forget(request.upload_id);
    if !applied.changed {
        return as_it_is(applied.upload);
    }
    let Upload {
        upload_id,
        file_id,
        meta,
        ..
    } = &applied.upload;
    tracing::debug!(%upload_id, %file_id, size = meta.size, "file cached");
    metrics::counter!(metric::CACHED_BYTES).increment(meta.size);
    Ok((true, applied.upload))
}
