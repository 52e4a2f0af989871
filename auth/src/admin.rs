//! Making the first admin, from the command line of whoever may use the database.

use crate::{
    config::Config,
    error::{AuthError, OpenError},
    passwords::Passwords,
    signup::create_account,
    users,
};
use protocol::{identity::Role, ids::UserId};
use secrecy::SecretString;

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

/// Creates an admin of the default tenant in the database that `database_url` names, as
/// [`Auth::open`](crate::Auth::open) says. It may be that of a running server.
///
/// # Errors
/// If the name or the password cannot be chosen, the name is taken (also by a `user`, who is not promoted), or the
/// database cannot be used or reached.
pub async fn create(
    config: &Config,
    database_url: &str,
    name: &str,
    password: SecretString,
) -> Result<UserId, CreateError> {
    let users = users::open(database_url).await.map_err(OpenError::from)?;
    users.prepare().await.map_err(OpenError::from)?;
    let passwords = Passwords::new(&config.passwords).map_err(OpenError::from)?;
    let id = create_account(&*users, &passwords, name, password, Role::Admin).await?;
    tracing::info!(user_id = %id, "created an admin");
    Ok(id)
}
