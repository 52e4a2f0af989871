//! How many files and sockets this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;

/// Raises the soft limit to the hard one, for this process and those it starts; answers it, none if there is no limit.
///
/// Systems start programs with a soft limit of about a thousand, for the sake of those that use `select`. Each session takes a
/// socket, so that a server would turn clients away for no reason.
///
/// # Errors
/// When the system refuses, which leaves the limit as it was.
pub fn raise() -> io::Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised)?;
    Ok(limit.maximum)
}

/// The limit as it is; none if there is none.
#[must_use]
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}
