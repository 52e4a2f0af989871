//! One engine that runs, and what can be done to it.

use super::{mongodb, postgres, rabbitmq, redis};
use crate::{
    daemon::{Daemon, State},
    wait::until,
};
use serde::{Deserialize, Serialize};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Child,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How long an engine may take to answer before it counts as not ready.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
const SHOWN: usize = 40;

/// Which engine it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Redis.
    Redis,
    /// RabbitMQ.
    RabbitMq,
    /// PostgreSQL.
    Postgres,
    /// MongoDB.
    MongoDb,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Redis, Self::RabbitMq, Self::Postgres, Self::MongoDb];

    /// What it is called in commands and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::RabbitMq => "rabbitmq",
            Self::Postgres => "postgres",
            Self::MongoDb => "mongodb",
        }
    }

    /// The variable of the environment that gives tests its URL.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Redis => "TEST_REDIS_URL",
            Self::RabbitMq => "TEST_AMQP_URL",
            Self::Postgres => "TEST_POSTGRES_URL",
            Self::MongoDb => "TEST_MONGODB_URL",
        }
    }

    /// What its processes are called.
    pub(super) const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Redis => redis::PROGRAMS,
            Self::RabbitMq => rabbitmq::PROGRAMS,
            Self::Postgres => postgres::PROGRAMS,
            Self::MongoDb => mongodb::PROGRAMS,
        }
    }
}

/// What there is to know about an engine, whether it runs or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which one it is.
    pub kind: Kind,
    /// How it is started.
    pub daemon: Daemon,
    /// Where it listens, each time.
    pub address: SocketAddr,
    /// Its URL, with credentials.
    pub url: String,
}

/// An engine. It ends with the set that it belongs to.
pub struct Engine {
    record: Record,
    child: Mutex<Option<Child>>,
}

impl Engine {
    /// Makes one in a folder that is not there yet, and starts it.
    pub(super) async fn begin(kind: Kind, folder: PathBuf) -> Self {
        std::fs::create_dir(&folder).expect("a folder can be made");
        let record = match kind {
            Kind::Redis => redis::prepare(&folder),
            Kind::RabbitMq => rabbitmq::prepare(&folder),
            Kind::Postgres => postgres::prepare(&folder).await,
            Kind::MongoDb => mongodb::prepare(&folder),
        };
        let engine = Self::adopt(record);
        engine.start();
        if kind == Kind::MongoDb {
            engine
                .until("takes commands", async || {
                    mongodb::set_up(&engine.record).await
                })
                .await;
        }
        engine.until_ready().await;
        engine
    }

    /// One that another process has started, or that does not run.
    #[must_use]
    pub fn adopt(record: Record) -> Self {
        Self {
            record,
            child: Mutex::new(None),
        }
    }

    /// Which one it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.record.kind
    }

    /// Its URL, with credentials. It stays the same.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.record.url
    }

    /// Where it listens. It stays the same.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.record.address
    }

    /// The folder with its data, its configuration and its log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.record.daemon.folder
    }

    /// All there is to know about it.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Whether it runs.
    #[must_use]
    pub fn state(&self) -> State {
        self.record.daemon.state()
    }

    /// The last lines of its log.
    #[must_use]
    pub fn tail(&self) -> String {
        self.record.daemon.tail(SHOWN)
    }

    /// Ends all its processes at once, as `kill -9` does; they are gone when this returns.
    pub fn kill(&self) {
        self.record.daemon.kill();
        self.reap();
    }

    /// Stops all its processes in the middle of whatever they do: connected, and silent.
    pub fn freeze(&self) {
        self.record.daemon.freeze();
    }

    /// Lets it go on where it was frozen.
    pub fn thaw(&self) {
        self.record.daemon.thaw();
    }

    /// Starts it, which does not run, at the same address with the same data; it is [ready](Self::until_ready) later.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start(&self) {
        if self.kind() == Kind::Postgres {
            postgres::before_start(self.folder());
        }
        let started = self.record.daemon.start();
        let child = started
            .unwrap_or_else(|error| panic!("{} can't be started: {error}", self.kind().name()));
        *self.child() = Some(child);
    }

    /// Kills it, starts it again at the same address with the same data, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn restart(&self) {
        self.kill();
        self.start();
        self.until_ready().await;
    }

    /// Asks it something; why it did not answer as it should, if so.
    ///
    /// # Errors
    /// What was wrong, for people.
    pub async fn ask(&self) -> Result<(), String> {
        let asking = async {
            match self.kind() {
                Kind::Redis => redis::ask(self.url()).await,
                Kind::RabbitMq => rabbitmq::ask(self.url()).await,
                Kind::Postgres => postgres::ask(self.url()).await,
                Kind::MongoDb => mongodb::ask(self.url()).await,
            }
        };
        let answer = tokio::time::timeout(ANSWERS_WITHIN, asking).await;
        answer.unwrap_or_else(|_| Err(format!("no answer within {ANSWERS_WITHIN:?}")))
    }

    /// Waits until it answers.
    ///
    /// # Panics
    /// When it does not in time, or ends.
    pub async fn until_ready(&self) {
        self.until("answers", async || self.ask().await).await;
    }

    async fn until(&self, what: &str, mut condition: impl AsyncFnMut() -> Result<(), String>) {
        let what = format!("{}: that it {what}", self.kind().name());
        until(&what, async || {
            if self.state() == State::Ended {
                panic!("{} has ended; {}", self.kind().name(), self.tail());
            }
            condition().await.ok()
        })
        .await;
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the kernel forget the process, if it has ended and was ours.
    fn reap(&self) {
        let mut child = self.child();
        if child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))))
        {
            *child = None;
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.reap();
    }
}
