//! `sluice login`: logs in to an account that exists.

use super::{
    account::{Credentials, ServerFlag, remember, unusable},
    client::{Exit, Failure, say},
    password::{self, Ask},
};
use clap::Args;
use client::{Error, HttpApi, ServerUrl};
use std::path::PathBuf;

/// Flags of `sluice login`.
#[derive(Debug, Args)]
pub(crate) struct Login {
    #[command(flatten)]
    server: ServerFlag,
    /// The account's name [default: the one that was logged in to this server last]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Read the password from this file instead of asking for it
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Login {
    /// Does it.
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let credentials = Credentials::of_user().map_err(unusable)?;
        let server = self.server.server(&credentials)?;
        let user = match self.user {
            Some(user) => user,
            None => last_user(&credentials, &server)?,
        };
        let password = password::read(self.password_file.as_deref(), Ask::Once)
            .map_err(|error| Failure::new(Exit::Usage, format!("no password: {error}")))?;
        let grant = match HttpApi::new(server.clone()).login(&user, &password).await {
            Ok(grant) => grant,
            Err(Error::Unauthenticated { .. }) => {
                let message = format!("{server} does not know {user} with this password");
                return Err(Failure::new(Exit::NotLoggedIn, message));
            }
            Err(error) => return Err(error.into()),
        };
        remember(&credentials, &server, grant)?;
        say(format!("logged in to {server} as {user}"));
        Ok(Exit::Fine)
    }
}

fn last_user(credentials: &Credentials, server: &ServerUrl) -> Result<String, Failure> {
    let known = credentials.load().map_err(unusable)?;
    let login = known.servers.get(&server.to_string());
    let name = login.map(|login| login.user_name.clone());
    name.ok_or_else(|| Failure::new(Exit::Usage, "tell who logs in: --user NAME"))
}
