//! How a service uses PostgreSQL: a schema of its own, a deadline for every call, and connections that are given up rather
//! than trusted.
//!
//! The times fit together: who is frozen inside a transaction loses it before those who wait for its lock lose patience, the
//! server ends a statement before the caller stops waiting, and nobody waits longer than [`DEADLINE`].

#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::{
    fmt,
    future::Future,
    io,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::{
    Connection, PgConnection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::{Instant, timeout};

use crate::database::InvalidUrl;

/// How long a call may take, from waiting for a connection to the commit.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// How long a call waits for a connection, and a new connection may take.
const CONNECT: Duration = Duration::from_secs(4);

/// How long a statement may run on the server, in milliseconds.
const STATEMENT_MS: u32 = 4_500;

/// How long a statement waits for a lock, in milliseconds.
const LOCK_MS: u32 = 4_000;

/// After how long a silent transaction, whose process is frozen, is undone and its locks are free again, in milliseconds.
const IDLE_IN_TRANSACTION_MS: u32 = 3_000;

/// How long the server keeps a session whose client's machine is gone, in milliseconds.
const VANISHED_MS: u32 = 30_000;

/// How long a released connection may take to answer, before it is given up.
const RELEASE: Duration = Duration::from_secs(3);

/// How long a connection that nobody uses is believed to be still there. Beyond that it is asked first, so that a server that
/// was restarted in a quiet hour is not found out by somebody's request.
const BELIEVED: Duration = Duration::from_secs(1);

/// Connections are renewed so that they follow a server that has moved behind its name.
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// A database of a server, and how to log in. It is shown without the password.
#[derive(Clone)]
pub struct Server {
    /// There is much to it, and whoever names a database passes it on.
    options: Box<PgConnectOptions>,
}

impl Server {
    /// The database that `postgres://user:password@host:port/database?sslmode=…` names.
    ///
    /// # Errors
    /// [`InvalidUrl::Postgres`].
    pub fn parse(url: &str) -> Result<Self, InvalidUrl> {
        let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
        if !is_url {
            return Err(InvalidUrl::Postgres("it has no `//`".to_owned()));
        }
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| InvalidUrl::Postgres(error.to_string()))?;
        Ok(Self {
            options: Box::new(options),
        })
    }

    /// The same, but rows are looked up in indexes wherever that is possible.
    ///
    /// For tables that grow from nothing and are asked by key: a plan that was made while one was empty, and one that expects
    /// the few rows of the last `ANALYZE`, reads all of it each time.
    #[must_use]
    pub fn by_index(self) -> Self {
        let options = self.options.options([
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
        ]);
        Self {
            options: Box::new(options),
        }
    }

    /// How to connect so that names without a schema mean those of `schema` alone. A frozen process gives its locks up, and
    /// what takes long is ended by the server.
    #[must_use]
    pub fn options(&self, schema: &str) -> PgConnectOptions {
        let mut options = (*self.options).clone();
        if options.get_application_name().is_none() {
            options = options.application_name(&format!("sluice-{schema}"));
        }
        let schema = quoted(schema);
        options
            .options([
                ("search_path", &*schema),
                // A snapshot from before the wait for a lock would not show what the lock was held for.
                ("default_transaction_isolation", "read committed"),
                // A rollback that finds nothing to undo is no news.
                ("client_min_messages", "error"),
                // Compiling takes longer than anything asked here. The server would do so for each statement that has to go through a
                // table where that is discouraged: up to version 17 it takes it for very costly.
                ("jit", "off"),
            ])
            .options([
                ("statement_timeout", STATEMENT_MS),
                ("lock_timeout", LOCK_MS),
                (
                    "idle_in_transaction_session_timeout",
                    IDLE_IN_TRANSACTION_MS,
                ),
                ("tcp_user_timeout", VANISHED_MS),
                ("tcp_keepalives_idle", 10),
                ("tcp_keepalives_interval", 5),
                ("tcp_keepalives_count", 4),
            ])
    }

    /// Connects once.
    ///
    /// # Errors
    /// Those of the server, and that it has not answered in time.
    pub async fn connect(&self, schema: &str) -> Result<PgConnection, sqlx::Error> {
        within(CONNECT, PgConnection::connect_with(&self.options(schema))).await
    }

    /// Up to `max_connections` connections, each made when it is needed: no server need be there yet.
    ///
    /// The pool trusts no connection that is older than the last failure of any, and takes none back that is in the middle
    /// of something. It knows of failures by what is released, so whoever uses it puts [`within`] around each call.
    #[must_use]
    pub fn pool(&self, schema: &str, max_connections: u32) -> PgPool {
        let last_failure = Arc::new(Mutex::new(None::<Instant>));
        let failed = Arc::clone(&last_failure);
        PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(CONNECT)
            .test_before_acquire(false)
            .max_lifetime(MAX_LIFETIME)
            .before_acquire(move |connection, known| {
                let failure = *last_failure.lock().unwrap_or_else(PoisonError::into_inner);
                let is_good = failure.is_none_or(|at| known.age < at.elapsed());
                let is_believed = known.idle_for < BELIEVED;
                Box::pin(async move {
                    Ok(
                        is_good
                            && (is_believed || within(RELEASE, connection.ping()).await.is_ok()),
                    )
                })
            })
            .after_release(move |connection, _| {
                let failed = Arc::clone(&failed);
                Box::pin(async move {
                    // Its last user may have stopped anywhere, also between asking for a transaction and knowing of it.
                    let clean =
                        within(RELEASE, sqlx::raw_sql("ROLLBACK").execute(connection)).await;
                    if clean.is_err() {
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        *failed = Some(Instant::now());
                    }
                    clean.map(|_| true)
                })
            })
            .connect_lazy_with(self.options(schema))
    }
}

