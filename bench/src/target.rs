//! A server that can be started anew for each round.

use crate::{Result, lab::Lab, process::Servers, scenario::Skip};
use async_trait::async_trait;
use std::{net::SocketAddr, path::Path};

/// A server, or several that belong together.
#[async_trait]
pub trait Target: Send + Sync {
    /// Its name in tables.
    fn name(&self) -> String;

    /// Installs or finds what is needed. Answers version and settings in a few words, or why it is skipped.
    async fn prepare(&self, lab: &Lab) -> Result<String, Skip>;

    /// Starts it on an empty folder; it is ready when this returns.
    async fn start(&self, lab: &Lab, folder: &Path) -> Result<Running>;
}

/// A target that runs.
#[derive(Debug)]
pub struct Running {
    /// Its processes. They are ended when this is dropped.
    pub servers: Servers,
    /// Where it listens; the first one is the one to load.
    pub addresses: Vec<SocketAddr>,
}

impl Running {
    /// One that listens at one address.
    #[must_use]
    pub fn new(servers: Servers, address: SocketAddr) -> Self {
        Self {
            servers,
            addresses: vec![address],
        }
    }

    /// The address to load.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// The same as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }
}
