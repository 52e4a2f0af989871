//! `sluice status`: who is logged in where, and whether the server agrees.

use super::{
    account::ServerFlag,
    client::{Exit, Failure, say},
};
use clap::Args;
use serde::Serialize;

/// Flags of `sluice status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    server: ServerFlag,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer {
    server: String,
    #[serde(flatten)]
    user: protocol::http::Validated,
}

impl Status {
    /// Does it.
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let account = self.server.account()?;
        let user = account.api.validate().await?;
        let answer = Answer {
            server: account.api.server().to_string(),
            user,
        };
        if self.json {
            say(serde_json::to_string(&answer).unwrap_or_default());
        } else {
            let Answer { server, user } = answer;
            say(format!(
                "logged in to {server} as {} ({}, {})",
                user.user_name,
                user.role.as_str(),
                user.user_id
            ));
        }
        Ok(Exit::Fine)
    }
}
