//! Who is calling: verified here, told to the services in a header that no client can set.

use crate::{Gateway, refusals};
use axum::{extract::FromRequestParts, http::request::Parts};
use http::{HeaderName, HeaderValue, header::AUTHORIZATION};
use protocol::{
    ErrorCode, Refusal,
    identity::{CALLER_HEADER, Caller},
};
use service_kit::problem::Problem;
use std::sync::Arc;

/// The header with the caller in JSON.
pub(crate) const HEADER: HeaderName = HeaderName::from_static(CALLER_HEADER);

/// A caller as the header's value: JSON, whose bytes a header may hold.
pub(crate) fn encode(caller: &Caller) -> HeaderValue {
    let json = serde_json::to_string(caller).unwrap_or_default();
    HeaderValue::from_bytes(json.as_bytes()).unwrap_or_else(|_| HeaderValue::from_static("{}"))
}

/// The user that a request's bearer token names. Without a good token the request is refused.
pub(crate) struct Authenticated(pub(crate) Caller);

impl FromRequestParts<Arc<Gateway>> for Authenticated {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        gateway: &Arc<Gateway>,
    ) -> Result<Self, Problem> {
        let token = bearer(&parts.headers).ok_or_else(|| {
            refusals::to_problem(Refusal::new(
                ErrorCode::Unauthenticated,
                "send the access token as `Authorization: Bearer …`",
            ))
        })?;
        let verified = gateway
            .tokens
            .verify(token)
            .await
            .map_err(refusals::to_problem)?;
        Ok(Self(verified.caller))
    }
}

/// The token in the `Authorization` header.
pub(crate) fn bearer(headers: &http::HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
