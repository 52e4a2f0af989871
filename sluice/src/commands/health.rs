//! `sluice health`: whether the server with these settings is ready, for schedulers that can only run a command.

use super::serve::SettingsFlags;
use clap::Args;
use service_kit::config::ConfigError;
use sluice::Settings;
use std::{net::SocketAddr, time::Duration};

/// How long the server may take to answer.
const DEADLINE: Duration = Duration::from_secs(3);

/// Flags of `sluice health`.
#[derive(Debug, Args)]
pub(crate) struct Health {
    #[command(flatten)]
    settings: SettingsFlags,
}

/// Why the server is not ready, or can't be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HealthError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("no server answers at {url}: {source}")]
    Unreachable { url: String, source: reqwest::Error },
    #[error("the server is not ready: {0}")]
    NotReady(String),
}

impl Health {
    /// Asks the server once.
    pub(crate) async fn run(self) -> Result<(), HealthError> {
        let settings = self.settings.load()?;
        let url = format!("http://{}/readyz", reachable(&settings));
        let unreachable = |source| HealthError::Unreachable {
            url: url.clone(),
            source,
        };
        let client = reqwest::Client::builder()
            .timeout(DEADLINE)
            .no_proxy()
            .build()
            .map_err(unreachable)?;
        let answer = client.get(&url).send().await.map_err(unreachable)?;
        if answer.status().is_success() {
            return Ok(());
        }
        let problem: serde_json::Value = answer.json().await.map_err(unreachable)?;
        let detail = problem["detail"].as_str().unwrap_or("it does not say why");
        Err(HealthError::NotReady(detail.to_owned()))
    }
}

/// Where the server tells about itself, seen from its own machine.
fn reachable(settings: &Settings) -> SocketAddr {
    let mut address = settings.internal_address().unwrap_or(settings.listen);
    if address.ip().is_unspecified() {
        let local = match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(local);
    }
    address
}
