//! Failures of requests, and the problems that callers see.

use crate::store::StoreError;
use axum::response::{IntoResponse, Response};
use protocol::{ErrorCode, Refusal, UploadId};
use service_kit::problem::Problem;
use std::time::Duration;
use storage::chunks::ChunkError;

/// How long a caller should wait before it tries again what an engine could not do now.
const RETRY_UNAVAILABLE_MS: u64 = 1_000;

/// How long a caller should wait before it tries again what there was no room for.
const RETRY_FULL_MS: u64 = 5_000;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The request is refused; the caller learns why.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Failure {
    /// The code that the caller is told.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(refusal) => refusal.code,
            Self::Store(StoreError::Full(_)) => ErrorCode::StorageFull,
            Self::Store(StoreError::Unavailable(_)) => ErrorCode::Unavailable,
            Self::Store(StoreError::Invalid(_) | StoreError::Closed) => ErrorCode::Internal,
        }
    }

    /// What the caller is told. What it can do nothing about is logged and stays here.
    fn refusal(self) -> Refusal {
        let code = self.code();
        let error = match self {
            Self::Refused(refusal) => return refusal,
            Self::Store(error) => error,
        };
        if code == ErrorCode::Internal {
            tracing::error!(%error, "a request failed");
            return Refusal::bare(code);
        }
        tracing::warn!(%error, "a request failed");
        Refusal::bare(code).retry_after_ms(retry_after_ms(code))
    }
}

/// How long a caller should wait before it tries again.
fn retry_after_ms(code: ErrorCode) -> u64 {
    if code == ErrorCode::StorageFull {
        RETRY_FULL_MS
    } else {
        RETRY_UNAVAILABLE_MS
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        problem(self.refusal()).into_response()
    }
}

/// A refusal as a problem document.
fn problem(refusal: Refusal) -> Problem {
    let Refusal {
        code,
        detail,
        expected,
        retry_after_ms,
    } = refusal;
    let status = axum::http::StatusCode::from_u16(code.http_status()).unwrap_or_default();
    let mut problem = Problem::new(status, code.as_str(), code.title());
    problem.detail = detail;
    if let Some(expected) = expected {
        problem = problem.with("expected", expected);
    }
    match retry_after_ms {
        Some(wait) => problem.with_retry_after(Duration::from_millis(wait)),
        None => problem,
    }
}

/// There is no such thing, or the caller may not know of it.
pub(crate) fn not_found() -> Refusal {
    Refusal::bare(ErrorCode::NotFound)
}

/// The request can't be understood; `detail` says what to correct.
pub(crate) fn invalid(detail: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::InvalidMessage, detail)
}

/// What the chunk cache's refusal to seal means for the one who completes an upload.
pub(crate) fn seal_refused(upload: UploadId, error: &ChunkError) -> Refusal {
    match error {
        ChunkError::Superseded { .. } => Refusal::bare(ErrorCode::Superseded),
        // The engine lost bytes that it had acknowledged, or all of them: the client sends them again.
        ChunkError::OutOfOrder { expected } => {
            Refusal::bare(ErrorCode::Incomplete).expecting(*expected)
        }
        ChunkError::NotFound(_) => Refusal::bare(ErrorCode::Incomplete).expecting(0),
        ChunkError::Full(reason) => {
            tracing::warn!(upload_id = %upload, reason, "no room to seal an upload");
            Refusal::bare(ErrorCode::StorageFull).retry_after_ms(RETRY_FULL_MS)
        }
        ChunkError::Busy(_)
        | ChunkError::TooLarge(_)
        | ChunkError::Unavailable(_)
        | ChunkError::Sealed(_) => {
            tracing::warn!(upload_id = %upload, %error, "an upload can't be sealed now");
            Refusal::bare(ErrorCode::Unavailable).retry_after_ms(RETRY_UNAVAILABLE_MS)
        }
    }
}
