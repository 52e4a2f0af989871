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

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01920b6e-7c00-7000-8000-000000000001";

    #[test]
    fn topics_are_read_as_they_are_written() {
        let id = ID.parse().unwrap();
        let topics = [
            (Topic::User(UserId(id)), format!("user:{ID}")),
            (Topic::Pool(PoolId(id)), format!("pool:{ID}")),
            (Topic::Admin, "admin".to_owned()),
        ];
        for (topic, text) in topics {
            assert_eq!(topic.to_string(), text);
            assert_eq!(text.parse(), Ok(topic));
            assert_eq!(serde_json::to_string(&topic).unwrap(), format!("{text:?}"));
        }
    }

    #[test]
    fn anything_else_is_no_topic() {
        for text in [
            "",
            "Admin",
            "admin:",
            "admin:default",
            "user",
            "user:",
            "user:me",
            "group:1",
        ] {
            assert_eq!(text.parse::<Topic>(), Err(InvalidTopic), "{text}");
        }
    }

    #[test]
    fn topics_are_keys_of_objects() {
        let json = format!(
            r#"{{"user:{ID}":{{"epoch":"e","offset":3}},"admin":{{"epoch":"f","offset":0}}}}"#
        );
        let since: Since = serde_json::from_str(&json).unwrap();
        assert_eq!(since[&Topic::Admin].epoch, "f");
        let again: Since = serde_json::from_value(serde_json::to_value(&since).unwrap()).unwrap();
        assert_eq!(again, since);
    }

    #[test]
    fn each_tenant_has_an_admin_topic_of_its_own() {
        let (one, other) = (TenantId("one".to_owned()), TenantId("other".to_owned()));
        assert_ne!(Topic::Admin.log_name(&one), Topic::Admin.log_name(&other));
        let user = Topic::User(UserId(ID.parse().unwrap()));
        assert_eq!(user.log_name(&one), user.log_name(&other));
    }
}
