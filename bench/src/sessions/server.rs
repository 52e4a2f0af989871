//! Sluice as these scenarios start it: with accounts made ahead, and else as it ships.

use super::{accounts, swarm::frames};
use crate::{Result, lab::Lab, process::Servers, ready, scenario::Skip, target::Running};
use bytes::Bytes;
use std::{net::SocketAddr, path::Path, process::Command};

/// A password hash that costs next to nothing: accounts are made ahead by a server of its own.
const CHEAP: [(&str, &str); 2] = [
    ("SLUICE_AUTH__PASSWORDS__MEMORY", "64 KiB"),
    ("SLUICE_AUTH__PASSWORDS__ITERATIONS", "1"),
];

/// A server and the tokens of its users.
pub(super) struct Server {
    pub(super) running: Running,
    pub(super) tokens: Vec<String>,
}

/// Whether there is a binary to measure.
pub(super) fn prepare(lab: &Lab) -> Result<String, Skip> {
    let binary = &lab.options.sluice;
    let output = Command::new(binary).arg("--version").output();
    let output = output.map_err(|error| Skip(format!("{}: {error}", binary.display())))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Server {
    /// Makes so many accounts with one server, then starts another one on the same data, with these settings beside the shipped
    /// ones.
    pub(super) async fn start(
        lab: &Lab,
        folder: &Path,
        users: usize,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let mut running = spawn(lab, folder, &CHEAP).await?;
        let tokens = accounts::sign_up(&running.url(), users).await?;
        running.servers.end().await;
        let running = spawn(lab, folder, settings).await?;
        Ok(Self { running, tokens })
    }

    /// Starts it on a folder that is filled already; nobody is signed up.
    pub(super) async fn start_on(lab: &Lab, folder: &Path) -> Result<Running> {
        spawn(lab, folder, &[]).await
    }

    /// What each user connects with.
    pub(super) fn connects(&self) -> Result<Vec<Bytes>> {
        self.tokens
            .iter()
            .map(|token| frames::connect(token))
            .collect()
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// Resident memory of the server, bytes.
    pub(super) fn rss(&self) -> Result<u64> {
        let pids = crate::accounting::tree(&self.running.servers.pids())?;
        Ok(crate::accounting::memory(&pids)?.now)
    }
}

async fn spawn(lab: &Lab, folder: &Path, settings: &[(&str, &str)]) -> Result<Running> {
    let address = ready::free_address()?;
    let mut command = Command::new(&lab.options.sluice);
    command
        .arg("serve")
        .arg("--listen")
        .arg(address.to_string());
    command.arg("--data").arg(folder).current_dir(folder);
    command.envs(settings.iter().copied());
    let mut servers = Servers::new();
    servers.spawn("sluice", &command, &folder.join("sluice.log"))?;
    ready::answers(&mut servers, address, "/readyz").await?;
    Ok(Running::new(servers, address))
}
