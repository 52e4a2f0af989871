//! The names of what this service measures.

/// Counter, label `outcome` (`created`, `existing`, or the code of the refusal): requests to open an upload.
pub(crate) const OPENED: &str = "sluice_uploader_opened_total";

/// Counter, label `status`: uploads that ended before they became a file.
pub(crate) const ENDED: &str = "sluice_uploader_ended_total";

/// Counter, label `outcome` (`cached`, `repeated`, or the code of the refusal): uploads submitted as complete.
pub(crate) const SUBMITTED: &str = "sluice_uploader_submitted_total";

/// Counter: bytes of files that were accepted.
pub(crate) const CACHED_BYTES: &str = "sluice_uploader_cached_bytes_total";

/// Counter, label `outcome` (`stored`, `retrying`, `failed`, `stale`): reports on attempts.
pub(crate) const REPORTS: &str = "sluice_uploader_attempt_reports_total";

/// Counter: attempts queued, repeated ones included.
pub(crate) const DISPATCHED: &str = "sluice_uploader_dispatched_total";

/// Gauge, label `state` (`waiting`, `dispatched`): attempts in the outbox.
pub(crate) const OUTBOX: &str = "sluice_uploader_outbox_attempts";

/// Counter, label `what` (`expired`, `orphan`, `leftover`, `outcome`, `log`): what the sweeper cleared away.
pub(crate) const SWEPT: &str = "sluice_uploader_swept_total";

/// Counter: batches of news that were not told because too many waited.
pub(crate) const NEWS_DROPPED: &str = "sluice_uploader_news_dropped_total";

/// Histogram: write transactions that shared one commit.
pub(crate) const COMMIT_SIZE: &str = "sluice_uploader_transactions_per_commit";
