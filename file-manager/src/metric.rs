//! The names of what this service measures.

/// Counter, label `outcome`: attempts to store a file that were reported.
pub(crate) const ATTEMPTS: &str = "sluice_file_manager_attempts_total";

/// Counter: bytes of files that were stored.
pub(crate) const STORED_BYTES: &str = "sluice_file_manager_stored_bytes_total";

/// Histogram: seconds from taking a file off the queue until its outcome was reported.
pub(crate) const PERSIST_SECONDS: &str = "sluice_file_manager_persist_seconds";

/// Gauge: files that are being stored now.
pub(crate) const IN_PROGRESS: &str = "sluice_file_manager_files_in_progress";

/// Gauge: 1 while storing pauses because a store or the index can't be reached, 0 otherwise.
pub(crate) const PAUSED: &str = "sluice_file_manager_paused";

/// Counter, label `from` (`blob` or `cache`): downloads begun.
pub(crate) const DOWNLOADS: &str = "sluice_file_manager_downloads_total";

/// Counter: bytes of content handed to readers.
pub(crate) const DOWNLOADED_BYTES: &str = "sluice_file_manager_downloaded_bytes_total";

/// Counter: blobs, or what there was of them, removed because they belonged to no file.
pub(crate) const SWEPT: &str = "sluice_file_manager_swept_blobs_total";

/// Gauge: blobs that are in no index although nothing says that they may go.
pub(crate) const STRAY: &str = "sluice_file_manager_stray_blobs";

/// Gauge: files in the index whose blob is missing, as of the last time that all of them were looked at.
pub(crate) const MISSING: &str = "sluice_file_manager_missing_blobs";

/// Counter: index entries removed because their upload had failed.
pub(crate) const TAKEN_BACK: &str = "sluice_file_manager_taken_back_entries_total";
