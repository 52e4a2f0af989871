//! The state changes of an upload, with what each starts from and what it brings about.
//!
//! Adapters carry these out; what the rules are is written here once.

use jiff::Timestamp;
use protocol::{Digest, Refusal, TransferStatus, event::EventKind, upload::Upload};

/// A change of an upload's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Refused for its content; the refusal repeats when the client asks again.
    Reject(Refusal),
    /// Given up by the client.
    Abort,
    /// Not finished within its lifetime.
    Expire,
    /// All bytes are verified and sealed: the upload is a file now, and an attempt to store it is due.
    Cache {
        /// The digest computed over them.
        digest: Digest,
    },
    /// An attempt to store it succeeded.
    Store {
        /// Which.
        attempt: u32,
    },
    /// An attempt failed; another follows.
    Retry {
        /// Which failed.
        attempt: u32,
        /// Why.
        reason: String,
        /// When the next one is due.
        due_at: Timestamp,
    },
    /// An attempt failed, and none follows.
    Fail {
        /// Which failed.
        attempt: u32,
        /// Why.
        reason: String,
    },
}

/// What a change means for the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbox {
    /// Nothing.
    Keep,
    /// This attempt is due at this time.
    Put {
        /// The attempt, from 1.
        attempt: u32,
        /// When.
        due_at: Timestamp,
    },
    /// Nothing is left to attempt.
    Remove,
}

impl Change {
    /// Makes the change at `at`, unless the upload is not in the state that it starts from; answers whether it was.
    #[must_use]
    pub fn make(&self, upload: &mut Upload, at: Timestamp) -> bool {
        if (upload.status, upload.attempts) != (self.from(), self.from_attempts()) {
            return false;
        }
        upload.status = self.to();
        upload.reason = self.reason();
        upload.code = match self {
            Self::Reject(refusal) => Some(refusal.code),
            _ => None,
        };
        if let Self::Cache { digest } = self {
            upload.computed_digest = Some(*digest);
            upload.received_at = Some(at);
        }
        true
    }

    /// The status it starts from.
    #[must_use]
    pub fn from(&self) -> TransferStatus {
        match self {
            Self::Reject(_) | Self::Abort | Self::Expire | Self::Cache { .. } => {
                TransferStatus::Open
            }
            Self::Store { .. } | Self::Retry { .. } | Self::Fail { .. } => TransferStatus::Storing,
        }
    }

    /// The number of attempts it starts from. A report on an older attempt than the present one changes nothing.
    #[must_use]
    pub fn from_attempts(&self) -> u32 {
        match self {
            Self::Reject(_) | Self::Abort | Self::Expire | Self::Cache { .. } => 0,
            Self::Store { attempt } | Self::Retry { attempt, .. } | Self::Fail { attempt, .. } => {
                *attempt
            }
        }
    }

    /// The status it leads to.
    #[must_use]
    pub fn to(&self) -> TransferStatus {
        match self {
            Self::Reject(_) => TransferStatus::Rejected,
            Self::Abort => TransferStatus::Aborted,
            Self::Expire => TransferStatus::Expired,
            Self::Cache { .. } => TransferStatus::Cached,
            Self::Store { .. } => TransferStatus::UploadedSuccessfully,
            Self::Retry { .. } => TransferStatus::Retrying,
            Self::Fail { .. } => TransferStatus::UploadFailed,
        }
    }

    /// Why the upload is where it is then.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Reject(refusal) => Some(
                refusal
                    .detail
                    .clone()
                    .unwrap_or_else(|| refusal.code.title().to_owned()),
            ),
            Self::Retry { reason, .. } | Self::Fail { reason, .. } => Some(reason.clone()),
            Self::Abort | Self::Expire | Self::Cache { .. } | Self::Store { .. } => None,
        }
    }

    /// What happens to the outbox, when the change is made at `at`.
    #[must_use]
    pub fn outbox(&self, at: Timestamp) -> Outbox {
        match self {
            Self::Reject(_) | Self::Abort | Self::Expire => Outbox::Keep,
            Self::Cache { .. } => Outbox::Put {
                attempt: 1,
                due_at: at,
            },
            Self::Retry {
                attempt, due_at, ..
            } => Outbox::Put {
                attempt: attempt + 1,
                due_at: *due_at,
            },
            Self::Store { .. } | Self::Fail { .. } => Outbox::Remove,
        }
    }

    /// What the owner and the tenant's admins are told, if anything.
    #[must_use]
    pub fn event(&self) -> Option<EventKind> {
        match self {
            Self::Reject(_) | Self::Abort | Self::Expire => None,
            Self::Cache { .. } => Some(EventKind::FileCached),
            Self::Store { .. } => Some(EventKind::FileUploadedSuccessfully),
            Self::Retry { .. } => Some(EventKind::FileRetrying),
            Self::Fail { .. } => Some(EventKind::FileUploadFailed),
        }
    }

    /// Whether the upload's bytes no longer count for its owner's quota.
    #[must_use]
    pub fn gives_bytes_back(&self) -> bool {
        self.to().is_final() && !matches!(self, Self::Store { .. })
    }
}
