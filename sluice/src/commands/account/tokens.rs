//! Tokens from the file with the logins, renewed for all commands that run at the same time.

use super::credentials::Credentials;
use client::{Error, HttpApi, Tokens};
use jiff::{SignedDuration, Timestamp};
use std::io;

/// A token with less life than this is renewed before it is used.
const TOO_SHORT: SignedDuration = SignedDuration::from_secs(5);

/// The tokens of one server's login.
pub(crate) struct StoredTokens {
    api: HttpApi,
    credentials: Credentials,
}

impl StoredTokens {
    /// The tokens of the login at `api`'s server.
    pub(crate) fn new(api: HttpApi, credentials: Credentials) -> Self {
        Self { api, credentials }
    }

    fn not_logged_in(&self, reason: &str) -> Error {
        Error::Unauthenticated {
            server: self.api.server().to_string(),
            reason: reason.to_owned(),
        }
    }

    fn unusable(&self, error: &io::Error) -> Error {
        self.not_logged_in(&format!("can't use the file with the logins: {error}"))
    }
}

#[async_trait::async_trait]
impl Tokens for StoredTokens {
    async fn access(&self) -> Result<String, Error> {
        let known = self
            .credentials
            .load()
            .map_err(|error| self.unusable(&error))?;
        let login = known.servers.get(&self.api.server().to_string());
        let login = login.ok_or_else(|| self.not_logged_in("logged out"))?;
        if login.expires_at.duration_since(Timestamp::now()) < TOO_SHORT {
            return self.refresh(&login.access_token).await;
        }
        Ok(login.access_token.clone())
    }

    async fn refresh(&self, stale: &str) -> Result<String, Error> {
        // A refresh token works once. Whoever holds the lock exchanges it; the others find the new one in the file.
        let credentials = self.credentials.clone();
        let waited = tokio::task::spawn_blocking(move || credentials.lock()).await;
        let lock = waited
            .map_err(io::Error::other)
            .flatten()
            .map_err(|error| self.unusable(&error))?;
        let mut known = self
            .credentials
            .load()
            .map_err(|error| self.unusable(&error))?;
        let login = known.servers.get_mut(&self.api.server().to_string());
        let login = login.ok_or_else(|| self.not_logged_in("logged out"))?;
        if login.access_token != stale {
            return Ok(login.access_token.clone());
        }
        *login = self.api.refresh(&login.refresh_token).await?.into();
        let token = login.access_token.clone();
        lock.save(&known).map_err(|error| self.unusable(&error))?;
        Ok(token)
    }
}
