//! Into which shard a log of notifications falls, so that a gateway need not hear what none of its sockets asked for.

use protocol::upload::Published;
use std::fmt;

/// Shards that the logs of users and pools are spread over.
const HASHED: u16 = 256;

/// One of the parts that all logs of notifications are divided into. The same in every process and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u16);

impl Shard {
    /// How many there are; [`index`](Self::index) is below it.
    pub const COUNT: usize = HASHED as usize + 1;

    /// The shard of all `admin` logs: they are as busy as everything else together.
    pub const ADMIN: Self = Self(HASHED);

    /// The shard of a log, by its name.
    #[must_use]
    pub fn of_log(name: &str) -> Self {
        if name.starts_with("admin:") {
            return Self::ADMIN;
        }
        let hash = crc32c::crc32c(name.as_bytes()) % u32::from(HASHED);
        Self(u16::try_from(hash).unwrap_or_default())
    }

    /// The shard that news belong to.
    #[must_use]
    pub fn of(news: &Published) -> Self {
        Self::of_log(&news.notification.topic.log_name(&news.tenant))
    }

    /// Every shard.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=HASHED).map(Self)
    }

    /// The shard of this number.
    #[must_use]
    pub fn at(index: usize) -> Option<Self> {
        let index = u16::try_from(index).ok();
        index.filter(|index| *index <= HASHED).map(Self)
    }

    /// Its number, from 0.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.into()
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ADMIN => f.write_str("admin"),
            Self(number) => write!(f, "{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_log_is_always_in_the_same_shard() {
        let user = "user:01920b6e-7c00-7000-8000-000000000001";
        assert_eq!(Shard::of_log(user), Shard::of_log(user));
        // Two versions of the server that disagree would not hear each other.
        assert_eq!(Shard::of_log(user).to_string(), "239");
        assert_eq!(Shard::of_log("admin:default"), Shard::ADMIN);
        assert_eq!(Shard::of_log("admin:other").to_string(), "admin");
    }

    #[test]
    fn logs_are_spread_over_all_shards() {
        let used: BTreeSet<_> = (0..10_000)
            .map(|user| Shard::of_log(&format!("user:{user}")))
            .collect();
        assert_eq!(used.len(), usize::from(HASHED));
        assert!(!used.contains(&Shard::ADMIN));
        assert!(Shard::all().map(Shard::index).eq(0..Shard::COUNT));
        assert!(Shard::all().eq((0..Shard::COUNT).filter_map(Shard::at)));
        assert_eq!(Shard::at(Shard::COUNT), None);
    }
}
