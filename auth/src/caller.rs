//! Who calls, as the gateway tells it.

use crate::error::AuthError;
use axum::{extract::FromRequestParts, http::request::Parts};
use protocol::identity::{CALLER_HEADER, Caller};

/// Extracts the caller that the gateway has authenticated.
pub(crate) struct Authenticated(pub(crate) Caller);

impl<S: Send + Sync> FromRequestParts<S> for Authenticated {
    type Rejection = AuthError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, AuthError> {
        let header = parts
            .headers
            .get(CALLER_HEADER)
            .ok_or(AuthError::UnknownCaller)?;
        let caller =
            serde_json::from_slice(header.as_bytes()).map_err(|_| AuthError::UnknownCaller)?;
        Ok(Self(caller))
    }
}
