//! The upload scenarios: so many clients, each sending so many files one after another.
//!
//! Every server is loaded through [`Load`]. Whatever can be made ahead of the measured stretch is: content, checksums, digests,
//! masked frames, request heads, accounts and tokens. So the generator's part in the stretch is writing to sockets and reading
//! replies, for each server alike.

pub mod body;
pub mod frames;
pub mod generator;
pub mod library;
pub mod pipe;
mod scenario;
pub mod wire;

use crate::{
    Result,
    scenario::Part,
    target::{Running, Target},
};
use async_trait::async_trait;
use body::Body;
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

pub(crate) use scenario::figures_of;
pub use scenario::{Uploads, scenarios};

/// What is sent.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Connections.
    pub clients: usize,
    /// Files of each, one after another.
    pub files_per_client: usize,
    /// Bytes of each file.
    pub file_bytes: usize,
    /// Whether opening the connections is part of the measured stretch.
    pub connecting: bool,
    /// Different contents; files take turns with them.
    bodies: Arc<Vec<Body>>,
}

impl Plan {
    /// A plan with contents of its own.
    #[must_use]
    pub fn new(clients: usize, files_per_client: usize, file_bytes: usize) -> Self {
        let files = clients * files_per_client;
        // Enough that no cache of the CPU holds them all, and few enough to be made quickly.
        let different = (body::DIFFERENT_BYTES / file_bytes).clamp(1, files.max(1));
        let bodies = (0..different).map(|seed| Body::new(seed as u64, file_bytes));
        Self {
            clients,
            files_per_client,
            file_bytes,
            connecting: false,
            bodies: Arc::new(bodies.collect()),
        }
    }

    /// The same, with connecting in the measured stretch.
    #[must_use]
    pub fn with_connecting(mut self) -> Self {
        self.connecting = true;
        self
    }

    /// A small part of it with the same contents, that warms a server up.
    #[must_use]
    pub fn warm_up(&self) -> Self {
        Self {
            clients: self.clients.min(8),
            files_per_client: 1,
            ..self.clone()
        }
    }

    /// The content of a file.
    #[must_use]
    pub fn body(&self, client: usize, file: usize) -> &Body {
        let number = client * self.files_per_client + file;
        &self.bodies[number % self.bodies.len()]
    }

    /// Makes all contents now, not when they are first sent.
    pub fn prepare(&self) {
        self.bodies.iter().for_each(|body| {
            body.plain();
        });
    }

    /// Files in all.
    #[must_use]
    pub fn files(&self) -> usize {
        self.clients * self.files_per_client
    }

    /// Bytes in all.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.files() * self.file_bytes
    }
}

/// A file that the server has confirmed.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Which connection sent it.
    pub client: usize,
    /// Which file of that connection.
    pub file: usize,
    /// From its first byte being sent until it was confirmed.
    pub took: Duration,
    /// Where the server keeps it: an id or a path, for [`Volley::fetch`].
    pub place: String,
}

/// How a server is sent files.
#[async_trait]
pub trait Load: Send + Sync {
    /// Does everything that comes before the measured stretch: logs in, builds what is to be sent, and connects unless connecting is
    /// measured.
    async fn ready(&self, running: &Running, plan: &Arc<Plan>) -> Result<Box<dyn Volley>>;
}

/// A load that is ready to be sent.
#[async_trait]
pub trait Volley: Send {
    /// The measured stretch: sends everything. Connections stay open, so that closing them is not measured.
    async fn send(&mut self) -> Result<Vec<Sent>>;

    /// Reads back what the server has stored, outside the measured stretch; nothing of a server that keeps nothing.
    async fn fetch(&mut self, sent: &Sent) -> Result<Option<Bytes>>;
}

/// A row of the upload scenarios.
#[derive(Clone)]
pub struct Entry {
    /// Its name in tables.
    pub name: String,
    /// Its part in the comparison.
    pub part: Part,
    /// The server.
    pub target: Arc<dyn Target>,
    /// How it is loaded.
    pub load: Arc<dyn Load>,
}

impl Entry {
    /// A row named like its target.
    #[must_use]
    pub fn new(part: Part, target: Arc<dyn Target>, load: Arc<dyn Load>) -> Self {
        Self {
            name: target.name(),
            part,
            target,
            load,
        }
    }

    /// The same under another name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }
}
