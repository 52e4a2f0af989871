//! The installation that the faults happen to: private engines, two processes of each role, and proxies on some of the ways.

use crate::{
    cluster::{Cluster, Plan},
    engines::{Engines, Kind, Namespace},
    proxy::{Link, Proxy},
    server::CHEAP,
};
use sluice::Role;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};
use tempfile::TempDir;

/// What uploads may hold in the chunk cache in all. Two minutes without MongoDB reach it, the shorter faults hardly do.
const CACHE: &str = "96 MiB";

/// What one client can send: so that its uploads are still under way when the fault comes, and when it ends.
const PACE: Link = Link::Slow {
    rate: 256 << 10,
    latency: std::time::Duration::ZERO,
};

/// A way with a proxy on it, from the first process of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wire {
    GatewayRedis,
    UploaderPostgres,
    FileManagerMongoDb,
    UploaderRabbitMq,
    GatewayUploader,
}

impl Wire {
    pub(super) const ALL: [Self; 5] = [
        Self::GatewayRedis,
        Self::UploaderPostgres,
        Self::FileManagerMongoDb,
        Self::UploaderRabbitMq,
        Self::GatewayUploader,
    ];

    /// From where it leads where.
    pub(super) const fn ends(self) -> (&'static str, &'static str) {
        match self {
            Self::GatewayRedis => ("gateway", "redis"),
            Self::UploaderPostgres => ("uploader", "postgres"),
            Self::FileManagerMongoDb => ("file-manager", "mongodb"),
            Self::UploaderRabbitMq => ("uploader", "rabbitmq"),
            Self::GatewayUploader => ("gateway", "uploader"),
        }
    }

    pub(super) fn name(self) -> String {
        let (from, to) = self.ends();
        format!("{from}-{to}")
    }
}

/// The installation.
pub(super) struct Stage {
    pub(super) cluster: Cluster,
    pub(super) wires: BTreeMap<Wire, Proxy>,
    pub(super) engines: Engines,
    pub(super) namespace: Namespace,
    /// What clients connect to, in turn to each gateway, and slowly.
    pub(super) door: Proxy,
    /// The same, as quick as it can.
    pub(super) side_door: Proxy,
    /// Cases so far.
    pub(super) cases: usize,
    /// Blobs that were there when the last case ended.
    pub(super) blobs: BTreeSet<String>,
    /// Errors in the logs when the case began.
    errors_before: usize,
    folder: TempDir,
}

impl Stage {
    pub(super) async fn set() -> Self {
        let engines = Box::pin(Engines::start()).await;
        let namespace = Namespace::create(&engines.urls()).await;
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let stores = namespace.stores(&engines.urls());
        let mut plan = Plan::new(stores, 2, folder.path())
            .set("SLUICE_CHUNKS__MAX_BYTES", CACHE)
            // So that uploads move often.
            .set("SLUICE_GATEWAY__CHUNK_BYTES", "64 KiB")
            // The whole story of each user is read at the end.
            .set("SLUICE_GATEWAY__REPLAY_LIMIT", "100000");
        for (name, value) in CHEAP {
            plan = plan.set(name, value);
        }
        let mut wires = BTreeMap::new();
        for wire in Wire::ALL {
            let (proxy, through) = lay(wire, plan, &engines, &namespace).await;
            wires.insert(wire, proxy);
            plan = through;
        }
        let cluster = Cluster::start(plan).await;
        let door = Proxy::before_any(&cluster.gateways()).await;
        door.set(PACE);
        let side_door = Proxy::before_any(&cluster.gateways()).await;
        Self {
            cluster,
            wires,
            engines,
            namespace,
            door,
            side_door,
            cases: 0,
            blobs: BTreeSet::new(),
            errors_before: 0,
            folder,
        }
    }

    pub(super) fn begin_case(&mut self) {
        self.cases += 1;
        self.errors_before = self.errors();
    }

    /// Lines of the logs at the level of errors, since the case began.
    pub(super) fn errors_logged(&self) -> usize {
        self.errors() - self.errors_before
    }

    fn errors(&self) -> usize {
        let log = self.cluster.log();
        log.lines().filter(|line| line.contains(" ERROR ")).count()
    }

    /// The processes that ended although nobody killed them.
    pub(super) fn ended_by_themselves(&mut self) -> Vec<String> {
        let processes = self.cluster.processes_mut();
        let ended =
            processes.filter_map(|process| (!process.runs()).then(|| process.name().to_owned()));
        ended.collect()
    }

    /// Copies the logs to where they outlive the run; answers that folder.
    pub(super) fn keep_logs(&self, case: &str) -> Option<PathBuf> {
        let kept = super::report::folder().join("logs").join(case);
        std::fs::create_dir_all(&kept).ok()?;
        for entry in std::fs::read_dir(self.folder.path()).ok()?.flatten() {
            let is_log = entry.path().extension().is_some_and(|end| end == "log");
            if is_log {
                std::fs::copy(entry.path(), kept.join(entry.file_name())).ok()?;
            }
        }
        for engine in self.engines.all() {
            let path = kept.join(format!("{}.log", engine.kind().name()));
            std::fs::write(path, engine.tail()).ok()?;
        }
        Some(kept)
    }
}

/// Puts a proxy on a way.
async fn lay(wire: Wire, plan: Plan, engines: &Engines, namespace: &Namespace) -> (Proxy, Plan) {
    let through = async |kind: Kind| {
        let proxy = Proxy::before(engines.get(kind).address()).await;
        let stores = namespace.stores(&engines.urls().via(kind, proxy.address()));
        (proxy, stores)
    };
    match wire {
        Wire::GatewayRedis => {
            let (proxy, stores) = through(Kind::Redis).await;
            let plan = plan.set_for(Role::Gateway, 0, "SLUICE_STORES__CHUNKS", stores.chunks);
            (proxy, plan)
        }
        Wire::UploaderPostgres => {
            let (proxy, stores) = through(Kind::Postgres).await;
            let plan = plan.set_for(Role::Uploader, 0, "SLUICE_STORES__UPLOADS", stores.uploads);
            (proxy, plan)
        }
        Wire::UploaderRabbitMq => {
            let (proxy, stores) = through(Kind::RabbitMq).await;
            let plan = plan.set_for(Role::Uploader, 0, "SLUICE_STORES__EVENTS", stores.events);
            (proxy, plan)
        }
        Wire::FileManagerMongoDb => {
            let (proxy, stores) = through(Kind::MongoDb).await;
            let plan = plan
                .set_for(Role::FileManager, 0, "SLUICE_STORES__BLOBS", stores.blobs)
                .set_for(Role::FileManager, 0, "SLUICE_STORES__INDEX", stores.index);
            (proxy, plan)
        }
        Wire::GatewayUploader => {
            let proxy = Proxy::before(plan.internal(Role::Uploader, 0)).await;
            let (first, second) = (proxy.address(), plan.internal(Role::Uploader, 1));
            let both = format!("http://{first},http://{second}");
            let plan = plan.set_for(Role::Gateway, 0, "SLUICE_PEERS__UPLOADER", both);
            (proxy, plan)
        }
    }
}
