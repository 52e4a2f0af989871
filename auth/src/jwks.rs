//! `GET /.well-known/jwks.json`: the keys by which tokens are verified.

use crate::{error::AuthError, service::Auth};
use axum::{
    extract::State,
    http::header::CACHE_CONTROL,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use protocol::token::Jwks;
use service_kit::problem::Json;

pub(crate) async fn handle(State(auth): State<Auth>) -> Result<Response, AuthError> {
    Ok((
        [(CACHE_CONTROL, "public, max-age=60")],
        Json(auth.published(Timestamp::now()).await?),
    )
        .into_response())
}

impl Auth {
    /// The keys of all instances.
    pub(crate) async fn published(&self, now: Timestamp) -> Result<Jwks, AuthError> {
        // Who asks may have met a token of a key that another instance made a moment ago.
        self.reload_keys(now).await?;
        Ok(self.tokens.published())
    }
}
