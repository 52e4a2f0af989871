//! The port to everything that must survive a restart: accounts, logins, revocations and signing keys.

#[cfg(test)]
mod conformance;
#[expect(
    clippy::duplicate_mod,
    reason = "the SQL is written once and compiled for each engine"
)]
mod postgres;
mod sqlite;

use crate::{names::UserName, tokens::StoredKey};
use async_trait::async_trait;
use jiff::Timestamp;
use protocol::{
    identity::Role,
    ids::{TenantId, UserId},
    token::Revocations,
};
use secrecy::SecretString;
use service_kit::{
    database::{Database, Fault, InvalidUrl, fault},
    migrations::{MigrationError, Step},
};
use std::sync::Arc;
use uuid::Uuid;

/// Every step that made the tables what they are, oldest first.
const STEPS: &[Step] = &[Step {
    name: "0001_accounts",
    sql: include_str!("../migrations/0001_accounts.sql"),
}];

/// The accounts in the database that a URL names. A file is opened, and made if it is not there; a server need not be
/// there yet. They can be used as soon as [`Users::prepare`] has succeeded.
///
/// # Errors
/// If the URL names no database, or the file can't be used.
pub(crate) async fn open(url: &str) -> Result<Arc<dyn Users>, UsersError> {
    Ok(match Database::parse(url)? {
        Database::Sqlite(path) => Arc::new(sqlite::SqliteUsers::open(&path).await?),
        Database::Postgres(server) => Arc::new(postgres::PostgresUsers::new(server)),
    })
}

/// Accounts and what belongs to them. Each method is one transaction: it happens whole or not at all, and what it
/// answers is on disk.
#[async_trait]
pub(crate) trait Users: Send + Sync {
    /// Brings the tables up to date, or makes them. Several processes may do so at the same time. Before it has succeeded
    /// once, everything else is not available.
    async fn prepare(&self) -> Result<(), UsersError>;

    /// Whether the accounts can be read now.
    async fn check(&self) -> Result<(), UsersError>;

    /// Creates an account, or answers [`UsersError::Taken`].
    async fn create_user(&self, user: &NewUser) -> Result<(), UsersError>;

    /// The account of this name, in whatever case.
    async fn user_by_name(&self, name: &UserName) -> Result<Option<User>, UsersError>;

    /// The account of this id.
    async fn user_by_id(&self, id: UserId) -> Result<Option<User>, UsersError>;

    /// What accounts of this role may do, sorted.
    async fn permissions(&self, role: Role) -> Result<Vec<String>, UsersError>;

    /// Stores a login and answers with the account as it is now, so that the login's tokens carry the generation that
    /// a logout at the same time ends or spares as a whole. Ends the user's stalest logins beyond `max_sessions`.
    async fn begin_session(
        &self,
        session: &NewSession,
        max_sessions: u32,
    ) -> Result<Option<User>, UsersError>;

    /// Exchanges a refresh token for its successor.
    async fn rotate_refresh(&self, rotation: &Rotation) -> Result<Rotated, UsersError>;

    /// Ends every login of a user and raises its token generation.
    async fn end_sessions(&self, user: UserId, now: Timestamp)
    -> Result<Option<Ended>, UsersError>;

    /// Each user's last revocation of those numbered above `after` and not made before `since`. If `after` was never
    /// reached, the numbers started anew: then all since `since`.
    async fn revocations_after(
        &self,
        after: u64,
        since: Timestamp,
    ) -> Result<Revocations, UsersError>;

    /// Makes `candidate` the signing key, unless there is one that was created at `renew_before` or later.
    async fn ensure_signing_key(
        &self,
        candidate: &StoredKey,
        renew_before: Timestamp,
    ) -> Result<(), UsersError>;

    /// The signing key, followed by those retired at `retired_since` or later, newest first.
    async fn signing_keys(&self, retired_since: Timestamp) -> Result<Vec<StoredKey>, UsersError>;

    /// Deletes logins expired at `now`, and revocations and retired keys from before `outdated`.
    async fn sweep(&self, now: Timestamp, outdated: Timestamp) -> Result<Swept, UsersError>;
}

/// An account to create.
pub(crate) struct NewUser {
    pub(crate) id: UserId,
    pub(crate) name: UserName,
    pub(crate) password_hash: SecretString,
    pub(crate) role: Role,
    pub(crate) tenant: TenantId,
    pub(crate) created_at: Timestamp,
}

/// An account.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: UserId,
    pub(crate) name: String,
    pub(crate) password_hash: SecretString,
    pub(crate) role: Role,
    pub(crate) tenant: TenantId,
    /// Tokens of an earlier generation are no longer good.
    pub(crate) generation: u64,
}

/// A login to store.
pub(crate) struct NewSession {
    pub(crate) id: Uuid,
    pub(crate) user_id: UserId,
    /// What all refresh tokens of this login have in common, hashed.
    pub(crate) family_hash: String,
    /// The first refresh token, hashed.
    pub(crate) token_hash: String,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// The use of a refresh token.
pub(crate) struct Rotation {
    pub(crate) family_hash: String,
    /// The token that is used, hashed.
    pub(crate) token_hash: String,
    /// Its successor, hashed.
    pub(crate) successor_hash: String,
    pub(crate) now: Timestamp,
    /// When the successor expires.
    pub(crate) expires_at: Timestamp,
    /// The token that was used last may be used again if that was not before this time.
    pub(crate) reusable_since: Timestamp,
}

/// What became of the use of a refresh token.
#[derive(Debug)]
pub(crate) enum Rotated {
    /// Its successor has taken its place.
    Renewed {
        /// The login.
        session: Uuid,
        /// Whose login it is.
        user: User,
    },
    /// No login knows it: it is made up, expired, or its login has ended.
    Unknown,
    /// It was used before, so someone else has it too: its login has been ended.
    Reused {
        /// Whose login it was.
        user_id: UserId,
    },
}

/// What ending all logins of a user gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The user's token generation from now on.
    pub(crate) generation: u64,
    /// The number of the revocation.
    pub(crate) seq: u64,
}

/// How much was swept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    pub(crate) sessions: u64,
    pub(crate) revocations: u64,
    pub(crate) keys: u64,
}

/// Why the accounts could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// There is a user of this name, perhaps in other case.
    #[error("the user name is taken")]
    Taken,
    /// The database cannot be reached, is busy, has no room, or refuses. If that happened at the end of a change, it is not
    /// known whether it took place.
    #[error("the accounts are not available: {0}")]
    Database(#[from] sqlx::Error),
    /// The database was not reached since this process has started.
    #[error("the accounts are not available: their database was not reached yet")]
    Unprepared,
    /// The database file cannot be created.
    #[error("the accounts cannot be opened: {0}")]
    Unopened(#[from] std::io::Error),
    /// There is no such database.
    #[error("the accounts cannot be opened: {0}")]
    Url(#[from] InvalidUrl),
    /// The tables cannot be brought up to date.
    #[error("the accounts cannot be opened: {0}")]
    Tables(#[from] MigrationError),
    /// The database holds what this program never wrote.
    #[error("the accounts are damaged: {0}")]
    Corrupt(String),
}

impl UsersError {
    /// Whether it is worth trying again.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Database(error) => fault(error),
            Self::Tables(error) => error.fault(),
            Self::Unprepared => Fault::Unavailable,
            Self::Unopened(_) | Self::Url(_) => Fault::Permanent,
            Self::Taken | Self::Corrupt(_) => Fault::Other,
        }
    }
}
