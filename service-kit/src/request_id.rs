//! One id per request: taken from the caller or made here, found again in logs, replies and onward calls.

use std::{fmt, future::Future, sync::Arc};

use http::{HeaderName, HeaderValue};
use uuid::Uuid;

/// The header that carries the id between client, gateway and services.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id taken over from a caller, in bytes; a longer one is replaced.
const MAX_LEN: usize = 64;

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of a request: 1 to 64 letters, digits, `-`, `_` or `.`, so that it is safe in headers and log lines.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// A new id (a UUIDv7, which sorts by time).
    pub fn random() -> Self {
        Self(Uuid::now_v7().to_string().into())
    }

    /// Takes over an id, if it is valid.
    pub fn parse(text: &str) -> Option<Self> {
        let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let valid = (1..=MAX_LEN).contains(&text.len()) && text.bytes().all(is_safe);
        valid.then(|| Self(text.into()))
    }

    /// The id of the request that this task works on, if it works on one.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs `work` as part of this request. A spawned task does not inherit the id: wrap its future in this.
    pub fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as the value of [`HEADER`].
    pub fn to_header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_over_what_is_safe_in_a_header_and_in_a_log_line() {
        for (text, valid) in [
            ("018f3b1e-7c1f-7000-8000-000000000000", true),
            ("a", true),
            ("trace_1.2", true),
            (&*"x".repeat(64), true),
            (&*"x".repeat(65), false),
            ("", false),
            ("two words", false),
            ("line\nbreak", false),
            ("quote\"", false),
            ("größe", false),
        ] {
            assert_eq!(RequestId::parse(text).is_some(), valid, "{text:?}");
        }
    }

    #[tokio::test]
    async fn is_known_within_its_scope_only() {
        let id = RequestId::random();
        assert_eq!(
            id.clone().scope(async { RequestId::current() }).await,
            Some(id)
        );
        assert_eq!(RequestId::current(), None);
    }
}
