//! How other processes are called.

use serde::{Deserialize, Serialize};

use super::DEFAULT_DEADLINE;
use crate::config::Millis;

/// How calls to other processes are made, given up and repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PeerConfig {
    /// Time for the head of the answer, all attempts and the pauses between them included, unless a call has its own.
    pub deadline: Millis,
    /// Time for one attempt of a call that can be repeated.
    pub attempt_timeout: Millis,
    /// After this time without an answer a replica is asked whether it lives at all. One that does not is left alone, and the
    /// call made elsewhere; one that does may take its time.
    pub patience: Millis,
    /// Time for a replica to say that it lives.
    pub probe_timeout: Millis,
    /// Time for a connection to be made.
    pub connect_timeout: Millis,
    /// Attempts per call at most. Replicas that can't be connected to count only when all of them were tried.
    pub attempts: u32,
    /// Repeated calls, of a hundred calls to a service, at most.
    pub retry_percent: u32,
    /// Repeated calls per second that are possible beyond that.
    pub retries_per_second: u32,
    /// Failures in a row after which a replica is left out.
    pub breaker_failures: u32,
    /// How long a replica is left out at first, before it is looked at again. Doubled each time.
    pub breaker_open_min: Millis,
    /// How long it is left out at most.
    pub breaker_open_max: Millis,
    /// How long an unused connection is kept: shorter than servers keep theirs (see
    /// [`HttpLimits::header_read_timeout`](crate::lifecycle::HttpLimits)), so that a request rarely meets a closing one.
    pub idle_timeout: Millis,
    /// Unused connections kept per replica.
    pub idle_connections: usize,
    /// How often a name is asked for the addresses that it stands for. It is also asked after failures.
    pub resolve_every: Millis,
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self {
            deadline: Millis(u64::try_from(DEFAULT_DEADLINE.as_millis()).unwrap_or(u64::MAX)),
            attempt_timeout: Millis::secs(6),
            patience: Millis::secs(1),
            probe_timeout: Millis(500),
            connect_timeout: Millis::secs(1),
            attempts: 3,
            retry_percent: 20,
            retries_per_second: 5,
            breaker_failures: 3,
            breaker_open_min: Millis::secs(1),
            breaker_open_max: Millis::secs(15),
            idle_timeout: Millis::secs(20),
            idle_connections: 32,
            resolve_every: Millis::secs(5),
        }
    }
}
