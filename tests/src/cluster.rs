//! The server as it is distributed: processes with one role each, on engines that they share.

mod plan;

pub use plan::{Plan, StoreUrls};

use crate::process::Process;
use futures::future::join_all;
use sluice::Role;
use std::net::SocketAddr;

/// The processes. Unless they are detached, they are gone when dropped.
pub struct Cluster {
    replicas: Vec<Replica>,
    plan: Plan,
}

/// One process.
pub struct Replica {
    /// What it does.
    pub role: Role,
    /// Which one of those that do it, from 0.
    pub number: usize,
    /// The process itself.
    pub process: Process,
}

impl Cluster {
    /// Starts every process, all at once, and waits until all are ready.
    ///
    /// # Panics
    /// When one does not become ready.
    pub async fn start(plan: Plan) -> Self {
        let replicas = plan.places().map(|(role, number)| Replica {
            role,
            number,
            process: Process::new(plan.launch(role, number)),
        });
        let replicas = replicas.collect();
        let mut cluster = Self { replicas, plan };
        cluster.restart().await;
        cluster
    }

    /// Starts every process again, also those that run, and waits until all are ready.
    ///
    /// # Panics
    /// When one does not become ready.
    pub async fn restart(&mut self) {
        self.processes_mut().for_each(Process::start);
        join_all(self.processes_mut().map(Process::until_ready)).await;
    }

    /// Kills every process.
    pub fn kill(&mut self) {
        self.processes_mut().for_each(Process::kill);
    }

    /// Every process.
    #[must_use]
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// One process.
    ///
    /// # Panics
    /// When there is no such one.
    pub fn replica(&mut self, role: Role, number: usize) -> &mut Process {
        let found = self
            .replicas
            .iter_mut()
            .find(|replica| (replica.role, replica.number) == (role, number));
        &mut found.expect("it is planned").process
    }

    /// Every process, to be changed.
    pub fn processes_mut(&mut self) -> impl Iterator<Item = &mut Process> {
        self.replicas.iter_mut().map(|replica| &mut replica.process)
    }

    /// How it was planned.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where the gateways listen for clients.
    #[must_use]
    pub fn gateways(&self) -> Vec<SocketAddr> {
        self.plan.gateways()
    }

    /// The addresses of the gateways as URLs.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        let gateways = self.gateways();
        gateways.iter().map(|at| format!("http://{at}")).collect()
    }

    /// What all have logged so far, one after the other.
    #[must_use]
    pub fn log(&self) -> String {
        self.replicas
            .iter()
            .map(|replica| replica.process.log())
            .collect()
    }

    /// The sum of a metric over all processes that answer; see [`Process::metric`].
    pub async fn metric(&self, name: &str) -> f64 {
        let of_each = self
            .replicas
            .iter()
            .map(|replica| replica.process.metric(name));
        join_all(of_each).await.into_iter().flatten().sum()
    }

    /// The last lines of each log, for a test that fails.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        let tails = self
            .replicas
            .iter()
            .map(|replica| replica.process.tail(lines));
        tails.collect::<Vec<_>>().join("\n")
    }
}
