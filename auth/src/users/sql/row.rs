//! From rows to types, and from types to what rows hold.

use super::Row;
use crate::users::{User, UsersError};
use protocol::{
    identity::Role,
    ids::{TenantId, UserId},
};
use sqlx::Row as _;
use std::{fmt::Display, str::FromStr};

/// The account in a row that has all columns of `users`.
pub(super) fn user(row: &Row) -> Result<User, UsersError> {
    Ok(User {
        id: parsed::<UserId>(row, "user_id")?,
        name: row.try_get("name")?,
        password_hash: row.try_get::<String, _>("password_hash")?.into(),
        role: role(row.try_get("role")?)?,
        tenant: TenantId(row.try_get("tenant")?),
        generation: unsigned(row.try_get("token_generation")?)?,
    })
}

/// The value of a column that is kept as text.
pub(super) fn parsed<T>(row: &Row, column: &str) -> Result<T, UsersError>
where
    T: FromStr,
    T::Err: Display,
{
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|error| {
        UsersError::Corrupt(format!("the column {column} holds `{text}`: {error}"))
    })
}

fn role(text: &str) -> Result<Role, UsersError> {
    [Role::Admin, Role::User]
        .into_iter()
        .find(|role| role.as_str() == text)
        .ok_or_else(|| UsersError::Corrupt(format!("there is no role `{text}`")))
}

/// A number that is never negative.
pub(super) fn unsigned(number: i64) -> Result<u64, UsersError> {
    u64::try_from(number).map_err(|_| UsersError::Corrupt(format!("{number} is negative")))
}
