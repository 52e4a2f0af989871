//! `GET /auth/validate`: who the caller is and what it may do.

use crate::{caller::Authenticated, error::AuthError, service::Auth};
use axum::extract::State;
use protocol::http::Validated;
use service_kit::problem::Json;

pub(crate) async fn handle(
    State(auth): State<Auth>,
    Authenticated(caller): Authenticated,
) -> Result<Json<Validated>, AuthError> {
    let user = auth
        .users
        .user_by_id(caller.user_id)
        .await?
        .ok_or(AuthError::UnknownCaller)?;
    let permissions = auth.users.permissions(user.role).await?;
    Ok(Json(Validated {
        user_id: user.id,
        user_name: user.name,
        role: user.role,
        permissions,
    }))
}
