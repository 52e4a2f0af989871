//! `POST /auth/signup`: creates an account and logs it in.

use crate::{
    audit,
    error::AuthError,
    grant::Granted,
    names::UserName,
    passwords::Passwords,
    service::Auth,
    users::{NewUser, Users, UsersError},
};
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use protocol::{
    http::{Grant, Signup},
    identity::Role,
    ids::{TenantId, UserId},
};
use secrecy::SecretString;
use service_kit::problem::Json;

pub(crate) async fn handle(
    State(auth): State<Auth>,
    Json(signup): Json<Signup>,
) -> Result<Response, AuthError> {
    let granted = auth
        .sign_up(&signup.user_name, signup.password.into())
        .await;
    audit::count("signup", &granted);
    Ok((StatusCode::CREATED, Granted(granted?)).into_response())
}

impl Auth {
    pub(crate) async fn sign_up(
        &self,
        name: &str,
        password: SecretString,
    ) -> Result<Grant, AuthError> {
        let created =
            create_account(&*self.users, &self.passwords, name, password, Role::User).await;
        match &created {
            Ok(user_id) => tracing::info!(%user_id, "signed up"),
            Err(error) => tracing::info!(code = %error.code(), "signup refused"),
        }
        self.begin_session(created?, Timestamp::now()).await
    }
}

/// Creates an account in the default tenant.
///
/// # Errors
/// If the name or the password cannot be chosen, the name is taken, or too much is being hashed.
pub(crate) async fn create_account(
    users: &dyn Users,
    passwords: &Passwords,
    name: &str,
    password: SecretString,
    role: Role,
) -> Result<UserId, AuthError> {
    let name = UserName::parse(name)?;
    Passwords::check(&password)?;
    // Saves the hash for a name that is taken; who comes first otherwise is decided by the table.
    if users.user_by_name(&name).await?.is_some() {
        return Err(UsersError::Taken.into());
    }
    let id = UserId::new();
    let password_hash = passwords.hash(password).await?;
    let user = NewUser {
        id,
        name,
        password_hash,
        role,
        tenant: TenantId::default(),
        created_at: Timestamp::now(),
    };
    users.create_user(&user).await?;
    Ok(id)
}
