//! Puts a server together, embedded: every role in this process, SQLite and the local disk beneath.

use crate::Settings;
use axum::Router;
use gateway::{Gateway, Parts, TokenRules};
use service_kit::{
    health::Health,
    lifecycle::{Lifecycle, LifecycleError, Shutdown, serve},
    metrics::Metrics,
    peer::Peer,
    stack,
};
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};
use storage::{blobs::BlobStore, chunks::ChunkCache, events::Events};
use tokio::net::TcpListener;

/// The ports that a server keeps bytes in and passes events by.
#[derive(Clone)]
pub struct Stores {
    /// The bytes of uploads.
    pub chunks: Arc<dyn ChunkCache>,
    /// The bytes of files.
    pub blobs: Arc<dyn BlobStore>,
    /// Work and news.
    pub events: Arc<dyn Events>,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder for the data can't be made.
    #[error("the data folder {path} can't be used: {source}")]
    Data {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A store can't be opened.
    #[error(transparent)]
    Store(#[from] storage::OpenError),
    /// The accounts can't be opened.
    #[error(transparent)]
    Auth(#[from] auth::OpenError),
    /// The state of uploads can't be opened.
    #[error("the state of uploads can't be opened: {0}")]
    Uploader(#[from] uploader::StoreError),
    /// The index of files can't be opened.
    #[error(transparent)]
    FileManager(#[from] file_manager::OpenError),
    /// The gateway's settings make no sense.
    #[error(transparent)]
    Gateway(#[from] gateway::config::InvalidConfig),
    /// The address is taken, or can't be listened on.
    #[error("can't listen on {address}: {source}; choose another with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Signals can't be handled.
    #[error("signals can't be handled: {0}")]
    Signals(io::Error),
}

impl Stores {
    /// Opens the stores of an embedded server beneath its data folder.
    ///
    /// # Errors
    /// When the folder or a store can't be used, also because another server is using it.
    pub async fn open(settings: &Settings) -> Result<Self, StartError> {
        let data = &settings.data;
        make_private(data).map_err(|source| StartError::Data {
            path: data.clone(),
            source,
        })?;
        let url = |folder: &str| format!("disk:{}", data.join(folder).display());
        Ok(Self {
            chunks: storage::open_chunks(&url("chunks"), &settings.chunks.options()).await?,
            blobs: storage::open_blobs(&url("blobs")).await?,
            events: storage::open_events("local:").await?,
        })
    }
}

/// Makes a folder, and those above it, that only its owner may look into: it holds signing keys and everybody's files. One
/// that is there keeps the rights that its owner gave it.
///
/// # Errors
/// Those of the file system.
pub fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// A server that is listening.
pub struct Server {
    lifecycle: Lifecycle,
    address: SocketAddr,
    events: Arc<dyn Events>,
}

impl Server {
    /// Starts a server on these stores. When it returns, the listener is open and every role runs.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        settings: Settings,
        stores: Stores,
        metrics: Option<Metrics>,
    ) -> Result<Self, StartError> {
        let mut lifecycle = Lifecycle::new(settings.shutdown_grace.duration());
        let shutdown = lifecycle.shutdown();
        let health = Health::new(&shutdown);
        let Stores {
            chunks,
            blobs,
            events,
        } = stores;
        let data = |file: &str| settings.data.join(file);
        let tokens = TokenRules {
            issuer: settings.auth.issuer.clone(),
            audience: settings.auth.audience.clone(),
        };
        let max_file_bytes = settings.uploader.max_file_bytes.0;

        let auth = auth::Auth::open(settings.auth, &data("auth.db")).await?;
        let auth_peer = Peer::local("auth", auth::router(auth.clone()));

        let uploader = uploader::Uploader::open(
            settings.uploader,
            &data("uploads.db"),
            chunks.clone(),
            events.clone(),
        )
        .await?;
        let uploader_peer = Peer::local("uploader", uploader::router(uploader.clone()));

        let file_manager = file_manager::FileManager::open(
            settings.file_manager,
            &data("index.db"),
            chunks.clone(),
            blobs,
            events.clone(),
            uploader_peer.clone(),
        )
        .await?;
        let file_manager_peer =
            Peer::local("file-manager", file_manager::router(file_manager.clone()));

        let parts = Parts {
            auth: auth_peer,
            uploader: uploader_peer,
            file_manager: file_manager_peer,
            chunks,
            events: events.clone(),
            tokens,
            max_file_bytes,
        };
        let gateway = Gateway::new(settings.gateway, parts, shutdown.clone())?;

        let listen = |source| StartError::Listen {
            address: settings.listen,
            source,
        };
        let listener = TcpListener::bind(settings.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;

        watch_storing(&health, &file_manager);
        let draining = shutdown.draining().clone();
        let sweeping = auth::run(auth, draining.clone());
        lifecycle.spawn_critical("auth", async {
            sweeping.await;
            Ok::<_, String>(())
        });
        lifecycle.spawn_critical("uploader", uploader::run(uploader, draining.clone()));
        lifecycle.spawn_critical("file-manager", file_manager::run(file_manager, draining));
        spawn_gateway(&mut lifecycle, &shutdown, gateway.clone());
        let mut public = gateway::router(gateway).merge(health.router());
        if let Some(metrics) = metrics {
            public = expose(&mut lifecycle, &shutdown, public, metrics);
        }
        let public = stack::wrap("gateway", public);
        lifecycle.spawn_critical("listener", serve(listener, public, settings.http, shutdown));
        Ok(Self {
            lifecycle,
            address,
            events,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The handle by which it is stopped.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        self.lifecycle.shutdown()
    }

    /// Makes SIGINT and SIGTERM stop it.
    ///
    /// # Errors
    /// When the handlers can't be installed.
    pub fn handle_signals(&mut self) -> Result<(), StartError> {
        self.lifecycle.handle_signals().map_err(StartError::Signals)
    }

    /// Runs until it is stopped, or until a part of it fails.
    ///
    /// # Errors
    /// The failure of the part.
    pub async fn run(self) -> Result<(), LifecycleError> {
        let ended = self.lifecycle.wait().await;
        self.events.close().await;
        ended
    }
}

/// Readiness tells when storing pauses because the blob store can't be reached.
fn watch_storing(health: &Health, file_manager: &file_manager::FileManager) {
    let file_manager = file_manager.clone();
    health.register_probe("file-manager", move || {
        let paused = file_manager.paused();
        async move { paused.map_or(Ok(()), Err) }
    });
}

fn spawn_gateway(lifecycle: &mut Lifecycle, shutdown: &Shutdown, gateway: Arc<Gateway>) {
    let (draining, tracker) = (shutdown.draining().clone(), shutdown.tracker().clone());
    lifecycle.spawn_critical("gateway", async move {
        // Sockets that are draining still need logouts and notifications.
        let drained = async {
            draining.cancelled().await;
            tracker.wait().await;
        };
        tokio::select! {
            () = gateway::run(gateway) => {}
            () = drained => {}
        }
        Ok::<_, String>(())
    });
}

fn expose(
    lifecycle: &mut Lifecycle,
    shutdown: &Shutdown,
    public: Router,
    metrics: Metrics,
) -> Router {
    let router = public.merge(metrics.router());
    let upkeep = metrics.run_upkeep(shutdown.draining().clone());
    lifecycle.spawn_critical("metrics", async {
        upkeep.await;
        Ok::<_, String>(())
    });
    router
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_data_folder_is_made_for_its_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("above").join("data");
        make_private(&folder).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o750)).unwrap();
        make_private(&folder).unwrap();
        assert_eq!(mode(&folder), 0o750, "what an operator has chosen stays");
    }
}
