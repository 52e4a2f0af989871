//! Everything that can be configured, in one place.

use crate::Role;
use serde::{Deserialize, Serialize};
use service_kit::{
    config::{ByteSize, ConfigError, EngineUrl, Loader, Millis, Secret},
    lifecycle::HttpLimits,
    peer::PeerConfig,
    telemetry::TelemetryConfig,
};
use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};
use storage::chunks::{ChunkOptions, Writes};

/// The settings of a server. Each service's own are documented where it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What this process does; everything, if nothing else is said.
    pub roles: Vec<Role>,
    /// Threads that the process works with. By default one per core; one per two cores if it plays only some roles, since others
    /// share the machine with it then, and what wakes up on another core costs more than what waits a moment.
    pub threads: Option<NonZeroUsize>,
    /// Where the public listener listens, in a process with the role gateway.
    pub listen: SocketAddr,
    /// The folder that holds everything that is kept in no other store.
    pub data: PathBuf,
    /// Where things are kept.
    pub stores: StoreUrls,
    /// The listener for other services.
    pub internal: Internal,
    /// The roles that other processes play, and how they are called.
    pub peers: Peers,
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
            roles: Role::ALL.to_vec(),
            threads: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            data: PathBuf::from("sluice-data"),
            stores: StoreUrls::default(),
            internal: Internal::default(),
            peers: Peers::default(),
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

/// The engine behind each port, by its URL. What is absent is kept in the data folder.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreUrls {
    /// The bytes of uploads until they are stored: `redis://host:6379/0?prefix=…` or `disk:<path>`.
    pub chunks: Option<EngineUrl>,
    /// Work and news: `amqp://user:password@host:5672/%2f?prefix=…` or `local:`.
    pub events: Option<EngineUrl>,
    /// The bytes of stored files: `mongodb://host:27017/<database>?replicaSet=…` or `disk:<path>`.
    pub blobs: Option<EngineUrl>,
    /// The index of stored files: `mongodb://…` or `sqlite:<path>`.
    pub index: Option<EngineUrl>,
    /// Accounts and logins: `postgres://user:password@host:5432/<database>` or `sqlite:<path>`.
    pub users: Option<EngineUrl>,
    /// The state of uploads and the notification log: `postgres://…` or `sqlite:<path>`.
    pub uploads: Option<EngineUrl>,
}

/// The listener for other services, apart from the public one. It also tells about the process: `/healthz`, `/readyz`, `/metrics`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Internal {
    /// Where it listens. A process that plays every role needs none.
    pub listen: Option<SocketAddr>,
    /// The keys that sign calls between services, `id:secret` separated by commas: the first one signs, every one is accepted.
    pub keys: Secret,
}

/// The roles that other processes play: the addresses of their internal listeners (`http://host:port`), of which each may stand
/// for several replicas.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Peers {
    /// Replicas of auth.
    pub auth: Vec<String>,
    /// Replicas of uploader.
    pub uploader: Vec<String>,
    /// Replicas of file-manager.
    pub file_manager: Vec<String>,
    /// How they are called.
    pub calls: PeerConfig,
}

impl Peers {
    /// The addresses of this role's replicas, and the setting that holds them.
    pub(crate) fn of(&self, role: Role) -> (&[String], &'static str) {
        match role {
            Role::Auth => (&self.auth, "peers.auth"),
            Role::Uploader => (&self.uploader, "peers.uploader"),
            Role::FileManager => (&self.file_manager, "peers.file_manager"),
            Role::Gateway => (&[], "peers"),
        }
    }
}

/// The settings of the chunk cache.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chunks {
    /// What uploads may hold and reserve in all; unlimited if absent.
    pub max_bytes: Option<ByteSize>,
    /// On disk: what uploads never take of the file system.
    pub min_free_bytes: ByteSize,
    /// On disk: file operations under way at once.
    pub disk_threads: usize,
    /// On disk: uploads whose file stays open between chunks.
    pub kept_open: usize,
    /// On disk: `direct` past the page cache, `buffered` through it, `auto` past it where the file system lets us.
    pub writes: Writes,
    /// In Redis: an upload that is not complete is dropped when nothing was written to it for so long. Longer than
    /// `uploader.upload_lifetime`.
    pub abandoned_after: Millis,
}

impl Default for Chunks {
    fn default() -> Self {
        let ChunkOptions {
            max_bytes,
            min_free_bytes,
            disk_threads,
            kept_open,
            writes,
            abandoned_after,
        } = ChunkOptions::default();
        Self {
            max_bytes: max_bytes.map(ByteSize),
            min_free_bytes: ByteSize(min_free_bytes),
            disk_threads,
            kept_open,
            writes,
            abandoned_after: Millis(u64::try_from(abandoned_after.as_millis()).unwrap_or(u64::MAX)),
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
            writes: self.writes,
            abandoned_after: self.abandoned_after.duration(),
        }
    }
}

/// Where the internal listener listens if it has to and nothing is said.
const DEFAULT_INTERNAL: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// Variables of the environment that begin like settings and belong to the client commands.
const CLIENT_VARIABLES: [&str; 1] = ["SLUICE_SERVER"];

impl Settings {
    /// How many threads the process works with on so many cores.
    #[must_use]
    pub fn threads_on(&self, cores: usize) -> usize {
        let plays_all = Role::ALL.iter().all(|role| self.roles.contains(role));
        let usual = if plays_all { cores } else { cores.div_ceil(2) };
        self.threads.map_or(usual.max(1), NonZeroUsize::get)
    }

    /// Whether this process plays a role.
    #[must_use]
    pub fn plays(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Whether this process plays every role, so that it needs no other.
    pub(crate) fn is_alone(&self) -> bool {
        Role::ALL.iter().all(|role| self.plays(*role))
    }

    /// Where the internal listener listens: where it is told to, and somewhere in any case if other processes play other roles.
    #[must_use]
    pub fn internal_address(&self) -> Option<SocketAddr> {
        let default = (!self.is_alone()).then_some(DEFAULT_INTERNAL);
        self.internal.listen.or(default)
    }

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
    fn a_process_with_some_roles_takes_half_of_the_cores() {
        let threads = |settings: &Settings| [1, 2, 3, 8].map(|cores| settings.threads_on(cores));
        assert_eq!(threads(&Settings::default()), [1, 2, 3, 8]);
        let one_role = load(&[("SLUICE_ROLES", "gateway")], Vec::new()).unwrap();
        assert_eq!(threads(&one_role), [1, 1, 2, 4]);
        let told = load(&[("SLUICE_THREADS", "5")], Vec::new()).unwrap();
        assert_eq!(threads(&told), [5; 4]);
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
