//! `sluice serve`: runs a server.

use clap::Args;
use service_kit::{
    config::ConfigError,
    lifecycle::LifecycleError,
    metrics::{BuildInfo, Metrics, MetricsError},
    telemetry::{self, TelemetryError},
};
use sluice::{Server, Settings, StartError, Stores};
use std::{io::Write, net::SocketAddr, path::PathBuf};

/// Flags of `sluice serve`; each is the same as a setting.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    settings: SettingsFlags,
}

/// Where settings come from, and the most used ones.
#[derive(Debug, Args)]
pub(crate) struct SettingsFlags {
    /// Address to listen on [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    listen: Option<SocketAddr>,
    /// Folder that holds everything that is kept [default: ./sluice-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// File with settings: .toml, .yaml or .json
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Why the server stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Run(#[from] LifecycleError),
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let wrong = "write an IP address and a port, such as 127.0.0.1:8080 or 0.0.0.0:80";
    text.parse().map_err(|_| wrong.to_owned())
}

impl SettingsFlags {
    /// The effective settings.
    pub(crate) fn load(&self) -> Result<Settings, ConfigError> {
        let listen = self.listen.map(|listen| ("listen", listen.to_string()));
        let data = self
            .data
            .as_ref()
            .map(|data| ("data", data.display().to_string()));
        Settings::load(
            self.config.as_deref(),
            listen.into_iter().chain(data).collect(),
        )
    }
}

impl Serve {
    /// Runs a server until it is stopped.
    pub(crate) async fn run(self) -> Result<(), ServeError> {
        let settings = self.settings.load()?;
        telemetry::init(
            "sluice",
            &settings.log,
            std::env::var("RUST_LOG").ok().as_deref(),
        )?;
        let metrics = Metrics::install(BuildInfo {
            name: "sluice",
            version: env!("CARGO_PKG_VERSION"),
            revision: option_env!("SLUICE_REVISION").unwrap_or("unknown"),
        })?;
        let data = settings.data.clone();
        let stores = Stores::open(&settings).await?;
        let mut server = Box::pin(Server::start(settings, stores, Some(metrics))).await?;
        server.handle_signals()?;
        welcome(server.address(), &data);
        Ok(server.run().await?)
    }
}

/// Says where the server is and what to type next. On standard output, since it is what the command was asked for; a closed one
/// is no reason to stop.
fn welcome(address: SocketAddr, data: &std::path::Path) {
    // As it was called, so that the next command can be copied: `target/release/sluice` is on nobody's path.
    let sluice = std::env::args()
        .next()
        .unwrap_or_else(|| "sluice".to_owned());
    let text = format!(
        "Sluice is listening on http://{address} (data in {data})\n\
         Next, in another shell:\n  {sluice} signup --server http://{address} --user ada\n  {sluice} upload FILE…\n",
        data = data.display(),
    );
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
