//! The engines that the product stands on, for tests: a private set of Redis, RabbitMQ, PostgreSQL and MongoDB, or one that is
//! shared by tests that each have a namespace.
//!
//! A test that harms engines starts its own set with [`Engines::start`]. Every other test uses [`Urls::shared`], the set that
//! `./dev test` or `./dev stack` has started. Both give [`Urls`], and a [`Namespace`] on them gives the settings of a server:
//!
//! ```ignore
//! let engines = Engines::start().await;
//! let namespace = Namespace::create(&engines.urls()).await;
//! let proxy = Proxy::before(engines.redis.address()).await;
//! let stores = namespace.stores(&engines.urls().via(Kind::Redis, proxy.address()));
//! let cluster = Cluster::start(Plan::new(stores, 2, folder)).await;
//! engines.rabbitmq.kill();
//! engines.rabbitmq.restart().await;
//! ```

mod engine;
mod mongodb;
mod namespace;
mod postgres;
mod programs;
mod rabbitmq;
mod redis;
mod urls;
pub(crate) mod watcher;

pub use engine::{Engine, Kind, Record};
pub use namespace::Namespace;
pub(crate) use programs::write_private;
pub use programs::{find, program};
pub use urls::Urls;

use std::path::Path;
use tempfile::TempDir;
use watcher::Watcher;

/// A private set of engines, on ports of 127.0.0.1 and in a folder that are its own. All of it is gone when it is dropped, and
/// also when the process that holds it is killed.
pub struct Engines {
    // The first field, so that the engines are gone when they are dropped themselves.
    watcher: Watcher,
    /// Chunks not yet stored. Every write is synced before it is answered (`appendfsync always`), as in `docker-compose.yml`,
    /// since a completed upload must survive a power cut. At its bound (1 GiB; `CONFIG SET maxmemory` changes it) it refuses
    /// writes.
    pub redis: Engine,
    /// Work and news.
    pub rabbitmq: Engine,
    /// Accounts and the state of uploads.
    pub postgres: Engine,
    /// Stored files and their index: a replica set of one member.
    pub mongodb: Engine,
}

impl Engines {
    /// Starts the four, all at once, and waits until each answers a request. Takes about ten seconds.
    ///
    /// # Panics
    /// When one is not installed (`./dev stack up --engines` installs them) or does not become ready.
    pub async fn start() -> Self {
        let folder =
            TempDir::with_prefix("sluice-engines-").expect("a temporary folder can be made");
        Box::pin(Self::start_in(&folder.keep())).await
    }

    /// As [`start`](Self::start), in this empty folder, which it takes over.
    ///
    /// # Panics
    /// As `start`.
    pub async fn start_in(folder: &Path) -> Self {
        let folder = folder.canonicalize().expect("the folder is there");
        let watcher = Watcher::start(&folder, &Kind::ALL.map(Kind::programs).concat());
        programs::let_others_through(&folder);
        let start = |kind: Kind| Engine::begin(kind, folder.join(kind.name()));
        let (redis, rabbitmq, postgres, mongodb) = tokio::join!(
            start(Kind::Redis),
            start(Kind::RabbitMq),
            start(Kind::Postgres),
            start(Kind::MongoDb)
        );
        Self {
            watcher,
            redis,
            rabbitmq,
            postgres,
            mongodb,
        }
    }

    /// The four.
    #[must_use]
    pub fn all(&self) -> [&Engine; 4] {
        [&self.redis, &self.rabbitmq, &self.postgres, &self.mongodb]
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, kind: Kind) -> &Engine {
        match kind {
            Kind::Redis => &self.redis,
            Kind::RabbitMq => &self.rabbitmq,
            Kind::Postgres => &self.postgres,
            Kind::MongoDb => &self.mongodb,
        }
    }

    /// Where they are, with credentials.
    #[must_use]
    pub fn urls(&self) -> Urls {
        Urls::of(&self.all().map(|engine| engine.record().clone()))
    }

    /// Lets them run on when this process is gone; whoever has the records can go on with them.
    #[must_use]
    pub fn leave(mut self) -> Vec<Record> {
        self.watcher.leave();
        self.all().map(|engine| engine.record().clone()).into()
    }
}

impl Drop for Engines {
    #[expect(clippy::print_stderr, reason = "what a test says when it fails")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Their logs are still there.
            for engine in self.all() {
                eprintln!("{}", engine.tail());
            }
        }
    }
}
