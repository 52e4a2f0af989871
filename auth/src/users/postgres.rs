//! The accounts in a schema of a PostgreSQL server, which several processes share.

#[path = "sql/mod.rs"]
mod sql;

use super::{STEPS, UsersError};
use service_kit::{
    migrations,
    postgres::{DEADLINE, Server, WriteLock, within},
};
use sqlx::{Connection, PgPool, Transaction};
use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
};

/// The engine.
type Db = sqlx::Postgres;
type Engine = PostgresUsers;

/// Where the tables are.
const SCHEMA: &str = "auth";

/// How many reads run at a time.
const READERS: u32 = 4;

/// How many changes are under way: one at work, and one that takes its place.
const WRITERS: u32 = 2;

/// The accounts in one schema.
pub(super) struct PostgresUsers {
    server: Server,
    schema: String,
    lock: WriteLock,
    /// Apart from the readers, which need not wait for the lock.
    writers: PgPool,
    readers: PgPool,
    has_tables: AtomicBool,
}

impl PostgresUsers {
    /// The accounts of a server, which is not asked for anything yet.
    pub(super) fn new(server: Server) -> Self {
        Self::in_schema(server, SCHEMA.to_owned())
    }

    fn in_schema(server: Server, schema: String) -> Self {
        Self {
            lock: WriteLock::of(&schema),
            writers: server.pool(&schema, WRITERS),
            readers: server.pool(&schema, READERS),
            has_tables: AtomicBool::new(false),
            server,
            schema,
        }
    }

    async fn make_tables(&self) -> Result<(), UsersError> {
        let mut connection = self.server.connect(&self.schema).await?;
        migrations::run_on_postgres(&mut connection, &self.schema, STEPS).await?;
        self.has_tables.store(true, Ordering::Release);
        if let Err(error) = connection.close().await {
            tracing::debug!(%error, "a connection did not close cleanly");
        }
        Ok(())
    }

    fn readers(&self) -> &PgPool {
        &self.readers
    }

    /// A transaction that may write, after all others.
    async fn begin(&self) -> Result<Transaction<'static, Db>, UsersError> {
        Ok(self.lock.begin(&self.writers).await?)
    }

    /// Waits for a call as long as one may take.
    async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, UsersError>>,
    ) -> Result<T, UsersError> {
        if !self.has_tables.load(Ordering::Acquire) {
            return Err(UsersError::Unprepared);
        }
        within(DEADLINE, call).await
    }
}

#[cfg(test)]
mod tests;
