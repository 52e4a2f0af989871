//! What can go wrong, and what callers are told of it.

use crate::{names::InvalidName, passwords::PasswordError, tokens::KeyError, users::UsersError};
use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use protocol::error::ErrorCode;
use service_kit::{database::Fault, problem::Problem};
use std::time::Duration;

/// When to come back if something is not available.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why the service could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database cannot be used.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// Passwords cannot be hashed as configured.
    #[error(transparent)]
    Passwords(#[from] PasswordError),
    /// A signing key cannot be made or used.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl OpenError {
    /// Whether it makes sense to try again, without anything being changed.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Users(error) => matches!(error.fault(), Fault::Unavailable | Fault::Full),
            Self::Passwords(_) | Self::Key(_) => false,
        }
    }
}

/// Why a use case refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The user name is not valid.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The password cannot be chosen, or not be hashed now.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// There is a user of that name, perhaps in other case.
    #[error("the user name is taken, choose another one")]
    NameTaken,
    /// There is no such user, or it has another password; which of both is not told.
    #[error("the user name or the password is wrong")]
    WrongCredentials,
    /// Too many logins of that name have failed.
    #[error("too many failed logins, wait before trying again")]
    TooManyFailures {
        /// When the next one is allowed.
        retry_after: Duration,
    },
    /// The refresh token is made up, expired, used before, or its login has ended.
    #[error("the refresh token is not valid, log in again")]
    RefreshRefused,
    /// The request does not say who calls, or a caller that does not exist.
    #[error("it is not known who calls, log in first")]
    UnknownCaller,
    /// The caller may not do this.
    #[error("only the user itself and admins may do this")]
    Forbidden,
    /// There is no such user, or the caller may not see it.
    #[error("there is no such user")]
    NotFound,
    /// The parameters make no sense.
    #[error("{0}")]
    InvalidQuery(&'static str),
    /// The accounts cannot be read or changed.
    #[error(transparent)]
    Users(UsersError),
    /// A token cannot be signed, or the keys not be loaded.
    #[error("the tokens cannot be signed: {0}")]
    Tokens(String),
}

impl From<UsersError> for AuthError {
    fn from(error: UsersError) -> Self {
        match error {
            UsersError::Taken => Self::NameTaken,
            other => Self::Users(other),
        }
    }
}

impl From<OpenError> for AuthError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Users(error) => error.into(),
            OpenError::Passwords(error) => error.into(),
            OpenError::Key(error) => Self::Tokens(error.to_string()),
        }
    }
}

impl AuthError {
    /// The code that callers see.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Name(_) => ErrorCode::NameInvalid,
            Self::Password(PasswordError::Length) | Self::InvalidQuery(_) => {
                ErrorCode::InvalidMessage
            }
            Self::Password(PasswordError::Busy) => ErrorCode::Unavailable,
            Self::Users(error) if error.fault() != Fault::Other => ErrorCode::Unavailable,
            Self::NameTaken => ErrorCode::Conflict,
            Self::WrongCredentials | Self::RefreshRefused | Self::UnknownCaller => {
                ErrorCode::Unauthenticated
            }
            Self::TooManyFailures { .. } => ErrorCode::RateLimited,
            Self::Forbidden => ErrorCode::Forbidden,
            Self::NotFound => ErrorCode::NotFound,
            Self::Password(_) | Self::Users(_) | Self::Tokens(_) => ErrorCode::Internal,
        }
    }

    fn title(&self) -> &'static str {
        match self {
            // The code's own title speaks of files.
            Self::Name(_) => "The user name is not valid",
            _ => self.code().title(),
        }
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let code = error.code();
        let status =
            StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let problem = Problem::new(status, code.as_str(), error.title());
        match &error {
            AuthError::TooManyFailures { retry_after } => problem
                .with_detail(error.to_string())
                .with_retry_after(*retry_after),
            AuthError::Password(PasswordError::Busy) => problem
                .with_detail(error.to_string())
                .with_retry_after(RETRY_AFTER),
            _ if code == ErrorCode::Unavailable => {
                tracing::error!(%error, "a request could not be served now");
                problem.with_retry_after(RETRY_AFTER)
            }
            _ if code == ErrorCode::Internal => {
                tracing::error!(%error, "a request failed");
                problem
            }
            _ => problem.with_detail(error.to_string()),
        }
    }
}

impl IntoResponse for AuthError {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}
