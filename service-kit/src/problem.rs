//! Errors as callers see them: RFC 9457 problem documents with a stable `code`.

mod extract;
mod panic;

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

pub use extract::{Json, Path, Query};
pub use panic::catch_panics;
pub(crate) use panic::text_of as panic_text;

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// The extension member that holds the time to wait, in milliseconds.
const RETRY_AFTER_MS: &str = "retry_after_ms";

/// A problem document: what went wrong, for people (`title`, `detail`) and for programs (`code`).
///
/// It is also an `Error`, so handlers may return `Result<T, Problem>` and use `?`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {title}{}", .detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default())]
pub struct Problem {
    /// A URI that names the kind of problem; none is written as `about:blank`, where `code` says it all.
    #[serde(
        rename = "type",
        default,
        serialize_with = "write_type",
        deserialize_with = "read_type"
    )]
    pub kind: Option<Box<str>>,
    /// One short sentence, the same for every problem with this code.
    pub title: Cow<'static, str>,
    /// The HTTP status, repeated in the document.
    #[serde(serialize_with = "write_status", deserialize_with = "read_status")]
    pub status: StatusCode,
    /// A stable word that programs decide by, such as `not-found`.
    pub code: Cow<'static, str>,
    /// What is particular to this occurrence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Further members, beside the others in the document (`instance` among them).
    #[serde(flatten)]
    pub extensions: BTreeMap<String, Value>,
}

impl Problem {
    /// A problem of this status, code and title.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        title: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            kind: None,
            title: title.into(),
            status,
            code: code.into(),
            detail: None,
            extensions: BTreeMap::new(),
        }
    }

    /// The general problem of a status: its code is the one used where nothing better is known.
    pub fn of_status(status: StatusCode) -> Self {
        Self::new(
            status,
            code_of(status),
            status.canonical_reason().unwrap_or("unknown status"),
        )
    }

    /// 400 `invalid-message`: the request could not be understood; `detail` says what to correct.
    pub fn invalid_message(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid-message",
            "the request is not valid",
        )
        .with_detail(detail)
    }

    /// 404 `not-found`: it does not exist, or the caller may not know that it does.
    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "there is no such resource",
        )
    }

    /// 503 `unavailable`: something this service needs does not answer; try again after `retry_after`.
    pub fn unavailable(retry_after: Duration) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "temporarily unavailable, try again later",
        )
        .with_retry_after(retry_after)
    }

    /// 500 `internal`: a defect of ours. What happened belongs into the log, not into the reply.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the server failed to handle the request",
        )
    }

    /// Adds what is particular to this occurrence.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the URI of this occurrence.
    #[must_use]
    pub fn with_instance(self, instance: impl Into<String>) -> Self {
        self.with("instance", instance.into())
    }

    /// Adds an extension member.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extensions.insert(name.into(), value.into());
        self
    }

    /// Adds `retry_after_ms`, which also becomes the `Retry-After` header.
    #[must_use]
    pub fn with_retry_after(self, wait: Duration) -> Self {
        self.with(
            RETRY_AFTER_MS,
            u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        )
    }

    /// How long to wait before trying again, where the problem says so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.extensions
            .get(RETRY_AFTER_MS)?
            .as_u64()
            .map(Duration::from_millis)
    }

    /// The URI of this occurrence, where the problem has one.
    pub fn instance(&self) -> Option<&str> {
        self.extensions.get("instance")?.as_str()
    }

    /// Reads the problem out of a response that is not a success.
    ///
    /// A body that is no problem document (say, of a proxy on the way) gives the general problem of the status. The
    /// status of the response is the one that counts.
    pub fn from_response(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let is_problem = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| {
                value
                    .split(';')
                    .next()
                    .is_some_and(|kind| kind.trim() == MEDIA_TYPE)
            });
        let parsed = is_problem
            .then(|| serde_json::from_slice::<Self>(body).ok())
            .flatten();
        match parsed {
            Some(problem) => Self { status, ..problem },
            None => Self::of_status(status),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(wait) = self.retry_after() {
            // The header counts whole seconds; rounding down would invite the client too early.
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(wait.as_millis().div_ceil(1000) as u64),
            );
        }
        response
    }
}

/// Makes unknown paths and methods of `router` answer with problems. Call it after the last route was added.
pub fn with_fallbacks(router: Router) -> Router {
    router
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
}

async fn no_such_route(uri: Uri) -> Problem {
    Problem::not_found().with_instance(uri.path())
}

async fn no_such_method(method: Method, uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "this resource does not know the method",
    )
    .with_detail(format!(
        "the method was {method}; the header `allow` names those it knows"
    ))
    .with_instance(uri.path())
}

fn code_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "unauthenticated",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::NOT_FOUND | StatusCode::GONE => "not-found",
        StatusCode::METHOD_NOT_ALLOWED => "method-not-allowed",
        StatusCode::CONFLICT => "conflict",
        StatusCode::PAYLOAD_TOO_LARGE => "body-too-large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported-media-type",
        StatusCode::TOO_MANY_REQUESTS => "rate-limited",
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            "unavailable"
        }
        StatusCode::INSUFFICIENT_STORAGE => "storage-full",
        status if status.is_server_error() => "internal",
        _ => "invalid-message",
    }
}

fn write_type<S: Serializer>(kind: &Option<Box<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_deref().unwrap_or("about:blank"))
}

fn read_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<str>>, D::Error> {
    let kind = Box::<str>::deserialize(deserializer)?;
    Ok((&*kind != "about:blank").then_some(kind))
}

fn write_status<S: Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

fn read_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StatusCode, D::Error> {
    let number = u16::deserialize(deserializer)?;
    StatusCode::from_u16(number).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests;