/// Where it is, for people.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        match options.get_socket() {
            Some(socket) => write!(f, "{}", socket.display())?,
            None => write!(f, "{}:{}", options.get_host(), options.get_port())?,
        }
        write!(f, "/{}", options.get_database().unwrap_or_default())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({self})")
    }
}

/// Waits for a call at most so long; a server that is silent for longer can't be told from one that is gone. The connection
/// in use is given up with the call.
///
/// # Errors
/// Those of the call, and [`sqlx::Error::Io`] when the time is over.
pub async fn within<T, E: From<sqlx::Error>>(
    limit: Duration,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match timeout(limit, call).await {
        Ok(result) => result,
        Err(_) => {
            let text = format!("no answer within {} s", limit.as_secs_f32());
            Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text)).into())
        }
    }
}

/// How long to wait before the next try to reach a server, of which `attempt` have failed before the last: up to 5 s. A
/// half of it is random, so that those who lost the server together do not come back together.
#[must_use]
pub fn pause(attempt: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(5);
    let longest = FIRST.saturating_mul(1 << attempt.min(8)).min(LONGEST);
    longest.mul_f64(rand::random_range(0.5..=1.0))
}

/// The lock that makes writers follow one another, as those of an SQLite file do. Each schema has one per database; it is
/// held until the transaction ends.
#[derive(Clone, Copy, Debug)]
pub struct WriteLock(i64);

impl WriteLock {
    /// The lock of a schema.
    #[must_use]
    pub const fn of(schema: &str) -> Self {
        Self(key("sluice write ", schema))
    }

    /// Begins a transaction that holds the lock: the counterpart of `BEGIN IMMEDIATE`. Its statements see all that earlier
    /// holders have committed.
    ///
    /// # Errors
    /// Those of the server, also that the lock did not come in time.
    pub async fn begin(self, pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        let mut transaction = pool.begin().await?;
        self.take(&mut transaction).await?;
        Ok(transaction)
    }

    /// Takes the lock in a transaction that has just begun on this connection.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub async fn take(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(self.0)
            .execute(connection)
            .await
            .map(|_| ())
    }
}

/// The lock under which a schema is made and its tables are brought up to date.
pub(crate) const fn migration_lock(schema: &str) -> WriteLock {
    WriteLock(key("sluice migrate ", schema))
}

/// A number for a name that does not change between versions: FNV-1a.
const fn key(purpose: &str, name: &str) -> i64 {
    const fn add(mut hash: u64, bytes: &[u8]) -> u64 {
        let mut index = 0;
        while index < bytes.len() {
            hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0100_0000_01b3);
            index += 1;
        }
        hash
    }
    let hash = add(0xcbf2_9ce4_8422_2325, purpose.as_bytes());
    add(hash, name.as_bytes()).cast_signed()
}

/// A name as SQL takes it, whatever it holds.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests;
