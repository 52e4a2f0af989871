//! Where engines are, and how to reach them by another way.

use super::{Kind, Record};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Where the engines are, with credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Urls {
    /// `redis://default:password@host:port/0`
    pub redis: String,
    /// `amqp://user:password@host:port/%2f`
    pub amqp: String,
    /// `postgres://user:password@host:port/database`; the user may create databases.
    pub postgres: String,
    /// `mongodb://user:password@host:port/database?…`
    pub mongodb: String,
}

impl Urls {
    /// The engines that tests share: `TEST_REDIS_URL`, `TEST_AMQP_URL`, `TEST_POSTGRES_URL`, `TEST_MONGODB_URL`.
    ///
    /// # Panics
    /// When one is not set.
    #[must_use]
    pub fn shared() -> Self {
        let of = |name: &str| {
            let value = std::env::var(name);
            value.unwrap_or_else(|_| {
                panic!(
                    "{name} must be set: by `./dev test`, or by hand: eval \"$(./dev stack env)\""
                )
            })
        };
        Self {
            redis: of(Kind::Redis.variable()),
            amqp: of(Kind::RabbitMq.variable()),
            postgres: of(Kind::Postgres.variable()),
            mongodb: of(Kind::MongoDb.variable()),
        }
    }

    /// Those of a set.
    ///
    /// # Panics
    /// When one is missing.
    #[must_use]
    pub fn of(set: &[Record]) -> Self {
        let of = |kind: Kind| {
            let mut records = set.iter();
            let found = records.find(|record| record.kind == kind);
            found.expect("a set has every engine").url.clone()
        };
        Self {
            redis: of(Kind::Redis),
            amqp: of(Kind::RabbitMq),
            postgres: of(Kind::Postgres),
            mongodb: of(Kind::MongoDb),
        }
    }

    /// Where one of them is.
    #[must_use]
    pub fn get(&self, kind: Kind) -> &str {
        match kind {
            Kind::Redis => &self.redis,
            Kind::RabbitMq => &self.amqp,
            Kind::Postgres => &self.postgres,
            Kind::MongoDb => &self.mongodb,
        }
    }

    /// The same engines, one of them reached at another address: that of a proxy before it.
    ///
    /// # Panics
    /// When the URL is none.
    #[must_use]
    pub fn via(mut self, kind: Kind, address: SocketAddr) -> Self {
        let mut url = parse(self.get(kind));
        url.set_host(Some(&address.ip().to_string()))
            .expect("an address is a host");
        url.set_port(Some(address.port())).expect("it has a port");
        if kind == Kind::MongoDb {
            // Otherwise the driver would ask for the members of the set, and go to them past the proxy.
            let others: Vec<(String, String)> = url
                .query_pairs()
                .filter(|(name, _)| name != "replicaSet" && name != "directConnection")
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect();
            url.query_pairs_mut()
                .clear()
                .extend_pairs(others)
                .append_pair("directConnection", "true");
        }
        *match kind {
            Kind::Redis => &mut self.redis,
            Kind::RabbitMq => &mut self.amqp,
            Kind::Postgres => &mut self.postgres,
            Kind::MongoDb => &mut self.mongodb,
        } = url.into();
        self
    }
}

/// # Panics
/// When it is no URL.
pub(super) fn parse(url: &str) -> Url {
    Url::parse(url).expect("an engine has a URL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_through_a_proxy_is_not_left_again() {
        let urls = Urls {
            redis: "redis://:a@127.0.0.1:1/0".to_owned(),
            amqp: "amqp://b:c@127.0.0.1:2/%2f".to_owned(),
            postgres: "postgres://d:e@127.0.0.1:3/f".to_owned(),
            mongodb: "mongodb://g:h@127.0.0.1:4/i?replicaSet=rs0&authSource=admin".to_owned(),
        };
        let proxy = SocketAddr::from(([127, 0, 0, 1], 9));
        let through = Kind::ALL
            .into_iter()
            .fold(urls, |urls, kind| urls.via(kind, proxy));
        assert_eq!(through.redis, "redis://:a@127.0.0.1:9/0");
        assert_eq!(through.amqp, "amqp://b:c@127.0.0.1:9/%2f");
        assert_eq!(through.postgres, "postgres://d:e@127.0.0.1:9/f");
        assert_eq!(
            through.mongodb,
            "mongodb://g:h@127.0.0.1:9/i?authSource=admin&directConnection=true"
        );
    }
}
