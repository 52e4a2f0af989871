//! Making the first admin, from the command line of the machine that holds the data.

use crate::{
    config::Config,
    error::{AuthError, OpenError},
    passwords::Passwords,
    signup::create_account,
    users::sqlite::SqliteUsers,
};
use protocol::{identity::Role, ids::UserId};
use secrecy::SecretString;
use std::path::Path;

/// Why an admin could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The database or the configuration cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The name or the password cannot be chosen, or the name is taken.
    #[error(transparent)]
    Refused(#[from] AuthError),
}

/// Creates an admin of the default tenant in the database file at `database`, which is created if there is none and may
/// be that of a running server.
///
/// # Errors
/// If the name or the password cannot be chosen, the name is taken (also by a `user`, who is not promoted), or the file
/// cannot be used.
pub async fn create(
    config: &Config,
    database: &Path,
    name: &str,
    password: SecretString,
) -> Result<UserId, CreateError> {
    let users = SqliteUsers::open(database).await.map_err(OpenError::from)?;
    let passwords = Passwords::new(&config.passwords)
        .await
        .map_err(OpenError::from)?;
    let id = create_account(&users, &passwords, name, password, Role::Admin).await?;
    tracing::info!(user_id = %id, "created an admin");
    Ok(id)
}
