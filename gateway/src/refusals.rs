//! One refusal, two shapes: the socket's `error` and HTTP's problem.

use http::StatusCode;
use protocol::{ErrorCode, Refusal, UploadId, upload::Upload};
use service_kit::{peer::PeerError, problem::Problem};
use std::time::Duration;
use storage::chunks::ChunkError;

/// When to come back if nothing better is known.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a client is told of a problem that a service answered with.
pub(crate) fn from_peer(error: PeerError) -> Refusal {
    let problem = Problem::from(error);
    let number = |name: &str| {
        problem
            .extensions
            .get(name)
            .and_then(serde_json::Value::as_u64)
    };
    Refusal {
        code: problem.code.parse().unwrap_or(ErrorCode::Internal),
        expected: number("expected"),
        retry_after_ms: number("retry_after_ms"),
        detail: problem.detail,
    }
}

/// The same refusal as an HTTP problem.
pub(crate) fn to_problem(refusal: Refusal) -> Problem {
    let status = StatusCode::from_u16(refusal.code.http_status())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut problem = Problem::new(status, refusal.code.as_str(), refusal.code.title());
    problem.detail = refusal.detail;
    if let Some(expected) = refusal.expected {
        problem = problem.with("expected", expected);
    }
    match refusal.retry_after_ms {
        Some(ms) => problem.with_retry_after(Duration::from_millis(ms)),
        None => problem,
    }
}

pub(crate) fn unavailable(detail: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::Unavailable, detail).retry_after_ms(millis(RETRY_AFTER))
}

pub(crate) fn not_found(upload_id: UploadId) -> Refusal {
    Refusal::new(
        ErrorCode::NotFound,
        format!("there is no upload {upload_id} of yours"),
    )
}

/// What a client is told when the chunk cache refuses.
pub(crate) fn from_chunks(error: ChunkError) -> Refusal {
    let text = error.to_string();
    match error {
        ChunkError::NotFound(_) => Refusal::new(
            ErrorCode::OffsetMismatch,
            "the server has lost what it held",
        )
        .expecting(0),
        ChunkError::Superseded { .. } | ChunkError::Sealed(_) => {
            Refusal::bare(ErrorCode::Superseded)
        }
        ChunkError::OutOfOrder { expected } => {
            Refusal::new(ErrorCode::OffsetMismatch, text).expecting(expected)
        }
        ChunkError::Busy(_) => {
            Refusal::new(ErrorCode::Unavailable, text).retry_after_ms(millis(RETRY_AFTER) * 5)
        }
        // To be asked to wait would be to wait for ever.
        ChunkError::TooLarge(_) => Refusal::new(ErrorCode::FileTooLarge, text),
        ChunkError::Full(_) => {
            Refusal::new(ErrorCode::StorageFull, text).retry_after_ms(millis(RETRY_AFTER) * 5)
        }
        ChunkError::Unavailable(_) => unavailable(text),
    }
}

/// What requests on an upload that ended without becoming a file are refused with; none if it is open or a file.
pub(crate) fn of_ended(upload: &Upload) -> Option<Refusal> {
    use protocol::TransferStatus::{Aborted, Expired, Rejected};
    let code = match upload.status {
        Rejected => upload.code.unwrap_or(ErrorCode::InvalidMessage),
        Expired => ErrorCode::Expired,
        Aborted => ErrorCode::Aborted,
        _ => return None,
    };
    Some(Refusal {
        detail: upload.reason.clone(),
        ..Refusal::bare(code)
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_only_wait_for_ever_is_not_asked_to_wait() {
        let refusal = |error: fn(String) -> ChunkError| from_chunks(error(String::new()));
        for wait in [
            ChunkError::Busy,
            ChunkError::Full,
            ChunkError::Unavailable as fn(String) -> ChunkError,
        ] {
            let refusal = refusal(wait);
            assert!(refusal.code.is_retryable() && refusal.retry_after_ms.is_some());
        }
        let never = refusal(ChunkError::TooLarge);
        assert_eq!(
            (never.code, never.retry_after_ms),
            (ErrorCode::FileTooLarge, None)
        );
        assert!(!never.code.is_retryable());
    }
}
