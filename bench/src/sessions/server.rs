//! Sluice as these scenarios start it: with accounts made ahead, and else as it ships.

use super::swarm::frames;
use crate::{Result, lab::Lab, target::Running, targets::server};
use bytes::Bytes;
use std::{net::SocketAddr, path::Path};

/// A server and the tokens of its users.
pub(super) struct Server {
    pub(super) running: Running,
    pub(super) tokens: Vec<String>,
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
        let data = folder.join("data");
        let mut running = server::serve(lab, &data, &server::QUICK_SIGNUPS).await?;
        let grants = server::sign_up(running.address(), users).await?;
        running.servers.end().await;
        let running = server::serve(lab, &data, settings).await?;
        let tokens = grants.into_iter().map(|grant| grant.access_token).collect();
        Ok(Self { running, tokens })
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
