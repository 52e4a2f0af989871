//! What a successful signup, login or refresh gives: a pair of tokens.

use crate::{
    error::AuthError,
    refresh_token::RefreshToken,
    service::{Auth, later},
    users::{NewSession, User},
};
use axum::{
    http::header::CACHE_CONTROL,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use protocol::{http::Grant, ids::UserId};
use service_kit::problem::Json;
use uuid::Uuid;

/// A grant as a response that nobody may keep.
pub(crate) struct Granted(pub(crate) Grant);

impl IntoResponse for Granted {
    fn into_response(self) -> Response {
        ([(CACHE_CONTROL, "no-store")], Json(self.0)).into_response()
    }
}

impl Auth {
    /// Begins a login of this user.
    pub(crate) async fn begin_session(
        &self,
        user_id: UserId,
        now: Timestamp,
    ) -> Result<Grant, AuthError> {
        let token = RefreshToken::generate();
        let session = NewSession {
            id: Uuid::now_v7(),
            user_id,
            family_hash: token.family_hash(),
            token_hash: token.hash(),
            created_at: now,
            expires_at: later(now, self.config.refresh_lifetime.duration()),
        };
        let begun = self
            .users
            .begin_session(&session, self.config.max_sessions_per_user)
            .await?;
        // It may have been deleted since its password was verified.
        let user = begun.ok_or(AuthError::WrongCredentials)?;
        self.grant(&user, session.id, &token, now).await
    }

    /// The pair of tokens for a login.
    pub(crate) async fn grant(
        &self,
        user: &User,
        session: Uuid,
        refresh_token: &RefreshToken,
        now: Timestamp,
    ) -> Result<Grant, AuthError> {
        self.refresh_keys(now).await?;
        let access_token = self
            .tokens
            .sign(user, session, now)
            .map_err(|error| AuthError::Tokens(error.to_string()))?;
        Ok(Grant {
            user_id: user.id,
            user_name: user.name.clone(),
            role: user.role,
            access_token,
            refresh_token: refresh_token.encode(),
            expires_in: self.tokens.lifetime_secs(),
        })
    }
}
