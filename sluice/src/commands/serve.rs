//! `sluice serve`: runs a server.

use clap::Args;
use service_kit::{
    config::ConfigError,
    lifecycle::LifecycleError,
    metrics::{BuildInfo, Metrics, MetricsError},
    open_files,
    telemetry::{self, TelemetryError},
};
use sluice::{Role, Server, Settings, StartError, Stores};
use std::{io::Write, net::SocketAddr, path::PathBuf};

/// Flags of `sluice serve`; each is the same as a setting.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// What this process does, several times for several roles [default: everything]
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<Role>,
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
        self.load_with(Vec::new())
    }

    /// The effective settings, with more flags.
    fn load_with(&self, mut flags: Vec<(&'static str, String)>) -> Result<Settings, ConfigError> {
        let listen = self.listen.map(|listen| ("listen", listen.to_string()));
        let data = self
            .data
            .as_ref()
            .map(|data| ("data", data.display().to_string()));
        flags.extend(listen.into_iter().chain(data));
        Settings::load(self.config.as_deref(), flags)
    }
}

impl Serve {
    /// The effective settings.
    pub(crate) fn load(&self) -> Result<Settings, ConfigError> {
        let roles: Vec<&str> = self.roles.iter().map(|role| role.name()).collect();
        let roles = (!roles.is_empty()).then(|| ("roles", roles.join(",")));
        self.settings.load_with(roles.into_iter().collect())
    }
}

/// Runs a server until it is stopped.
pub(crate) async fn run(settings: Settings) -> Result<(), ServeError> {
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
    match open_files::raise() {
        Ok(limit) => tracing::debug!(?limit, "the limit of open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files can't be raised"),
    }
    let stores = Stores::new(&settings);
    let mut server = Box::pin(Server::start(settings.clone(), stores, Some(metrics))).await?;
    server.handle_signals()?;
    welcome(&server, &settings);
    Ok(server.run().await?)
}

/// Says where the server is and what to type next. On standard output, since it is what the command was asked for; a closed one
/// is no reason to stop.
fn welcome(server: &Server, settings: &Settings) {
    let mut text = String::new();
    if let Some(address) = server.address() {
        let data = settings.data.display();
        // As it was called, so that the next command can be copied: `target/release/sluice` is on nobody's path.
        let sluice = std::env::args().next();
        let sluice = sluice.as_deref().unwrap_or("sluice");
        let kept = match settings.stores.chunks {
            Some(_) => String::new(),
            None => format!(" (data in {data})"),
        };
        text = format!(
            "Sluice is listening on http://{address}{kept}\n\
             Next, in another shell:\n  {sluice} signup --server http://{address} --user ada\n  {sluice} upload FILE…\n",
        );
    }
    if let Some(address) = server.internal_address() {
        let roles: Vec<&str> = settings.roles.iter().map(|role| role.name()).collect();
        text.push_str(&format!(
            "Other services find {} at http://{address}\n",
            roles.join(", ")
        ));
    }
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
