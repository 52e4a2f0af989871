//! The floors as targets: this very program, in a process of its own.

use crate::{
    Result,
    floors::Kind,
    lab::Lab,
    process::Servers,
    ready,
    scenario::Skip,
    target::{Running, Target},
    upload::{
        Load, Plan, Volley,
        generator::{Clients, Kept},
    },
};
use async_trait::async_trait;
use clap::ValueEnum;
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
};

/// A floor.
#[derive(Debug)]
pub struct Floor {
    kind: Kind,
    /// Where the one that runs keeps files.
    folder: Mutex<PathBuf>,
}

impl Floor {
    /// The one that keeps nothing.
    #[must_use]
    pub fn discard() -> Self {
        Self::of(Kind::Discard)
    }

    /// The one that writes with `O_DIRECT` and `fdatasync`.
    #[must_use]
    pub fn direct() -> Self {
        Self::of(Kind::Direct)
    }

    fn of(kind: Kind) -> Self {
        Self {
            kind,
            folder: Mutex::default(),
        }
    }
}

/// Starts this program as the floor of this kind; it listens at the address that is answered.
///
/// # Errors
/// When it can't be started, or does not get ready.
pub async fn start(kind: Kind, folder: &Path) -> Result<Running> {
    let address = ready::free_address()?;
    let mut command = Command::new(std::env::current_exe()?);
    let name = kind.to_possible_value();
    let name = name.as_ref().map_or("floor", |value| value.get_name());
    command.args(["floor", name, "--listen", &address.to_string()]);
    command.arg("--dir").arg(folder);
    let mut servers = Servers::new();
    servers.spawn(name, &command, &folder.join("floor.log"))?;
    ready::listens(&mut servers, address).await?;
    Ok(Running::new(servers, address))
}

#[async_trait]
impl Target for Floor {
    fn name(&self) -> String {
        match self.kind {
            Kind::Discard => "floor, no disk".to_owned(),
            Kind::Direct => "floor, O_DIRECT".to_owned(),
            Kind::RawLoop => "floor, a raw loop".to_owned(),
        }
    }

    async fn prepare(&self, _lab: &Lab) -> Result<String, Skip> {
        Ok(self.kind.about().to_owned())
    }

    async fn start(&self, _lab: &Lab, folder: &Path) -> Result<Running> {
        *self.folder.lock().unwrap_or_else(PoisonError::into_inner) = folder.to_owned();
        start(self.kind, folder).await
    }
}

#[async_trait]
impl Load for Floor {
    async fn ready(&self, running: &Running, plan: &Arc<Plan>) -> Result<Box<dyn Volley>> {
        let folder = self
            .folder
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let kept = match self.kind {
            Kind::Discard | Kind::RawLoop => Kept::Nowhere,
            Kind::Direct => Kept::Folder(folder),
        };
        let tokens = vec!["none".to_owned(); plan.clients];
        let clients = Clients::ready(running.address(), plan, tokens, kept).await?;
        Ok(Box::new(clients))
    }
}
