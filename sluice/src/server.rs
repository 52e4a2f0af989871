//! Puts a server together: the roles that this process plays, on the stores that the settings name.

use crate::{Role, Settings, StartError, Stores};
use axum::Router;
use futures::future::BoxFuture;
use gateway::{Gateway, Parts, TokenRules};
use service_kit::{
    health::Health,
    internal::{InstanceId, Keys, Listener},
    lifecycle::{Lifecycle, LifecycleError, Shutdown, listen, serve},
    metrics::Metrics,
    peer::Peer,
    stack,
};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;

/// A server that is listening.
pub struct Server {
    lifecycle: Lifecycle,
    public: Option<SocketAddr>,
    internal: Option<SocketAddr>,
    stores: Stores,
}

impl Server {
    /// Starts a server on these stores. When it returns, the listeners are open and every role runs.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        settings: Settings,
        stores: Stores,
        metrics: Option<Metrics>,
    ) -> Result<Self, StartError> {
        check(&settings, &stores)?;
        // An address that is taken is found before anything is touched.
        let public = match settings.plays(Role::Gateway) {
            true => Some(bind(settings.listen, "--listen")?),
            false => None,
        };
        let internal = match settings.internal_address() {
            Some(address) => Some(bind(address, "the setting `internal.listen`")?),
            None => None,
        };
        let lifecycle = Lifecycle::new(settings.shutdown_grace.duration());
        let mut wiring = Wiring {
            keys: keys(&settings)?,
            health: Health::new(&lifecycle.shutdown()),
            shutdown: lifecycle.shutdown(),
            stores: stores.clone(),
            settings,
            services: BTreeMap::new(),
            tasks: Vec::new(),
        };
        let surface = wiring.play().await?;
        let mut server = Self {
            lifecycle,
            public: public.as_ref().map(|(_, address)| *address),
            internal: internal.as_ref().map(|(_, address)| *address),
            stores,
        };
        server.run_all(wiring, surface, [public, internal], metrics);
        Ok(server)
    }

    /// Starts the tasks of every role, and serves what there is to serve.
    fn run_all(
        &mut self,
        wiring: Wiring,
        surface: Option<Router>,
        [public, internal]: [Option<(TcpListener, SocketAddr)>; 2],
        metrics: Option<Metrics>,
    ) {
        let Wiring {
            settings,
            keys,
            health,
            shutdown,
            services,
            tasks,
            ..
        } = wiring;
        for (role, task) in tasks {
            self.lifecycle.spawn_critical(role.name(), task);
        }
        let mut own_pages = health.router();
        if let Some(metrics) = metrics {
            own_pages = own_pages.merge(metrics.router());
            let upkeep = metrics.run_upkeep(shutdown.draining().clone());
            self.lifecycle.spawn_critical("metrics", infallible(upkeep));
        }
        if let (Some((listener, _)), Some(surface)) = (public, surface) {
            // What only operators should see is on the internal listener, if there is one.
            let beside = match internal {
                Some(_) => health.router(),
                None => own_pages.clone(),
            };
            let router = stack::wrap(Role::Gateway.name(), surface.merge(beside));
            let serving = serve(listener, router, settings.http.clone(), shutdown.clone());
            self.lifecycle.spawn_critical("listener", serving);
        }
        if let Some((listener, _)) = internal {
            let router = internal_router(keys, services, own_pages);
            let serving = serve(listener, router, settings.http, shutdown);
            self.lifecycle.spawn_critical("internal listener", serving);
        }
    }

    /// Where it listens for clients, in a process with the role gateway.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.public
    }

    /// Where it listens for other services.
    #[must_use]
    pub fn internal_address(&self) -> Option<SocketAddr> {
        self.internal
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
        if let Some(events) = self.stores.events_if_open() {
            events.close().await;
        }
        ended
    }
}

/// Finds what can't work before anything is opened.
fn check(settings: &Settings, stores: &Stores) -> Result<(), StartError> {
    if settings.roles.is_empty() {
        return Err(StartError::NoRole);
    }
    if settings.chunks.abandoned_after.0 <= settings.uploader.upload_lifetime.0 {
        return Err(StartError::ShortMemory);
    }
    let sharing = [Role::Gateway, Role::Uploader, Role::FileManager];
    let here = sharing.iter().filter(|role| settings.plays(**role)).count();
    if (1..sharing.len()).contains(&here)
        && let Some((setting, url)) = stores.unshared().next()
    {
        let url = url.to_string();
        return Err(StartError::Unshared { setting, url });
    }
    Ok(())
}

