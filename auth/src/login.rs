//! `PUT /auth/login/{user_name}`: exchanges a password for tokens.

use crate::{audit, error::AuthError, grant::Granted, names::UserName, service::Auth, users::User};
use axum::extract::State;
use jiff::Timestamp;
use protocol::http::{Grant, Login};
use secrecy::SecretString;
use service_kit::problem::{Json, Path};
use std::time::Instant;

pub(crate) async fn handle(
    State(auth): State<Auth>,
    Path(user_name): Path<String>,
    Json(login): Json<Login>,
) -> Result<Granted, AuthError> {
    let granted = auth.log_in(&user_name, login.password.into()).await;
    audit::count("login", &granted);
    granted.map(Granted)
}

impl Auth {
    async fn log_in(&self, name: &str, password: SecretString) -> Result<Grant, AuthError> {
        // Nobody can have a name that is not valid.
        let name = UserName::parse(name).map_err(|_| AuthError::WrongCredentials)?;
        let key = name.key();
        let attempt = self
            .throttle
            .attempt(&key, Instant::now())
            .map_err(|retry_after| {
                tracing::warn!("login refused, because too many have failed");
                AuthError::TooManyFailures { retry_after }
            })?;
        let user = self.authenticate(&name, password).await;
        if !matches!(user, Err(AuthError::WrongCredentials)) {
            attempt.forgive();
        }
        let user_id = user?.id;
        let grant = self.begin_session(user_id, Timestamp::now()).await?;
        tracing::info!(%user_id, "logged in");
        Ok(grant)
    }

    /// The user of this name, if the password is right.
    async fn authenticate(
        &self,
        name: &UserName,
        password: SecretString,
    ) -> Result<User, AuthError> {
        let user = self.users.user_by_name(name).await?;
        let stored = user.as_ref().map(|user| user.password_hash.clone());
        let is_right = self.passwords.verify(password, stored).await?;
        match user {
            Some(user) if is_right => Ok(user),
            Some(user) => {
                tracing::info!(user_id = %user.id, "login refused, because the password is wrong");
                Err(AuthError::WrongCredentials)
            }
            None => {
                tracing::info!("login refused, because there is no such user");
                Err(AuthError::WrongCredentials)
            }
        }
    }
}
