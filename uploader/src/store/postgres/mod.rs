//! The shared engine: a PostgreSQL database that the replicas of this service write to together.
//!
//! It may be away, also at the start: until its schema is known to be up to date, every call is answered with the reason why
//! it is not. A server that is connected and silent is as good as away: every wait has an end, and the connection that was
//! waited for is dropped.

mod schema;
#[path = "../sql/mod.rs"]
mod sql;

use super::{STEPS, Signals, Store, StoreError};
use rand::RngExt;
use schema::Schema;
use service_kit::postgres::{DEADLINE, Server, within};
use sql::{Connection, SqlStore};
use sqlx::{Connection as _, PgPool};
use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The engine.
type Db = sqlx::Postgres;

const TAGS_OF_UPLOAD: &str = "jsonb_array_elements_text(uploads.tags::jsonb) AS tags (value)";

/// What lets a transaction go through whole tables in the order in which they lie on disk, and what ends that again: otherwise
/// connections avoid it ([`Server::by_index`]).
const WHOLE_TABLES: [&str; 2] = [
    "SET LOCAL enable_seqscan = on",
    "SET LOCAL enable_seqscan = off",
];

/// Every replica of this service has it.
const SHARED: bool = true;

/// The schema that is this service's own.
const SCHEMA: &str = "uploads";

/// What a transaction begins with. The lock, the counterpart of SQLite's `BEGIN IMMEDIATE`, lets one writer in at a time:
/// numbers are dense, and conditions hold until the commit, without a thought of isolation levels. Its key is `uploads` in
/// ASCII.
const BEGIN: &str = "BEGIN; SELECT pg_advisory_xact_lock(x'75706c6f616473'::bigint); SAVEPOINT job";

/// How long no connection is tried after one could not be made, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The store in this database. Fails only if the server refuses for good; one that is away is tried for as long as it takes.
pub(super) async fn open(
    server: Server,
    readers: NonZeroU32,
    signals: Arc<Signals>,
) -> Result<Arc<dyn Store>, StoreError> {
    let engine = Engine::new(server, readers);
    match engine.schema.ready().await {
        // It is said in the log, and each time again until it is there.
        Err(StoreError::Unavailable(_) | StoreError::Full(_)) => {}
        ready => ready?,
    }
    Ok(Arc::new(SqlStore::new(engine, None, signals)))
}

struct Engine {
    server: Server,
    readers: PgPool,
    schema: Schema,
    outage: Mutex<Outage>,
}

/// Since a connection for writing could not be made: until when none is tried, and why.
#[derive(Default)]
struct Outage {
    until: Option<Instant>,
    wait: Duration,
    why: Option<StoreError>,
}

impl Engine {
    fn new(server: Server, readers: NonZeroU32) -> Self {
        let schema = Schema::prepare(server.clone());
        let server = server.by_index();
        Self {
            schema,
            readers: server.pool(SCHEMA, readers.get()),
            server,
            outage: Mutex::default(),
        }
    }

    async fn begin(&self, kept: &mut Option<Connection>) -> Result<Connection, StoreError> {
        let kept = kept.take();
        let begun = async {
            self.schema.ready().await?;
            if let Some(mut db) = kept {
                match sqlx::raw_sql(BEGIN).execute(&mut db).await {
                    Ok(_) => return Ok(db),
                    // The server may have been restarted since; nothing was asked of it yet.
                    Err(error) => {
                        tracing::debug!(%error, "connecting to the uploads database anew");
                    }
                }
            }
            let mut db = self.connect().await?;
            sqlx::raw_sql(BEGIN).execute(&mut db).await?;
            Ok(db)
        };
        self.in_time(begun).await
    }

    /// Whatever was wrong with the connection, a new one is without it.
    async fn abandon(&self, _: Connection) -> Option<Connection> {
        None
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        within(DEADLINE, work).await
    }

    async fn read<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let read = async {
            self.schema.ready().await?;
            let mut db = self.readers.acquire().await?;
            work(&mut db).await
        };
        self.in_time(read).await
    }

    async fn close(&self, db: Connection) {
        if let Err(error) = within(DEADLINE, db.close()).await {
            tracing::debug!(%error, "the uploads database had gone already");
        }
    }

    /// A connection for writing; shortly after one could not be made, the reason for that.
    async fn connect(&self) -> Result<Connection, StoreError> {
        if let Some(error) = self.outage().present() {
            return Err(error);
        }
        // What it takes to connect is much, and seldom needed.
        let connected = Box::pin(self.server.connect(SCHEMA)).await;
        let connected = connected.map_err(StoreError::from);
        match &connected {
            Ok(_) => *self.outage() = Outage::default(),
            Err(error) => self.outage().goes_on(error),
        }
        connected
    }

    fn outage(&self) -> MutexGuard<'_, Outage> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outage {
    fn present(&self) -> Option<StoreError> {
        let until = self.until?;
        self.why.clone().filter(|_| Instant::now() < until)
    }

    fn goes_on(&mut self, error: &StoreError) {
        self.wait = longer(self.wait);
        self.until = Some(Instant::now() + in_part(self.wait));
        self.why = Some(error.clone());
    }
}

/// The wait after another failure.
fn longer(wait: Duration) -> Duration {
    let (first, longest) = PAUSE;
    (wait * 2).clamp(first, longest)
}

/// Up to half of a wait less by chance, so that replicas do not come back together.
fn in_part(wait: Duration) -> Duration {
    wait.mul_f64(rand::rng().random_range(0.5..1.0))
}

#[cfg(test)]
mod testing {
    use super::{super::conformance::server::Database, Engine};
    use service_kit::postgres::Server;
    use std::num::NonZeroU32;

    /// Gone with the test.
    pub(super) type Home = Database;

    /// An engine over a database of its own.
    pub(super) async fn engine() -> (Engine, Home) {
        let home = Database::create().await;
        let server = Server::parse(&home.url()).unwrap();
        (Engine::new(server, NonZeroU32::MIN), home)
    }
}