/// The keys that calls between processes are signed with; none in a process that neither makes nor takes such calls.
fn keys(settings: &Settings) -> Result<Option<Arc<Keys>>, StartError> {
    if settings.internal.keys.is_empty() && settings.is_alone() {
        return Ok(None);
    }
    Ok(Some(Arc::new(Keys::parse(&settings.internal.keys)?)))
}

/// What other processes find here. Without keys, which no other process can then have either, nothing but the own pages.
fn internal_router(
    keys: Option<Arc<Keys>>,
    services: BTreeMap<Role, Router>,
    own_pages: Router,
) -> Router {
    let Some(keys) = keys else {
        return stack::wrap("internal", own_pages);
    };
    let listener = Listener::new(keys, InstanceId::random()).public(own_pages);
    let add =
        |listener: Listener, (role, router): (Role, Router)| listener.service(role.name(), router);
    services.into_iter().fold(listener, add).into_router()
}

fn bind(address: SocketAddr, flag: &'static str) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen {
        address,
        flag,
        source,
    };
    let listener = listen(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// A server in the making.
struct Wiring {
    settings: Settings,
    keys: Option<Arc<Keys>>,
    stores: Stores,
    shutdown: Shutdown,
    health: Health,
    /// What this process answers to other services.
    services: BTreeMap<Role, Router>,
    /// What each role does beside answering.
    tasks: Vec<(Role, BoxFuture<'static, Result<(), String>>)>,
}

impl Wiring {
    /// Opens every role that this process plays; answers the public surface, if the gateway is among them.
    async fn play(&mut self) -> Result<Option<Router>, StartError> {
        // In the order in which they call each other.
        if self.settings.plays(Role::Auth) {
            self.auth().await?;
        }
        if self.settings.plays(Role::Uploader) {
            self.uploader().await?;
        }
        if self.settings.plays(Role::FileManager) {
            self.file_manager().await?;
        }
        match self.settings.plays(Role::Gateway) {
            true => self.gateway().await.map(Some),
            false => Ok(None),
        }
    }

    /// The URL of a role's database. One in a file is right for a single process of the role, and wrong for two.
    fn database<'a>(&self, role: Role, url: &'a str) -> &'a str {
        if url.starts_with("sqlite:") && !self.settings.is_alone() {
            tracing::warn!(%role, url, "this role must not run twice: its database is a file of this process");
        }
        url
    }

    async fn auth(&mut self) -> Result<(), StartError> {
        let auth = auth::Auth::open(
            self.settings.auth.clone(),
            self.database(Role::Auth, self.stores.users()?),
        )
        .await?;
        let probed = auth.clone();
        self.probe(Role::Auth, move || {
            let auth = probed.clone();
            async move { auth.ready().await }
        });
        self.services.insert(Role::Auth, auth::router(auth.clone()));
        let draining = self.shutdown.draining().clone();
        self.spawn(Role::Auth, auth::run(auth, draining));
        Ok(())
    }

    async fn uploader(&mut self) -> Result<(), StartError> {
        let uploader = uploader::Uploader::open(
            self.settings.uploader.clone(),
            self.database(Role::Uploader, self.stores.uploads()?),
            self.stores.chunks().await?,
            self.stores.events().await?,
        )
        .await?;
        let probed = uploader.clone();
        self.probe(Role::Uploader, move || {
            let uploader = probed.clone();
            async move { uploader.ready().await }
        });
        self.services
            .insert(Role::Uploader, uploader::router(uploader.clone()));
        let draining = self.shutdown.draining().clone();
        self.spawn(Role::Uploader, uploader::run(uploader, draining));
        Ok(())
    }

    async fn file_manager(&mut self) -> Result<(), StartError> {
        let file_manager = file_manager::FileManager::open(
            self.settings.file_manager.clone(),
            self.database(Role::FileManager, self.stores.index()?),
            self.stores.chunks().await?,
            self.stores.blobs().await?,
            self.stores.events().await?,
            self.peer(Role::FileManager, Role::Uploader)?,
        )
        .await?;
        self.services.insert(
            Role::FileManager,
            file_manager::router(file_manager.clone()),
        );
        let probed = file_manager.clone();
        self.probe(Role::FileManager, move || {
            let file_manager = probed.clone();
            async move { file_manager.ready().await }
        });
        let draining = self.shutdown.draining().clone();
        self.spawn(Role::FileManager, file_manager::run(file_manager, draining));
        Ok(())
    }

    async fn gateway(&mut self) -> Result<Router, StartError> {
        let settings = &self.settings;
        let parts = Parts {
            auth: self.peer(Role::Gateway, Role::Auth)?,
            uploader: self.peer(Role::Gateway, Role::Uploader)?,
            file_manager: self.peer(Role::Gateway, Role::FileManager)?,
            chunks: self.stores.chunks().await?,
            events: self.stores.events().await?,
            tokens: TokenRules {
                issuer: settings.auth.issuer.clone(),
                audience: settings.auth.audience.clone(),
            },
            max_file_bytes: settings.uploader.max_file_bytes.0,
        };
        let gateway = Gateway::new(settings.gateway.clone(), parts, self.shutdown.clone())?;
        let (draining, tracker) = (
            self.shutdown.draining().clone(),
            self.shutdown.tracker().clone(),
        );
        let probed = gateway.clone();
        self.probe(Role::Gateway, move || {
            let gateway = probed.clone();
            async move { gateway.ready().await }
        });
        let running = gateway.clone();
        self.spawn(Role::Gateway, async move {
            // Sockets that are draining still need logouts and notifications.
            let drained = async {
                draining.cancelled().await;
                tracker.wait().await;
            };
            tokio::select! {
                () = gateway::run(running) => {}
                () = drained => {}
            }
            Ok::<_, String>(())
        });
        Ok(gateway::router(gateway))
    }

    /// How one role calls another: in process if this process plays it, else where the settings say.
    fn peer(&self, needed_by: Role, role: Role) -> Result<Peer, StartError> {
        if let Some(router) = self.services.get(&role) {
            return Ok(Peer::local(role.name(), router.clone()));
        }
        let (addresses, setting) = self.settings.peers.of(role);
        match &self.keys {
            Some(keys) if !addresses.is_empty() => {
                let calls = &self.settings.peers.calls;
                let peer = Peer::remote(role.name(), addresses, keys.clone(), calls);
                peer.map_err(|source| StartError::Peer { setting, source })
            }
            _ => Err(StartError::NoPeer {
                needed_by,
                missing: role,
                setting,
            }),
        }
    }

    /// Makes readiness depend on a role's word.
    fn probe<F>(&self, role: Role, ready: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.health.register_probe(role.name(), ready);
    }

    fn spawn<E: std::fmt::Display>(
        &mut self,
        role: Role,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let task = async { task.await.map_err(|error| error.to_string()) };
        self.tasks.push((role, Box::pin(task)));
    }
}

async fn infallible(task: impl Future<Output = ()>) -> Result<(), String> {
    task.await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use service_kit::config::Millis;

    fn refused(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = Settings::default();
        change(&mut settings);
        let stores = Stores::new(&settings);
        check(&settings, &stores).unwrap_err().to_string()
    }

    #[test]
    fn what_can_not_work_is_refused_by_name() {
        check(&Settings::default(), &Stores::new(&Settings::default())).unwrap();
        assert!(refused(|settings| settings.roles.clear()).contains("--role"));
        let shared = refused(|settings| settings.roles = vec![Role::Gateway]);
        assert!(
            shared.contains("stores.chunks") && shared.contains("disk:"),
            "{shared}"
        );
        let short = refused(|settings| settings.uploader.upload_lifetime = Millis::days(8));
        assert!(short.contains("chunks.abandoned_after"), "{short}");
        // Accounts alone need no store that others share.
        let settings = Settings {
            roles: vec![Role::Auth],
            ..Settings::default()
        };
        check(&settings, &Stores::new(&settings)).unwrap();
    }
}
