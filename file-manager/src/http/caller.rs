//! Who asks, as the gateway says in a header.

use crate::lookup::problem;
use axum::{extract::FromRequestParts, http::request::Parts};
use protocol::{
    ErrorCode,
    identity::{CALLER_HEADER, Caller},
};
use service_kit::problem::Problem;

/// The caller of a request; a request without one is refused as `unauthenticated`.
pub(super) struct Identified(pub(super) Caller);

impl<S: Sync> FromRequestParts<S> for Identified {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let value = parts.headers.get(CALLER_HEADER).ok_or_else(|| {
            problem(
                ErrorCode::Unauthenticated,
                format!("the header {CALLER_HEADER} is missing"),
            )
        })?;
        serde_json::from_slice(value.as_bytes())
            .map(Self)
            .map_err(|error| {
                problem(
                    ErrorCode::Unauthenticated,
                    format!("the header {CALLER_HEADER} is not valid: {error}"),
                )
            })
    }
}
