//! What is remembered about the stack from one command to the next.

use super::{Refusal, part::Part};
use crate::{
    cluster::StoreUrls,
    daemon::Daemon,
    engines::{Engine, Record, Urls, write_private},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// The stack that was started. Its processes are found by the folders that they work in, so that nothing is ever ended that it
/// did not start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stack {
    /// Everything's data.
    pub(super) folder: PathBuf,
    pub(super) engines: Vec<Record>,
    /// None when only the engines were wanted.
    pub(super) roles: Option<Roles>,
}

/// The processes with roles.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Roles {
    pub(super) binary: PathBuf,
    pub(super) stores: StoreUrls,
    /// The gateways' URLs for clients.
    pub(super) gateways: Vec<String>,
    pub(super) replicas: Vec<Replica>,
}

/// A process with a role.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Replica {
    pub(super) daemon: Daemon,
    pub(super) address: SocketAddr,
    /// Where it tells about itself.
    pub(super) about: String,
}

impl Stack {
    /// The stack that was started, if one was and has not been taken down.
    pub(super) fn read(place: &Path) -> Result<Option<Self>, Refusal> {
        let file = file(place);
        match std::fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| format!("{} can't be understood: {error}", file.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{} can't be read: {error}", file.display())),
        }
    }

    /// As [`read`](Self::read), for commands that need one.
    pub(super) fn running(place: &Path) -> Result<Self, Refusal> {
        Self::read(place)?
            .ok_or_else(|| "nothing is up; ./dev stack up starts everything".to_owned())
    }

    /// Remembers it, where only the present user can read the passwords.
    pub(super) fn write(&self, place: &Path) {
        let text = serde_json::to_string_pretty(self).expect("it is plain data");
        let new = place.join("state.json.new");
        write_private(&new, &text);
        std::fs::rename(new, file(place)).expect("the folder is ours");
    }

    pub(super) fn forget(place: &Path) -> Result<(), Refusal> {
        std::fs::remove_file(file(place))
            .map_err(|error| format!("the state can't be removed: {error}"))
    }

    pub(super) fn urls(&self) -> Urls {
        Urls::of(&self.engines)
    }

    pub(super) fn parts(&self) -> Vec<Part> {
        let engines = self.engines.iter().cloned();
        let engines = engines.map(|record| Part::Engine(Engine::adopt(record)));
        let replicas = self
            .roles
            .iter()
            .flat_map(|roles| roles.replicas.iter().cloned());
        engines.chain(replicas.map(Part::Replica)).collect()
    }
}

fn file(place: &Path) -> PathBuf {
    place.join("state.json")
}

/// Held by a command that changes what is up; another one waits.
pub(super) struct Lock(#[expect(dead_code, reason = "it is closed when dropped")] File);

impl Lock {
    pub(super) fn take(place: &Path) -> Result<Self, Refusal> {
        let take = || {
            std::fs::create_dir_all(place)?;
            let file = File::create(place.join("lock"))?;
            file.lock().map(|()| Self(file))
        };
        take().map_err(|error: std::io::Error| {
            format!("{} can't be locked: {error}", place.display())
        })
    }
}
