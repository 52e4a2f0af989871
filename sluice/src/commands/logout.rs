//! `sluice logout`: ends every session of the user.

use super::{
    account::{Credentials, ServerFlag, unusable},
    client::{Exit, Failure, say},
};
use clap::Args;
use client::Error;

/// Flags of `sluice logout`.
#[derive(Debug, Args)]
pub(crate) struct Logout {
    #[command(flatten)]
    server: ServerFlag,
}

impl Logout {
    /// Does it.
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let account = self.server.account()?;
        let server = account.api.server();
        let user = &account.login.user_name;
        let done = match account.api.logout(user).await {
            Ok(()) => format!("logged {user} out of {server}, everywhere"),
            Err(Error::Unauthenticated { .. }) => {
                format!("{user} was not logged in to {server} any more")
            }
            Err(error) => return Err(error.into()),
        };
        let credentials = Credentials::of_user().map_err(unusable)?;
        credentials
            .update(|known| drop(known.servers.remove(&server.to_string())))
            .map_err(unusable)?;
        say(done);
        Ok(Exit::Fine)
    }
}
