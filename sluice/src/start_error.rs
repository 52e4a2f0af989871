//! Why a server does not start.

use crate::Role;
use std::{io, net::SocketAddr, path::PathBuf};

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings name no role.
    #[error("no role to play: leave `roles` out for all of them, or name some with --role")]
    NoRole,
    /// The chunk cache would forget uploads that may still go on.
    #[error(
        "`chunks.abandoned_after` must be longer than `uploader.upload_lifetime`: an open upload would lose its bytes before its time is over"
    )]
    ShortMemory,
    /// A role is needed that neither this process plays nor another is known to.
    #[error(
        "{needed_by} needs {missing}: add --role {missing}, or tell where it is with the setting `{setting}` (http://host:port)"
    )]
    NoPeer {
        /// The role that calls.
        needed_by: Role,
        /// The role that is called.
        missing: Role,
        /// Where its addresses belong.
        setting: &'static str,
    },
    /// The address of a role makes no sense.
    #[error("`{setting}`: {source}")]
    Peer {
        /// Where it stands.
        setting: &'static str,
        /// What is wrong with it.
        source: service_kit::peer::InvalidPeerAddress,
    },
    /// The keys for calls between services are missing or make no sense.
    #[error("`internal.keys`: {0}")]
    Keys(#[from] service_kit::internal::InvalidKeys),
    /// The roles are in several processes and a store can't be.
    #[error(
        "`{setting}` is {url}, which other processes can't share: name an engine that they can (see `sluice config show`), or run every role in one process"
    )]
    Unshared {
        /// The setting of the store.
        setting: &'static str,
        /// Its URL.
        url: String,
    },
    /// The folder for the data can't be made.
    #[error("the data folder {path} can't be used: {source}")]
    Data {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A store can't be opened.
    #[error(transparent)]
    Store(#[from] storage::OpenError),
    /// The accounts can't be opened.
    #[error(transparent)]
    Auth(#[from] auth::OpenError),
    /// The state of uploads can't be opened.
    #[error("the state of uploads can't be opened: {0}")]
    Uploader(#[from] uploader::StoreError),
    /// The index of files can't be opened.
    #[error(transparent)]
    FileManager(#[from] file_manager::OpenError),
    /// The gateway's settings make no sense.
    #[error(transparent)]
    Gateway(#[from] gateway::config::InvalidConfig),
    /// The address is taken, or can't be listened on.
    #[error("can't listen on {address}: {source}; choose another with {flag}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// How another one is chosen.
        flag: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Signals can't be handled.
    #[error("signals can't be handled: {0}")]
    Signals(io::Error),
}
