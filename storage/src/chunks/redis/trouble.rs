//! What may go wrong between us and a Redis, and what that means.

use crate::chunks::ChunkError;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use std::io;

/// Why a call was not answered as it should be.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The connection is broken; what was asked for may have been done.
    #[error("the connection is broken: {0}")]
    Broken(String),
    /// There is no answer in time, or no connection. Another one may do.
    #[error("{0}")]
    Away(String),
    /// It refuses for a reason that time does not mend.
    #[error("{0}")]
    Denied(String),
    /// Its memory is used up.
    #[error("{0}")]
    Full(String),
    /// It has forgotten the function, and done nothing.
    #[error("it does not know the function")]
    Unknown,
    /// It, or what it says, is not as it should be.
    #[error("{0}")]
    Other(String),
}

impl Trouble {
    /// Whether a fresh connection may help, to the same or to another server.
    pub(super) fn is_of_the_connection(&self) -> bool {
        matches!(self, Self::Broken(_) | Self::Away(_) | Self::Denied(_))
    }
}

/// What is wrong with a login, as told by Redis.
const DENIED: [&str; 4] = ["NOAUTH", "WRONGPASS", "NOPERM", "DENIED"];

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        let text = error.to_string();
        match (error.kind(), error.code()) {
            (ErrorKind::Io | ErrorKind::Parse, _) => Self::Broken(text),
            (ErrorKind::Server(ServerErrorKind::NoScript), _) => Self::Unknown,
            (ErrorKind::InvalidClientConfig | ErrorKind::AuthenticationFailed, _) => {
                Self::Denied(text)
            }
            (_, Some("OOM")) => Self::Full("Redis has used up its memory (maxmemory)".to_owned()),
            (_, Some(code)) if DENIED.contains(&code) => Self::Denied(text),
            // It follows another server now, or is starting: a name may lead elsewhere soon.
            (
                ErrorKind::Server(
                    ServerErrorKind::ReadOnly
                    | ServerErrorKind::BusyLoading
                    | ServerErrorKind::MasterDown,
                ),
                _,
            ) => Self::Away(text),
            _ => Self::Other(text),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<redis::ParsingError> for Trouble {
    fn from(error: redis::ParsingError) -> Self {
        Self::Other(format!("an answer makes no sense: {error}"))
    }
}

impl From<Trouble> for ChunkError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Full(reason) => Self::Busy(reason),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<Trouble> for io::Error {
    fn from(trouble: Trouble) -> Self {
        // Whoever reads must see that this says nothing about the content.
        Self::new(io::ErrorKind::NotConnected, trouble.to_string())
    }
}
