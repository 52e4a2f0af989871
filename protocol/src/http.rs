//! Bodies of the public HTTP surface.

use crate::{identity::Role, ids::UserId};
use serde::{Deserialize, Serialize};

/// `POST /auth/signup`.
#[derive(Clone, Deserialize, Serialize)]
pub struct Signup {
    /// The name wished for; unique everywhere.
    pub user_name: String,
    /// The password.
    pub password: String,
}

/// `PUT /auth/login/{user_name}`.
#[derive(Clone, Deserialize, Serialize)]
pub struct Login {
    /// The password.
    pub password: String,
}

/// `POST /auth/refresh`.
#[derive(Clone, Deserialize, Serialize)]
pub struct Refresh {
    /// The refresh token; it works once.
    pub refresh_token: String,
}

/// What signing up, logging in and refreshing answer.
#[derive(Clone, Deserialize, Serialize)]
pub struct Grant {
    /// The account.
    pub user_id: UserId,
    /// Its name.
    pub user_name: String,
    /// Its role.
    pub role: Role,
    /// A signed token (JWT) for `Authorization: Bearer` and `connect`.
    pub access_token: String,
    /// Exchanged once, at `POST /auth/refresh`, for a new pair.
    pub refresh_token: String,
    /// Seconds until the access token expires.
    pub expires_in: u64,
}

/// What `GET /auth/validate` answers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Validated {
    /// The account.
    pub user_id: UserId,
    /// Its name.
    pub user_name: String,
    /// Its role.
    pub role: Role,
    /// What it may do.
    pub permissions: Vec<String>,
}
