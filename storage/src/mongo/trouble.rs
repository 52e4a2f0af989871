//! What an error of MongoDB means to whoever called.

use super::plain;
use mongodb::error::{
    Error, ErrorKind, InsertManyError, RETRYABLE_ERROR, RETRYABLE_WRITE_ERROR,
    SYSTEM_OVERLOADED_ERROR, WriteFailure,
};
use std::time::Duration;

/// Why a call on MongoDB failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It does not answer, or there is no primary that takes writes, now; another time it may.
    #[error("MongoDB can't be reached: {0}")]
    Unreachable(String),
    /// It answers, and will not have us: a wrong password, no right to the database, no replica set.
    #[error("MongoDB refuses: {0}")]
    Denied(String),
    /// Its disk is full.
    #[error("MongoDB has no room: {0}")]
    Full(String),
    /// There is a document with the same unique key.
    #[error("MongoDB holds it already: {0}")]
    Duplicate(String),
    /// It failed with this call.
    #[error("MongoDB failed: {0}")]
    Other(String),
}

impl Trouble {
    /// No answer within `limit`.
    #[must_use]
    pub fn silent(limit: Duration) -> Self {
        Self::Unreachable(format!("no answer within {} s", limit.as_secs()))
    }

    /// What the error with this code of the server means (`src/mongo/base/error_codes.yml` in MongoDB's source).
    #[must_use]
    pub fn of_code(code: i32, message: String) -> Self {
        match code {
            // HostUnreachable, HostNotFound, LockTimeout, MaxTimeMSExpired, WriteConcernTimeout, NetworkTimeout,
            // ShutdownInProgress, UnsatisfiableWriteConcern, WriteConflict, FailedToSatisfyReadPreference,
            // ReadConcernMajorityNotAvailableYet, PrimarySteppedDown, ExceededTimeLimit, SocketException, not a (writable)
            // primary, InterruptedAtShutdown, InterruptedDueToReplStateChange, NotPrimaryOrSecondary.
            6 | 7 | 24 | 50 | 64 | 89 | 91 | 100 | 112 | 133 | 134 | 189 | 262 | 9001 | 10058
            | 10107 | 11600 | 11602 | 13435 | 13436 => Self::Unreachable(message),
            // Unauthorized, AuthenticationFailed, ReauthenticationRequired; IndexOptionsConflict, IndexKeySpecsConflict.
            13 | 18 | 391 | 85 | 86 => Self::Denied(message),
            14031 => Self::Full(message),
            11000 => Self::Duplicate(message),
            _ => Self::Other(format!("{message} (error {code})")),
        }
    }
}

impl From<&Error> for Trouble {
    fn from(error: &Error) -> Self {
        let trouble = of_kind(error);
        let passes = [
            RETRYABLE_WRITE_ERROR,
            RETRYABLE_ERROR,
            SYSTEM_OVERLOADED_ERROR,
        ];
        match trouble {
            Self::Other(reason) if passes.iter().any(|label| error.contains_label(label)) => {
                Self::Unreachable(reason)
            }
            trouble => trouble,
        }
    }
}

fn of_kind(error: &Error) -> Trouble {
    match &*error.kind {
        ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::Shutdown => Trouble::Unreachable(plain(error)),
        ErrorKind::Authentication { .. }
        | ErrorKind::InvalidTlsConfig { .. }
        | ErrorKind::InvalidArgument { .. }
        | ErrorKind::IncompatibleServer { .. } => Trouble::Denied(plain(error)),
        ErrorKind::Command(error) => Trouble::of_code(error.code, error.message.clone()),
        ErrorKind::Write(WriteFailure::WriteError(error)) => {
            Trouble::of_code(error.code, error.message.clone())
        }
        // The write may be undone when another primary is elected: it is not done.
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => {
            Trouble::Unreachable(error.message.clone())
        }
        ErrorKind::InsertMany(error) => of_insert(error),
        _ => Trouble::Other(plain(error)),
    }
}

/// Of several errors the one that matters most: anything before a duplicate.
fn of_insert(error: &InsertManyError) -> Trouble {
    if let Some(error) = &error.write_concern_error {
        return Trouble::Unreachable(error.message.clone());
    }
    let errors = error.write_errors.iter().flatten();
    errors.min_by_key(|error| error.code == 11000).map_or_else(
        || Trouble::Other("an insert failed for no reason that is known".to_owned()),
        |error| Trouble::of_code(error.code, error.message.clone()),
    )
}
