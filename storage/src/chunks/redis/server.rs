//! What a Redis says of itself, and whether it may keep uploads.

use redis::{Cmd, cmd};
use std::{collections::HashMap, fmt::Write};

/// The oldest Redis that knows what the functions declare of themselves.
const MIN_MAJOR: u32 = 7;

/// How much of its memory goes to promised bytes, in eighths. A block takes up to a quarter more than its bytes, since the
/// allocator rounds up, and it takes all of that with its first byte: were more promised, many uploads that have just begun
/// could fill the memory, and none of them would ever come to its end. The rest is for keys, and buffers of connections.
const EIGHTHS: u64 = 6;

/// The answer to `INFO`.
#[derive(Clone, Debug, Default)]
pub(super) struct Info(HashMap<String, String>);

impl Info {
    /// What asks for all that matters while it is in use.
    pub(super) fn question() -> Cmd {
        let mut question = cmd("INFO");
        question.arg("memory");
        question
    }

    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.trim().split_once(':'));
        Self(
            pairs
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    fn text(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    fn number(&self, key: &str) -> u64 {
        self.text(key).parse().unwrap_or(0)
    }

    /// Why this Redis can't keep uploads, ever.
    pub(super) fn objection(&self) -> Option<String> {
        let version = self.text("redis_version");
        let major = version.split('.').next().unwrap_or_default().parse();
        if major.is_ok_and(|major: u32| major < MIN_MAJOR) {
            return Some(format!(
                "it is Redis {version}, and {MIN_MAJOR}.0 is needed at least"
            ));
        }
        self.eviction()
    }

    /// Why memory that runs out would cost bytes that were promised to be kept.
    pub(super) fn eviction(&self) -> Option<String> {
        let (limit, policy) = (self.number("maxmemory"), self.text("maxmemory_policy"));
        (limit > 0 && !matches!(policy, "noeviction" | "")).then(|| {
            let mut reason = format!("maxmemory-policy is {policy}, so that it would drop ");
            let _ = write!(
                reason,
                "uploads when its {limit} bytes are full: set maxmemory-policy noeviction"
            );
            reason
        })
    }

    /// Whether it only repeats what another one says.
    pub(super) fn is_replica(&self) -> bool {
        self.text("role") == "slave"
    }

    /// Whether what it keeps survives its own end.
    pub(super) fn keeps_a_log(&self) -> bool {
        self.number("aof_enabled") == 1
    }

    /// Replicas that follow it now.
    pub(super) fn replicas(&self) -> usize {
        let is_online = |(key, value): (&String, &String)| {
            key.strip_prefix("slave")
                .is_some_and(|number| number.parse::<u32>().is_ok())
                && value.split(',').any(|part| part == "state=online")
        };
        self.0.iter().filter(|pair| is_online(*pair)).count()
    }

    /// Bytes that may be promised; none if there is no limit.
    pub(super) fn capacity(&self) -> Option<u64> {
        let limit = self.number("maxmemory");
        (limit > 0).then_some(limit / 8 * EIGHTHS)
    }

    /// Bytes that it could still take; none if there is no limit.
    pub(super) fn free(&self) -> Option<u64> {
        let limit = self.number("maxmemory");
        (limit > 0).then(|| limit.saturating_sub(self.number("used_memory")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_judged_by_what_it_says() {
        let info = |text: &str| Info::parse(text);
        let good = info(
            "# Server\r\nredis_version:7.0.15\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\nrole:master\r\n",
        );
        assert!(good.objection().is_none() && good.capacity().is_none() && !good.is_replica());
        let evicts = info("redis_version:7.2.4\r\nmaxmemory:800\r\nmaxmemory_policy:volatile-ttl");
        assert!(
            evicts
                .objection()
                .is_some_and(|why| why.contains("volatile-ttl"))
        );
        let bounded = info(
            "redis_version:8.0.0\nmaxmemory:800\nused_memory:900\nmaxmemory_policy:noeviction",
        );
        assert!(bounded.objection().is_none());
        assert_eq!((bounded.capacity(), bounded.free()), (Some(600), Some(0)));
        assert!(
            info("redis_version:6.2.14")
                .objection()
                .is_some_and(|why| why.contains("6.2.14"))
        );
    }

    #[test]
    fn replicas_count_once_they_follow() {
        let info = Info::parse(
            "role:master\r\nconnected_slaves:2\r\nslave0:ip=127.0.0.1,port=1,state=online,offset=1,lag=0\r\n\
             slave1:ip=127.0.0.1,port=2,state=wait_bgsave,offset=0,lag=0\r\nslave_expires_tracked_keys:0\r\n",
        );
        assert_eq!(info.replicas(), 1);
    }
}
