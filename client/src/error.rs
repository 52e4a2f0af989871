//! Why something could not be done, in words that say what to do.

use protocol::{ErrorCode, Refusal};
use std::{io, sync::Arc};

/// Why a request, or the whole session, ended without what was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Nothing answers at the server's address, or not any more.
    #[error("can't reach {server}: {reason}")]
    Unreachable {
        /// The server's address.
        server: String,
        /// What was tried and failed.
        reason: String,
    },
    /// The token is not, or no longer, accepted and could not be exchanged for a fresh one.
    #[error("not logged in to {server}: {reason}")]
    Unauthenticated {
        /// The server's address.
        server: String,
        /// Why the token is not accepted.
        reason: String,
    },
    /// The server refused the request.
    #[error("refused: {}", explain(.0))]
    Refused(Refusal),
    /// What answers there is no Sluice server, or one that this client can't talk to.
    #[error("can't talk to {server}: {reason}")]
    Incompatible {
        /// The server's address.
        server: String,
        /// What it did.
        reason: String,
    },
    /// The client was closed.
    #[error("the client was closed")]
    Closed,
}

impl Error {
    /// The code of the server's refusal, if that is what this is.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            Self::Unauthenticated { .. } => Some(ErrorCode::Unauthenticated),
            _ => None,
        }
    }
}

/// Why a file is not at the server.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UploadError {
    /// The server does not take it.
    #[error("{}", explain(.0))]
    Refused(Refusal),
    /// The server took it and then could not store it.
    #[error("the server could not store it: {reason}")]
    NotStored {
        /// What the server says.
        reason: String,
    },
    /// The file is not what it was when the upload began.
    #[error("the file changed while it was sent; send it again when it is at rest")]
    Changed,
    /// The file could not be read.
    #[error("can't read it: {0}")]
    Unreadable(Arc<io::Error>),
    /// The upload was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The session ended before the file was there.
    #[error("{0}")]
    Session(Error),
}

/// A refusal in words: also where the server gave only its code.
fn explain(refusal: &Refusal) -> String {
    match &refusal.detail {
        Some(detail) => format!("{detail} ({})", refusal.code),
        None => format!("{} ({})", refusal.code.title().to_lowercase(), refusal.code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_always_has_words() {
        let refused = |refusal| UploadError::Refused(refusal).to_string();
        assert_eq!(
            refused(Refusal::bare(ErrorCode::EmptyFile)),
            "the file is empty (empty-file)"
        );
        let refusal = Refusal::new(
            ErrorCode::TypeForbidden,
            "files named .exe are not accepted",
        );
        assert_eq!(
            refused(refusal),
            "files named .exe are not accepted (type-forbidden)"
        );
    }
}
