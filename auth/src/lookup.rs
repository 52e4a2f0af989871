//! `GET /auth/users?ids=…` or `?name=…`: from ids to names and back, for admins.

use crate::{
    caller::Authenticated,
    error::AuthError,
    names::UserName,
    service::Auth,
    users::{User, UsersError},
};
use axum::extract::State;
use protocol::{identity::Owner, ids::UserId};
use serde::Deserialize;
use service_kit::problem::{Json, Query};

/// How many ids one request may ask for.
const MAX_IDS: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Ids, separated by commas.
    ids: Option<String>,
    /// A name, in whatever case.
    name: Option<String>,
}

/// Answers with those of the users that exist in the caller's tenant.
pub(crate) async fn handle(
    State(auth): State<Auth>,
    Authenticated(caller): Authenticated,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<Owner>>, AuthError> {
    if !caller.is_admin() {
        return Err(AuthError::Forbidden);
    }
    let found = match wanted {
        Wanted {
            ids: Some(ids),
            name: None,
        } => auth.users_by_ids(&parse_ids(&ids)?).await?,
        Wanted {
            ids: None,
            name: Some(name),
        } => auth.users_by_name(&name).await?,
        _ => return Err(AuthError::InvalidQuery("give either `ids` or `name`")),
    };
    let in_tenant = found
        .into_iter()
        .filter(|user| user.tenant == caller.tenant);
    Ok(Json(
        in_tenant
            .map(|user| Owner {
                id: user.id,
                name: user.name,
            })
            .collect(),
    ))
}

fn parse_ids(text: &str) -> Result<Vec<UserId>, AuthError> {
    let ids: Result<Vec<_>, _> = text.split(',').map(str::parse).collect();
    let ids = ids.map_err(|_| AuthError::InvalidQuery("`ids` are UUIDs separated by commas"))?;
    if ids.len() > MAX_IDS {
        Err(AuthError::InvalidQuery("ask for at most 100 `ids`"))
    } else {
        Ok(ids)
    }
}

impl Auth {
    async fn users_by_ids(&self, ids: &[UserId]) -> Result<Vec<User>, UsersError> {
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            found.extend(self.users.user_by_id(*id).await?);
        }
        Ok(found)
    }

    async fn users_by_name(&self, name: &str) -> Result<Vec<User>, UsersError> {
        let Ok(name) = UserName::parse(name) else {
            return Ok(Vec::new());
        };
        Ok(self.users.user_by_name(&name).await?.into_iter().collect())
    }
}
