//! What can be wrong with a store.

use service_kit::{
    database::{Fault, fault},
    migrations::MigrationError,
};

/// Why the store could not do what it was asked for. Nothing was changed, except as [`StoreError::Unavailable`] says.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no room left for the database.
    #[error("no room for the uploads database: {0}")]
    Full(String),
    /// The database does not answer now; the same call may succeed later. If the connection broke in the middle of a commit,
    /// what was asked for may have been done.
    #[error("the uploads database is unavailable: {0}")]
    Unavailable(String),
    /// The database holds or answers what this version does not understand, or refuses this service for good.
    #[error("the uploads database can't be used: {0}")]
    Invalid(String),
    /// The store has stopped.
    #[error("the uploads database is closed")]
    Closed,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed) {
            return Self::Closed;
        }
        Self::of(fault(&error), error.to_string())
    }
}

impl From<MigrationError> for StoreError {
    fn from(error: MigrationError) -> Self {
        Self::of(error.fault(), error.to_string())
    }
}

impl StoreError {
    fn of(fault: Fault, text: String) -> Self {
        match fault {
            Fault::Full => Self::Full(text),
            Fault::Unavailable => Self::Unavailable(text),
            Fault::Permanent | Fault::Other => Self::Invalid(text),
        }
    }
}
