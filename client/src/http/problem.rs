//! Reads `application/problem+json`.

use protocol::{ErrorCode, Refusal};
use reqwest::StatusCode;
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    title: String,
    detail: Option<String>,
    expected: Option<u64>,
    retry_after_ms: Option<u64>,
}

/// What an answer that is no success says. A code that this version does not know counts as the general one of its status.
pub(super) fn read(status: StatusCode, body: &str) -> Refusal {
    let problem: Problem = serde_json::from_str(body).unwrap_or_default();
    let known = problem.code.parse().ok();
    let detail = match (known, problem.detail) {
        (Some(_), detail) => detail,
        (None, Some(detail)) => Some(format!("{} {detail}", problem.code).trim_start().to_owned()),
        (None, None) if problem.title.is_empty() => Some(format!("the server answers {status}")),
        (None, None) => Some(
            format!("{} {}", problem.code, problem.title)
                .trim_start()
                .to_owned(),
        ),
    };
    Refusal {
        code: known.unwrap_or_else(|| general_code(status)),
        detail,
        expected: problem.expected,
        retry_after_ms: problem.retry_after_ms,
    }
}

fn general_code(status: StatusCode) -> ErrorCode {
    match status {
        StatusCode::UNAUTHORIZED => ErrorCode::Unauthenticated,
        StatusCode::FORBIDDEN => ErrorCode::Forbidden,
        StatusCode::NOT_FOUND => ErrorCode::NotFound,
        StatusCode::CONFLICT => ErrorCode::Conflict,
        StatusCode::TOO_MANY_REQUESTS => ErrorCode::RateLimited,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            ErrorCode::Unavailable
        }
        status if status.is_server_error() => ErrorCode::Internal,
        _ => ErrorCode::InvalidMessage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_comes_is_a_refusal() {
        for (status, body, expected) in [
            (
                409,
                r#"{"code":"conflict","title":"t","detail":"the name is taken"}"#,
                "conflict: the name is taken",
            ),
            (
                404,
                r#"{"code":"not-found","title":"t","status":404}"#,
                "not-found",
            ),
            (
                403,
                r#"{"code":"moon-full","title":"The moon"}"#,
                "forbidden: moon-full The moon",
            ),
            (
                502,
                "<html>nginx</html>",
                "unavailable: the server answers 502 Bad Gateway",
            ),
            (
                400,
                "",
                "invalid-message: the server answers 400 Bad Request",
            ),
        ] {
            let refusal = read(StatusCode::from_u16(status).unwrap(), body);
            assert_eq!(refusal.to_string(), expected);
        }
    }
}
