//! Creating and finding accounts.

use super::{Engine, row};
use crate::{
    names::UserName,
    users::{NewUser, User, UsersError},
};
use protocol::{identity::Role, ids::UserId};
use secrecy::ExposeSecret;

pub(super) async fn create(users: &Engine, user: &NewUser) -> Result<(), UsersError> {
    let mut transaction = users.begin().await?;
    let created = sqlx::query(
        "INSERT INTO users (id, name, name_key, password_hash, role, tenant, token_generation, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, 1, $7)
         ON CONFLICT (name_key) DO NOTHING",
    )
    .bind(user.id.to_string())
    .bind(user.name.as_str())
    .bind(user.name.key())
    .bind(user.password_hash.expose_secret())
    .bind(user.role.as_str())
    .bind(&user.tenant.0)
    .bind(user.created_at.as_microsecond())
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    if created.rows_affected() == 0 {
        Err(UsersError::Taken)
    } else {
        Ok(())
    }
}

pub(super) async fn by_name(users: &Engine, name: &UserName) -> Result<Option<User>, UsersError> {
    let row = sqlx::query(
        "SELECT id AS user_id, name, password_hash, role, tenant, token_generation FROM users WHERE name_key = $1",
    )
    .bind(name.key())
    .fetch_optional(users.readers())
    .await?;
    row.as_ref().map(row::user).transpose()
}

pub(super) async fn by_id(users: &Engine, id: UserId) -> Result<Option<User>, UsersError> {
    let row = sqlx::query(
        "SELECT id AS user_id, name, password_hash, role, tenant, token_generation FROM users WHERE id = $1",
    )
    .bind(id.to_string())
    .fetch_optional(users.readers())
    .await?;
    row.as_ref().map(row::user).transpose()
}

pub(super) async fn permissions(users: &Engine, role: Role) -> Result<Vec<String>, UsersError> {
    let mut permissions: Vec<String> =
        sqlx::query_scalar("SELECT permission FROM role_permissions WHERE role = $1")
            .bind(role.as_str())
            .fetch_all(users.readers())
            .await?;
    // Engines differ in how they sort text.
    permissions.sort_unstable();
    Ok(permissions)
}
