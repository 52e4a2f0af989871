//! `GET /.well-known/jwks.json`: the keys by which tokens are verified.

use crate::{error::AuthError, service::Auth};
use axum::{
    extract::State,
    http::header::CACHE_CONTROL,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use service_kit::problem::Json;

pub(crate) async fn handle(State(auth): State<Auth>) -> Result<Response, AuthError> {
    // Who asks may have met a token of a key that another instance made a moment ago.
    auth.reload_keys(Timestamp::now())
        .await
        .map_err(|error| AuthError::Tokens(error.to_string()))?;
    Ok((
        [(CACHE_CONTROL, "public, max-age=60")],
        Json(auth.tokens.published()),
    )
        .into_response())
}
