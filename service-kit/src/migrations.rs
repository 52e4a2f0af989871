//! Brings the tables of a service up to date: every step once, also when several processes start together.
//!
//! All missing steps are taken in one transaction, by [`sqlx`]'s `Migrator` and into its table `_sqlx_migrations`: a process
//! that dies, or a server that goes away, leaves nothing half-done.

use std::time::Duration;

use sqlx::{
    AssertSqlSafe, Connection, PgConnection, SqlSafeStr, SqliteConnection,
    migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator},
};

use crate::{
    database::{Fault, fault},
    postgres::{migration_lock, quoted, within},
};

/// How long all steps may take together on PostgreSQL.
const DEADLINE: Duration = Duration::from_secs(60);

/// One step. A step that was released is never changed: what was taken is compared with what is here.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The name of its file without the ending, which begins with its number: `0001_accounts`.
    pub name: &'static str,
    /// What the file holds: `include_str!("…/0001_accounts.sql")`.
    pub sql: &'static str,
}

/// Why the tables are not up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// A newer program has used the database.
    #[error(
        "a newer program has used it: its tables have version {found}, this program knows up to {known}; use a newer program, or restore a backup"
    )]
    Newer {
        /// The version of the tables.
        found: i64,
        /// The last that this program knows.
        known: i64,
    },
    /// A step was taken that has another text here: the program was built from something else.
    #[error(
        "step {0} of its tables was taken by a program with another text of it; use that program, or restore a backup"
    )]
    Changed(i64),
    /// The name of a step has no number.
    #[error("the step `{0}` has no number")]
    Unnumbered(&'static str),
    /// The database can't be used.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl MigrationError {
    /// Whether it makes sense to try again.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Database(error) => fault(error),
            Self::Newer { .. } | Self::Changed(_) | Self::Unnumbered(_) => Fault::Permanent,
        }
    }
}

/// Takes the steps that a file has not seen. Others that do so at the same time wait as long as the connection's busy
/// timeout says.
///
/// # Errors
/// [`MigrationError`].
pub async fn run_on_sqlite(
    connection: &mut SqliteConnection,
    steps: &[Step],
) -> Result<(), MigrationError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    run(&mut *transaction, steps).await?;
    Ok(transaction.commit().await?)
}

/// Makes the schema if it is not there, and takes the steps that it has not seen. Others that do so at the same time wait.
/// The connection is one that was made with [`options`](crate::postgres::Server::options) of this schema.
///
/// # Errors
/// [`MigrationError`].
pub async fn run_on_postgres(
    connection: &mut PgConnection,
    schema: &str,
    steps: &[Step],
) -> Result<(), MigrationError> {
    within(DEADLINE, async {
        let mut transaction = connection.begin().await?;
        // What brings large tables up to date takes longer than what serves a request.
        sqlx::raw_sql("SET LOCAL statement_timeout = '55s'; SET LOCAL lock_timeout = '55s'")
            .execute(&mut *transaction)
            .await?;
        migration_lock(schema).take(&mut transaction).await?;
        create_schema(&mut transaction, schema).await?;
        run(&mut *transaction, steps).await?;
        Ok(transaction.commit().await?)
    })
    .await
}

/// Only one that is missing: PostgreSQL asks for the right to make schemas also where there is nothing to make.
async fn create_schema(connection: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
    let is_there: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
            .bind(schema)
            .fetch_one(&mut *connection)
            .await?;
    if !is_there {
        let create = format!("CREATE SCHEMA {}", quoted(schema));
        sqlx::raw_sql(AssertSqlSafe(create))
            .execute(connection)
            .await?;
    }
    Ok(())
}

async fn run<C: Migrate>(connection: &mut C, steps: &[Step]) -> Result<(), MigrationError> {
    let steps: Vec<_> = steps.iter().map(migration).collect::<Result<_, _>>()?;
    let known = steps.last().map_or(0, |step| step.version);
    let mut migrator = Migrator::with_migrations(steps);
    // The transaction around it holds the lock.
    migrator.set_locking(false);
    let taken = migrator.run_direct(None, connection, false).await;
    taken.map_err(|error| match error {
        MigrateError::VersionMissing(found) => MigrationError::Newer { found, known },
        MigrateError::VersionMismatch(step) => MigrationError::Changed(step),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        other => sqlx::Error::Migrate(Box::new(other)).into(),
    })
}

fn migration(step: &Step) -> Result<Migration, MigrationError> {
    let (number, name) = step.name.split_once('_').unwrap_or((step.name, ""));
    let version = number
        .parse()
        .map_err(|_| MigrationError::Unnumbered(step.name))?;
    let sql = step.sql.into_sql_str();
    Ok(Migration::new(
        version,
        name.into(),
        MigrationType::Simple,
        sql,
        false,
    ))
}

#[cfg(test)]
mod tests;
