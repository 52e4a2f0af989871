//! Everything that can be configured, in one place.

use serde::{Deserialize, Serialize};
use service_kit::{
    config::{ByteSize, ConfigError, Loader, Millis},
    lifecycle::HttpLimits,
    telemetry::TelemetryConfig,
};
use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};
use storage::chunks::ChunkOptions;

/// The settings of a server. Each service's own are documented where it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the public listener listens.
    pub listen: SocketAddr,
    /// The folder that holds everything that is kept.
    pub data: PathBuf,
    /// Time between the two stages of a shutdown: what is in flight may finish within it.
    pub shutdown_grace: Millis,
    /// Limits of the public listener.
    pub http: HttpLimits,
    /// How the process logs.
    pub log: TelemetryConfig,
    /// The chunk cache.
    pub chunks: Chunks,
    /// Accounts and tokens.
    pub auth: auth::Config,
    /// The public edge.
    pub gateway: gateway::Config,
    /// Uploads and attempts.
    pub uploader: uploader::Config,
    /// Stored files.
    pub file_manager: file_manager::Config,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            data: PathBuf::from("sluice-data"),
            shutdown_grace: Millis::secs(10),
            http: HttpLimits::default(),
            log: TelemetryConfig::default(),
            chunks: Chunks::default(),
            auth: auth::Config::default(),
            gateway: gateway::Config::default(),
            uploader: uploader::Config::default(),
            file_manager: file_manager::Config::default(),
        }
    }
}

/// The settings of the chunk cache on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chunks {
    /// What uploads may hold and reserve in all; unlimited if absent.
    pub max_bytes: Option<ByteSize>,
    /// What uploads never take of the file system.
    pub min_free_bytes: ByteSize,
    /// File operations under way at once.
    pub disk_threads: usize,
    /// Uploads whose files stay open between chunks.
    pub kept_open: usize,
}

impl Default for Chunks {
    fn default() -> Self {
        let ChunkOptions {
            max_bytes,
            min_free_bytes,
            disk_threads,
            kept_open,
        } = ChunkOptions::default();
        Self {
            max_bytes: max_bytes.map(ByteSize),
            min_free_bytes: ByteSize(min_free_bytes),
            disk_threads,
            kept_open,
        }
    }
}

impl Chunks {
    pub(crate) fn options(&self) -> ChunkOptions {
        ChunkOptions {
            max_bytes: self.max_bytes.map(|size| size.0),
            min_free_bytes: self.min_free_bytes.0,
            disk_threads: self.disk_threads,
            kept_open: self.kept_open,
        }
    }
}

/// Variables of the environment that begin like settings and belong to the client commands.
const CLIENT_VARIABLES: [&str; 1] = ["SLUICE_SERVER"];

impl Settings {
    /// Loads the settings: defaults, then the file, the environment, and the flags given.
    ///
    /// # Errors
    /// When a layer can't be read, or holds an unknown key or a value of the wrong kind.
    pub fn load(
        file: Option<&Path>,
        flags: Vec<(&'static str, String)>,
    ) -> Result<Self, ConfigError> {
        Self::load_from(file, std::env::vars_os(), flags)
    }

    /// As [`load`](Self::load), with this environment.
    ///
    /// # Errors
    /// As `load`.
    pub fn load_from(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: Vec<(&'static str, String)>,
    ) -> Result<Self, ConfigError> {
        let loader = Loader::new("SLUICE")
            .file(file)
            .environment(environment)
            .reserved(CLIENT_VARIABLES)
            .flags(flags);
        Ok(loader.load()?.config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use service_kit::config::render;

    fn load(
        environment: &[(&str, &str)],
        flags: Vec<(&'static str, String)>,
    ) -> Result<Settings, ConfigError> {
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        Settings::load_from(None, environment, flags)
    }

    #[test]
    fn flags_win_over_the_environment() {
        let flags = vec![("listen", "127.0.0.1:3".to_owned())];
        let settings = load(
            &[
                ("SLUICE_LISTEN", "127.0.0.1:2"),
                ("SLUICE_GATEWAY__WINDOW_BYTES", "4 MiB"),
            ],
            flags,
        )
        .unwrap();
        assert_eq!(settings.listen.port(), 3);
        assert_eq!(settings.gateway.window_bytes.0, 4 << 20);
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = load(&[("SLUICE_GATEWAY__WINDOW", "1")], vec![]).unwrap_err();
        assert!(
            error.to_string().to_lowercase().contains("window"),
            "{error}"
        );
    }

    #[test]
    fn what_is_shown_can_be_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("all.toml");
        std::fs::write(&file, render(&Settings::default()).unwrap()).unwrap();
        Settings::load_from(Some(&file), [], vec![]).unwrap();
    }
}
