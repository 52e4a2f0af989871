//! The roles that a process can play.

use serde::{Deserialize, Serialize};

/// A service, as a part of a process. A process that is told nothing plays all of them.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Sockets, public HTTP, notifications.
    Gateway,
    /// Accounts and tokens.
    Auth,
    /// The state of uploads, attempts, the notification log.
    Uploader,
    /// Stored files: index, history, downloads.
    FileManager,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Gateway, Self::Auth, Self::Uploader, Self::FileManager];

    /// Its name in settings, logs, metrics and signatures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Auth => "auth",
            Self::Uploader => "uploader",
            Self::FileManager => "file-manager",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
