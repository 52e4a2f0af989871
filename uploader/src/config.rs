//! What can be configured.

use serde::{Deserialize, Serialize};
use service_kit::config::{ByteSize, Millis};
use std::num::NonZeroU32;

/// Settings of the uploader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Size of the largest file accepted.
    pub max_file_bytes: ByteSize,
    /// What one user may have stored and under way together; no limit if absent.
    pub user_quota_bytes: Option<ByteSize>,
    /// How long an upload may stay open.
    pub upload_lifetime: Millis,
    /// How often storing a file is tried before it is given up.
    pub max_attempts: NonZeroU32,
    /// About how long the second attempt waits after the first one failed; each further one waits four times as long.
    pub retry_backoff: Millis,
    /// After how long an attempt that the queue has taken and nobody reported on is queued again, at least a second. It is
    /// not counted again.
    pub redispatch_after: Millis,
    /// How many attempts may be queued and not reported on; further ones wait in the outbox.
    pub max_in_flight: NonZeroU32,
    /// How long the outcome of an upload is kept (failed files stay).
    pub keep_ended: Millis,
    /// How many notifications of one topic are kept for replay.
    pub log_keep: u64,
    /// How long a notification is kept for replay.
    pub log_keep_for: Millis,
    /// Time between two sweeps, at least a second.
    pub sweep_interval: Millis,
    /// How long bytes in the chunk cache that belong to no upload are left alone.
    pub orphan_grace: Millis,
    /// How many connections read the database at once.
    pub readers: NonZeroU32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_file_bytes: ByteSize::gib(64),
            user_quota_bytes: None,
            upload_lifetime: Millis::hours(24),
            max_attempts: const { NonZeroU32::new(3).unwrap() },
            retry_backoff: Millis::secs(1),
            redispatch_after: Millis::mins(10),
            max_in_flight: const { NonZeroU32::new(1024).unwrap() },
            keep_ended: Millis::days(7),
            log_keep: 10_000,
            log_keep_for: Millis::days(30),
            sweep_interval: Millis::mins(1),
            orphan_grace: Millis::hours(1),
            readers: const { NonZeroU32::new(4).unwrap() },
        }
    }
}
