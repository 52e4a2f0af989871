//! Creating and finding accounts.

use super::{SqliteUsers, row};
use crate::{
    names::UserName,
    users::{NewUser, User, UsersError},
};
use protocol::{identity::Role, ids::UserId};
use secrecy::ExposeSecret;

pub(super) async fn create(users: &SqliteUsers, user: &NewUser) -> Result<(), UsersError> {
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
    .execute(&users.writer)
    .await?;
    if created.rows_affected() == 0 {
        Err(UsersError::Taken)
    } else {
        Ok(())
    }
}

pub(super) async fn by_name(
    users: &SqliteUsers,
    name: &UserName,
) -> Result<Option<User>, UsersError> {
    let row = sqlx::query(
        "SELECT id AS user_id, name, password_hash, role, tenant, token_generation FROM users WHERE name_key = $1",
    )
    .bind(name.key())
    .fetch_optional(&users.reader)
    .await?;
    row.as_ref().map(row::user).transpose()
}

pub(super) async fn by_id(users: &SqliteUsers, id: UserId) -> Result<Option<User>, UsersError> {
    let row = sqlx::query(
        "SELECT id AS user_id, name, password_hash, role, tenant, token_generation FROM users WHERE id = $1",
    )
    .bind(id.to_string())
    .fetch_optional(&users.reader)
    .await?;
    row.as_ref().map(row::user).transpose()
}

pub(super) async fn permissions(
    users: &SqliteUsers,
    role: Role,
) -> Result<Vec<String>, UsersError> {
    Ok(sqlx::query_scalar(
        "SELECT permission FROM role_permissions WHERE role = $1 ORDER BY permission",
    )
    .bind(role.as_str())
    .fetch_all(&users.reader)
    .await?)
}
