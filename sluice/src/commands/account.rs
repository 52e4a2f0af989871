//! Which server a command is about, and who is logged in there.

mod credentials;
mod tokens;

use super::client::{Exit, Failure};
use clap::Args;
use client::{HttpApi, ServerUrl};
pub(crate) use credentials::{Credentials, LoggedIn};
use protocol::http::Grant;
use std::{io, sync::Arc};
pub(crate) use tokens::StoredTokens;

/// The flag that all client commands have.
#[derive(Debug, Args)]
pub(crate) struct ServerFlag {
    /// Address of the server, like http://127.0.0.1:8080 [default: the one logged in to last]
    #[arg(long, value_name = "URL", env = "SLUICE_SERVER")]
    server: Option<ServerUrl>,
}

/// A login at a server, ready to be used.
pub(crate) struct Account {
    /// Who is logged in.
    pub(crate) login: LoggedIn,
    /// Its tokens, renewed when needed.
    pub(crate) tokens: Arc<StoredTokens>,
    /// The server by HTTP, with these tokens.
    pub(crate) api: HttpApi,
}

impl ServerFlag {
    /// The server that is meant.
    pub(crate) fn server(&self, credentials: &Credentials) -> Result<ServerUrl, Failure> {
        if let Some(server) = &self.server {
            return Ok(server.clone());
        }
        let current = credentials.load().map_err(unusable)?.current;
        current.and_then(|server| server.parse().ok()).ok_or_else(|| {
            let message = "no server is known yet: run `sluice signup --server URL --user NAME`, or `sluice login` likewise";
            Failure::new(Exit::NotLoggedIn, message)
        })
    }

    /// Who is logged in at the server that is meant.
    pub(crate) fn account(&self) -> Result<Account, Failure> {
        let credentials = Credentials::of_user().map_err(unusable)?;
        let server = self.server(&credentials)?;
        let known = credentials.load().map_err(unusable)?;
        let Some(login) = known.servers.get(&server.to_string()).cloned() else {
            let message = format!(
                "not logged in to {server}: run `sluice login --server {server} --user NAME`"
            );
            return Err(Failure::new(Exit::NotLoggedIn, message));
        };
        let api = HttpApi::new(server);
        let tokens = Arc::new(StoredTokens::new(api.clone(), credentials));
        Ok(Account {
            login,
            api: api.with_tokens(tokens.clone()),
            tokens,
        })
    }
}

/// Remembers a login and makes its server the one that is meant if none is told.
pub(crate) fn remember(
    credentials: &Credentials,
    server: &ServerUrl,
    grant: Grant,
) -> Result<(), Failure> {
    let change = |known: &mut credentials::Known| {
        known.current = Some(server.to_string());
        known.servers.insert(server.to_string(), grant.into());
    };
    credentials.update(change).map_err(unusable)
}

/// Why the file with the logins can't be used.
pub(crate) fn unusable(error: io::Error) -> Failure {
    Failure::new(
        Exit::Incomplete,
        format!("can't use the file with the logins: {error}"),
    )
}
