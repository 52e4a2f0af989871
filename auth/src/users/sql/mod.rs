//! The port in SQL, written once and compiled for each engine by the engine's own module.
//!
//! That module, `super` here, says where the engines differ: `Db` is the engine as `sqlx` calls it, and `Engine` has the
//! connections. Its `begin` starts a transaction that waits for every other writer, `readers` lends connections that only
//! read, and `in_time` bounds a call.

mod accounts;
mod keys;
mod revocations;
mod row;
mod sessions;

use super::{Db, Engine};
use crate::{
    names::UserName,
    tokens::StoredKey,
    users::{Ended, NewSession, NewUser, Rotated, Rotation, Swept, User, Users, UsersError},
};
use async_trait::async_trait;
use jiff::Timestamp;
use protocol::{identity::Role, ids::UserId, token::Revocations};

/// A row that the engine answers.
type Row = <Db as sqlx::Database>::Row;

/// A transaction that may write.
type Tx = sqlx::Transaction<'static, Db>;

#[async_trait]
impl Users for Engine {
    async fn prepare(&self) -> Result<(), UsersError> {
        self.make_tables().await
    }

    async fn check(&self) -> Result<(), UsersError> {
        self.in_time(revocations::head(self)).await.map(|_| ())
    }

    async fn create_user(&self, user: &NewUser) -> Result<(), UsersError> {
        self.in_time(accounts::create(self, user)).await
    }

    async fn user_by_name(&self, name: &UserName) -> Result<Option<User>, UsersError> {
        self.in_time(accounts::by_name(self, name)).await
    }

    async fn user_by_id(&self, id: UserId) -> Result<Option<User>, UsersError> {
        self.in_time(accounts::by_id(self, id)).await
    }

    async fn permissions(&self, role: Role) -> Result<Vec<String>, UsersError> {
        self.in_time(accounts::permissions(self, role)).await
    }

    async fn begin_session(
        &self,
        session: &NewSession,
        max_sessions: u32,
    ) -> Result<Option<User>, UsersError> {
        self.in_time(sessions::begin(self, session, max_sessions))
            .await
    }

    async fn rotate_refresh(&self, rotation: &Rotation) -> Result<Rotated, UsersError> {
        self.in_time(sessions::rotate(self, rotation)).await
    }

    async fn end_sessions(
        &self,
        user: UserId,
        now: Timestamp,
    ) -> Result<Option<Ended>, UsersError> {
        self.in_time(sessions::end_all(self, user, now)).await
    }

    async fn revocations_after(
        &self,
        after: u64,
        since: Timestamp,
    ) -> Result<Revocations, UsersError> {
        self.in_time(revocations::after(self, after, since)).await
    }

    async fn ensure_signing_key(
        &self,
        candidate: &StoredKey,
        renew_before: Timestamp,
    ) -> Result<(), UsersError> {
        self.in_time(keys::ensure(self, candidate, renew_before))
            .await
    }

    async fn signing_keys(&self, retired_since: Timestamp) -> Result<Vec<StoredKey>, UsersError> {
        self.in_time(keys::published(self, retired_since)).await
    }

    async fn sweep(&self, now: Timestamp, outdated: Timestamp) -> Result<Swept, UsersError> {
        let sweep = async {
            let mut transaction = self.begin().await?;
            let swept = Swept {
                sessions: sessions::delete_expired(&mut transaction, now).await?,
                revocations: revocations::delete_before(&mut transaction, outdated).await?,
                keys: keys::delete_retired_before(&mut transaction, outdated).await?,
            };
            transaction.commit().await?;
            Ok(swept)
        };
        self.in_time(sweep).await
    }
}
