//! Where tokens come from, and where fresh ones do.

use crate::{Error, HttpApi};
use async_trait::async_trait;
use protocol::http::Grant;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Gives access tokens, and fresh ones when one is no longer accepted.
#[async_trait]
pub trait Tokens: Send + Sync + 'static {
    /// The present access token.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] if there is none.
    async fn access(&self) -> Result<String, Error>;

    /// Another token than `stale`, which was refused or is about to expire.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] if there is none to be had; other errors if it could not be asked for.
    async fn refresh(&self, stale: &str) -> Result<String, Error>;
}

/// One token and no other.
#[derive(Clone)]
pub struct FixedToken(String);

impl FixedToken {
    /// This token.
    #[must_use]
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }
}

#[async_trait]
impl Tokens for FixedToken {
    async fn access(&self) -> Result<String, Error> {
        Ok(self.0.clone())
    }

    async fn refresh(&self, _stale: &str) -> Result<String, Error> {
        let reason = "the token is not accepted".to_owned();
        Err(Error::Unauthenticated {
            server: "the server".to_owned(),
            reason,
        })
    }
}

/// The tokens of one login, kept in memory and renewed by its refresh token.
pub struct GrantTokens {
    api: HttpApi,
    grant: Mutex<Arc<Grant>>,
}

impl GrantTokens {
    /// The tokens that a signup or login at `api`'s server gave.
    #[must_use]
    pub fn new(api: HttpApi, grant: Grant) -> Self {
        Self {
            api,
            grant: Mutex::new(Arc::new(grant)),
        }
    }
}

#[async_trait]
impl Tokens for GrantTokens {
    async fn access(&self) -> Result<String, Error> {
        Ok(self.grant.lock().await.access_token.clone())
    }

    async fn refresh(&self, stale: &str) -> Result<String, Error> {
        // Held over the request: a refresh token works once, so two must not be under way.
        let mut grant = self.grant.lock().await;
        if grant.access_token == stale {
            *grant = Arc::new(self.api.refresh(&grant.refresh_token).await?);
        }
        Ok(grant.access_token.clone())
    }
}
