//! A site: the four engines, and one process of each of Sluice's roles.

use super::bill::Meters;
use crate::{
    Result,
    lab::Lab,
    process::Servers,
    ready,
    scenario::Skip,
    targets::server::{self, PASSWORD},
};
use futures::{StreamExt, TryStreamExt};
use protocol::http::Grant;
use sluice::Role;
use std::{net::SocketAddr, path::PathBuf, process::Command, sync::Arc};
use tests::{
    Plan,
    engines::{Engines, Namespace},
};
use tokio::sync::Mutex;

/// What Redis may take: a round's files wait there for being stored, and nobody is to wait for room.
const REDIS_BYTES: u64 = 4 << 30;

/// What is kept in the engines is called this.
const NAME: &str = "bench";

/// Engines and roles that run; they end when this is dropped.
pub(super) struct Site {
    /// Where clients connect.
    pub(super) gateway: SocketAddr,
    /// Where each process listens, and what they have in common.
    pub(super) plan: Plan,
    // Ended before the engines that they need.
    servers: Mutex<Servers>,
    parts: Vec<(String, Vec<u32>)>,
    pub(super) engines: Engines,
    grants: Mutex<Vec<Grant>>,
}

/// The site of a scenario, brought up by whoever needs it first.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<Option<Arc<Site>>>>);

impl Shared {
    /// The site.
    pub(super) async fn get(&self, lab: &Lab) -> Result<Arc<Site>> {
        let mut site = self.0.lock().await;
        if let Some(site) = &*site {
            return Ok(site.clone());
        }
        let up = Arc::new(Box::pin(Site::start(lab, &Role::ALL)).await?);
        Ok(site.insert(up).clone())
    }

    /// The site, which has these roles only if it is not there yet.
    pub(super) async fn with(&self, lab: &Lab, roles: &[Role]) -> Result<Arc<Site>> {
        let mut site = self.0.lock().await;
        if let Some(site) = &*site {
            return Ok(site.clone());
        }
        let up = Arc::new(Box::pin(Site::start(lab, roles)).await?);
        Ok(site.insert(up).clone())
    }
}

/// Whether there is all that a site needs; the version of Sluice.
pub(super) fn prepare(lab: &Lab) -> Result<String, Skip> {
    for program in ["redis-server", "rabbitmq-server", "postgres", "mongod"] {
        if tests::engines::find(program).is_none() {
            return Err(Skip(format!(
                "{program} is not installed: tests/engines/install"
            )));
        }
    }
    let version = server::version(lab)?;
    Ok(format!(
        "{version}, one process of each role; maxmemory of Redis {} GiB",
        REDIS_BYTES >> 30
    ))
}

impl Site {
    async fn start(lab: &Lab, roles: &[Role]) -> Result<Self> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = lab.scratch()?.keep();
        let (engines, namespace) = start_engines(folder.join("engines")).await?;
        let urls = engines.urls();
        give_room(&urls.redis).await?;
        let plan = Plan::new(namespace.stores(&urls), 1, folder.clone());
        let mut servers = Servers::new();
        let mut parts = Vec::new();
        for role in roles {
            let launch = plan.launch(*role, 0);
            let mut command = Command::new(&lab.options.sluice);
            command.args(&launch.arguments).envs(launch.environment);
            servers.spawn(role.name(), &command, &launch.log)?;
            let pid = servers.pids().last().copied();
            parts.push((role.name().to_owned(), pid.into_iter().collect()));
        }
        for role in roles {
            ready::answers(&mut servers, plan.internal(*role, 0), "/readyz").await?;
        }
        let gateway = plan.gateways()[0];
        ready::listens(&mut servers, gateway).await?;
        for engine in engines.all() {
            let pids = engine.record().daemon.pids();
            let pids = pids.into_iter().filter_map(|pid| u32::try_from(pid).ok());
            parts.push((engine.kind().name().to_owned(), pids.take(1).collect()));
        }
        Ok(Self {
            gateway,
            plan,
            servers: Mutex::new(servers),
            parts,
            engines,
            grants: Mutex::default(),
        })
    }

    /// Begins a measured stretch.
    pub(super) fn meters(&self) -> Result<Meters> {
        Meters::start(&self.parts)
    }

    /// Fails if a process has ended.
    pub(super) async fn check(&self) -> Result<()> {
        self.servers.lock().await.check()
    }

    /// Tokens of so many users, fresh ones: they last for a quarter of an hour.
    pub(super) async fn tokens(&self, users: usize) -> Result<Vec<String>> {
        let api = server::api(self.gateway)?;
        let mut grants = self.grants.lock().await;
        let known = grants.len();
        let get = |number: usize| {
            let api = api.clone();
            let before = grants.get(number).map(|grant| grant.refresh_token.clone());
            async move {
                match before {
                    Some(token) => api.refresh(&token).await,
                    None => api.signup(&format!("user-{number}"), PASSWORD).await,
                }
            }
        };
        let fresh: Vec<Grant> = futures::stream::iter(0..users)
            .map(get)
            .buffered(server::AT_ONCE)
            .try_collect()
            .await?;
        let tokens = fresh.iter().map(|grant| grant.access_token.clone());
        let tokens = tokens.collect();
        let rest = grants.split_off(known.min(users));
        *grants = fresh;
        grants.extend(rest);
        Ok(tokens)
    }
}

/// On a thread of its own: what starts engines was made for tests, and does not move between threads.
async fn start_engines(folder: PathBuf) -> Result<(Engines, Namespace)> {
    std::fs::create_dir(&folder)?;
    let runtime = tokio::runtime::Handle::current();
    let starting = move || {
        runtime.block_on(async {
            let engines = Box::pin(Engines::start_in(&folder)).await;
            let namespace = Namespace::named(&engines.urls(), NAME).await;
            (engines, namespace)
        })
    };
    Ok(tokio::task::spawn_blocking(starting).await?)
}

async fn give_room(url: &str) -> Result<()> {
    let mut connection = ::redis::Client::open(url)?
        .get_multiplexed_async_connection()
        .await?;
    // The log is rewritten no sooner than at as many bytes, as the manual of operations advises.
    let mut set = ::redis::cmd("CONFIG");
    set.arg("SET").arg("maxmemory").arg(REDIS_BYTES);
    set.arg("auto-aof-rewrite-min-size").arg(REDIS_BYTES);
    Ok(set.query_async::<()>(&mut connection).await?)
}
