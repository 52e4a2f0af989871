//! `sluice signup`: makes an account.

use super::{
    account::{Credentials, ServerFlag, remember, unusable},
    client::{Exit, Failure, say},
    password::{self, Ask},
};
use clap::Args;
use client::HttpApi;
use std::path::PathBuf;

/// Flags of `sluice signup`.
#[derive(Debug, Args)]
pub(crate) struct Signup {
    #[command(flatten)]
    server: ServerFlag,
    /// The name of the new account
    #[arg(long, value_name = "NAME")]
    user: String,
    /// Read the password from this file instead of asking for it
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Signup {
    /// Does it.
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let credentials = Credentials::of_user().map_err(unusable)?;
        let server = self.server.server(&credentials)?;
        let password = password::read(self.password_file.as_deref(), Ask::Twice)
            .map_err(|error| Failure::new(Exit::Usage, format!("no password: {error}")))?;
        let grant = HttpApi::new(server.clone())
            .signup(&self.user, &password)
            .await?;
        remember(&credentials, &server, grant)?;
        say(format!(
            "signed up and logged in to {server} as {}; next: sluice upload PATH…",
            self.user
        ));
        Ok(Exit::Fine)
    }
}
