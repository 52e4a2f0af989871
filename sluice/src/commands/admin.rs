//! `sluice admin`: what only someone with access to the database of the accounts may do.

use super::serve::SettingsFlags;
use clap::{Args, Subcommand};
use secrecy::SecretString;
use service_kit::config::ConfigError;
use sluice::{StartError, Stores};
use std::{io::Write, path::PathBuf};

/// What to administer.
#[derive(Debug, Subcommand)]
pub(crate) enum Admin {
    /// Create a user with the role admin
    Create(Create),
}

/// Flags of `sluice admin create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The admin's user name
    #[arg(long, value_name = "NAME")]
    user: String,
    /// Read the password from this file instead of asking for it
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingsFlags,
}

/// Why an admin could not be created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Create(#[from] auth::admin::CreateError),
    #[error(transparent)]
    Store(#[from] StartError),
    #[error("the password can't be read: {0}")]
    Password(String),
}

impl Admin {
    /// Does it. A server may be running on the same database.
    pub(crate) async fn run(self) -> Result<(), AdminError> {
        let Self::Create(create) = self;
        let settings = create.settings.load()?;
        let password =
            super::password::read(create.password_file.as_deref(), super::password::Ask::Twice)
                .map_err(|error| AdminError::Password(error.to_string()))?;
        let password = SecretString::from(password);
        let stores = Stores::new(&settings);
        let new = if settings.data.exists() { "" } else { "new " };
        let place = match &settings.stores.users {
            Some(url) => url.to_string(),
            None => format!("the {new}data folder {}", settings.data.display()),
        };
        let id =
            auth::admin::create(&settings.auth, stores.users()?, &create.user, password).await?;
        let text = format!(
            "created the admin {user} ({id}) in {place}; log in with: sluice login --user {user}\n",
            user = create.user
        );
        let _ = std::io::stdout().write_all(text.as_bytes());
        Ok(())
    }
}
