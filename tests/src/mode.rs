//! Which of its two forms the server is tested in.

/// The form of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One process, with SQLite and the local disk beneath.
    Embedded,
    /// A process for each role, on engines that they share.
    Distributed,
}

impl Mode {
    /// The one that this run is about: what the variable `TESTED_MODE` says, embedded if it says nothing.
    ///
    /// # Panics
    /// When it says anything else.
    #[must_use]
    pub fn tested() -> Self {
        match std::env::var("TESTED_MODE").as_deref() {
            Err(_) | Ok("embedded") => Self::Embedded,
            Ok("distributed") => Self::Distributed,
            Ok(other) => panic!("TESTED_MODE={other}: write embedded or distributed"),
        }
    }
}
