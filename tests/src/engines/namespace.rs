//! A part of the engines for one test, so that several tests use the same engines at once.

use super::{Urls, urls};
use crate::{cluster::StoreUrls, random};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// A prefix in Redis and RabbitMQ, a database in PostgreSQL and MongoDB. It is left behind: the engines are thrown away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace(String);

impl Namespace {
    /// One with a name that no other has.
    ///
    /// # Panics
    /// When PostgreSQL does not create the database.
    pub async fn create(urls: &Urls) -> Self {
        Self::named(urls, &format!("t{}", random::hex(8))).await
    }

    /// One with this name: small letters and digits.
    ///
    /// # Panics
    /// As [`create`](Self::create).
    pub async fn named(urls: &Urls, name: &str) -> Self {
        let server = PgConnection::connect(&urls.postgres).await;
        let mut server = server.expect("PostgreSQL takes connections");
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE \"{name}\"")))
            .execute(&mut server)
            .await
            .expect("PostgreSQL creates a database");
        // All was answered; how the connection ends does not matter.
        let _ = server.close().await;
        Self(name.to_owned())
    }

    /// Its name: the prefix, and what the databases are called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The stores of a server in it. The engines may be reached by [another way](Urls::via) than when it was made.
    #[must_use]
    pub fn stores(&self, engines: &Urls) -> StoreUrls {
        let prefixed = |url: &str| {
            let mut url = urls::parse(url);
            url.query_pairs_mut().append_pair("prefix", &self.0);
            String::from(url)
        };
        let database = |url: &str| {
            let mut url = urls::parse(url);
            url.set_path(&self.0);
            String::from(url)
        };
        StoreUrls {
            chunks: prefixed(&engines.redis),
            events: prefixed(&engines.amqp),
            blobs: database(&engines.mongodb),
            index: database(&engines.mongodb),
            users: database(&engines.postgres),
            uploads: database(&engines.postgres),
        }
    }
}
