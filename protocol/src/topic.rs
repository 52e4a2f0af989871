//! Notification topics: `user:<id>`, `pool:<id>` and `admin`.

use crate::ids::{PoolId, TenantId, UserId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

/// What a notification is about and who hears it, as clients name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// A user's own files; always on for that user.
    User(UserId),
    /// A pool's groups and rounds; always on for its members.
    Pool(PoolId),
    /// Everything in the tenant, for its admins who subscribe.
    Admin,
}

/// A text that names no topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a topic is written user:<id>, pool:<id> or admin")]
pub struct InvalidTopic;

impl Topic {
    /// The name under which the log keeps this topic: like the topic, but each tenant's `admin` is one of its own.
    #[must_use]
    pub fn log_name(&self, tenant: &TenantId) -> String {
        match self {
            Topic::Admin => format!("admin:{tenant}"),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topic::User(id) => write!(f, "user:{id}"),
            Topic::Pool(id) => write!(f, "pool:{id}"),
            Topic::Admin => f.write_str("admin"),
        }
    }
}

impl FromStr for Topic {
    type Err = InvalidTopic;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "admin" => Ok(Topic::Admin),
            Some(("user", id)) => id.parse().map(Topic::User).map_err(|_| InvalidTopic),
            Some(("pool", id)) => id.parse().map(Topic::Pool).map_err(|_| InvalidTopic),
            _ => Err(InvalidTopic),
        }
    }
}

impl Serialize for Topic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A place in a topic's log: everything up to and with `offset` is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Changes when the topic's history was lost.
    pub epoch: String,
    /// Number of the last notification known; the first one of a topic is 1.
    pub offset: u64,
}

/// Positions by topic, as a client gives them when it comes back.
pub type Since = BTreeMap<Topic, Position>;

/// How one topic of a session stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicState {
    /// The topic.
    pub topic: Topic,
    /// The topic's present epoch.
    pub epoch: String,
    /// The topic's head: the number of its newest notification, 0 if there is none.
    pub offset: u64,
    /// Whether everything missed is replayed.
    pub recovered: bool,
}
