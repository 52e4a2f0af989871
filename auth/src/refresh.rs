//! `POST /auth/refresh`: exchanges a refresh token, once, for a new pair.

use crate::{
    audit,
    error::AuthError,
    grant::Granted,
    refresh_token::RefreshToken,
    service::{Auth, earlier, later},
    users::{Rotated, Rotation},
};
use axum::extract::State;
use jiff::Timestamp;
use protocol::http::{Grant, Refresh};
use service_kit::problem::Json;

pub(crate) async fn handle(
    State(auth): State<Auth>,
    Json(refresh): Json<Refresh>,
) -> Result<Granted, AuthError> {
    let granted = auth.refresh(&refresh.refresh_token, Timestamp::now()).await;
    audit::count("refresh", &granted);
    granted.map(Granted)
}

impl Auth {
    pub(crate) async fn refresh(&self, token: &str, now: Timestamp) -> Result<Grant, AuthError> {
        let token = RefreshToken::parse(token).ok_or(AuthError::RefreshRefused)?;
        let successor = token.successor();
        let rotation = Rotation {
            family_hash: token.family_hash(),
            token_hash: token.hash(),
            successor_hash: successor.hash(),
            now,
            expires_at: later(now, self.config.refresh_lifetime.duration()),
            reusable_since: earlier(now, self.config.refresh_grace.duration()),
        };
        match self.users.rotate_refresh(&rotation).await? {
            Rotated::Renewed { session, user } => self.grant(&user, session, &successor, now),
            Rotated::Unknown => Err(AuthError::RefreshRefused),
            Rotated::Reused { user_id } => {
                tracing::warn!(%user_id, "login ended, because a refresh token was used twice");
                Err(AuthError::RefreshRefused)
            }
        }
    }
}
