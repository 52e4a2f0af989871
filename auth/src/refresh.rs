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
            Rotated::Renewed { session, user } => self.grant(&user, session, &successor, now).await,
            Rotated::Unknown => Err(AuthError::RefreshRefused),
            Rotated::Reused { user_id } => {
                tracing::warn!(%user_id, "login ended, because a refresh token was used twice");
                Err(AuthError::RefreshRefused)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_secs(86_400);

    /// Signs up, and refreshes each time as long after the signup as said. Answers how each refresh went.
    async fn refreshed(uses: &[(usize, Duration)]) -> Vec<bool> {
        let folder = tempfile::tempdir().unwrap();
        let auth = Auth::for_tests(&folder).await;
        let mut tokens = vec![
            auth.sign_up("ada", "correct horse".into())
                .await
                .unwrap()
                .refresh_token,
        ];
        let start = Timestamp::now();
        let mut outcomes = Vec::new();
        for (token, after) in uses {
            let granted = auth.refresh(&tokens[*token], later(start, *after)).await;
            outcomes.push(granted.is_ok());
            tokens.extend(granted.map(|grant| grant.refresh_token));
        }
        outcomes
    }

    #[tokio::test]
    async fn tokens_live_thirty_days_from_when_they_were_given() {
        assert_eq!(
            refreshed(&[(0, 29 * DAY), (1, 58 * DAY), (2, 89 * DAY)]).await,
            [true, true, false]
        );
    }

    #[tokio::test]
    async fn a_repeated_use_is_forgiven_for_ten_seconds() {
        assert_eq!(
            refreshed(&[(0, DAY), (0, DAY + 9 * SECOND), (2, 2 * DAY)]).await,
            [true, true, true]
        );
        assert_eq!(
            refreshed(&[(0, DAY), (0, DAY + 11 * SECOND), (1, 2 * DAY)]).await,
            [true, false, false]
        );
    }
}
