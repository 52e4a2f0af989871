//! `PUT /auth/logout/{user_name}`: ends every login of a user, and every token with them.

use crate::{
    audit, caller::Authenticated, error::AuthError, names::UserName, service::Auth, users::Ended,
};
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use protocol::{identity::Caller, token::REVOCATION_HEADER};
use service_kit::problem::Path;

pub(crate) async fn handle(
    State(auth): State<Auth>,
    Authenticated(caller): Authenticated,
    Path(user_name): Path<String>,
) -> Result<Response, AuthError> {
    let ended = auth.log_out(&caller, &user_name).await;
    audit::count("logout", &ended);
    Ok((
        StatusCode::NO_CONTENT,
        [(REVOCATION_HEADER, ended?.seq.to_string())],
    )
        .into_response())
}

impl Auth {
    async fn log_out(&self, caller: &Caller, name: &str) -> Result<Ended, AuthError> {
        // Whether there is another user of that name is not told to those who may not log it out.
        let missing = if caller.is_admin() {
            AuthError::NotFound
        } else {
            AuthError::Forbidden
        };
        let user = match UserName::parse(name) {
            Ok(name) => self.users.user_by_name(&name).await?,
            Err(_) => None,
        };
        let Some(user) = user.filter(|user| caller.may_see(user.id, &user.tenant)) else {
            return Err(missing);
        };
        let ended = self.users.end_sessions(user.id, Timestamp::now()).await?;
        let ended = ended.ok_or(AuthError::NotFound)?;
        self.feed.announce(ended.seq);
        tracing::info!(user_id = %user.id, by = %caller.user_id, generation = ended.generation, "logged out");
        Ok(ended)
    }
}
