//! The download scenarios: files that lie in the system's memory, read over HTTP by clients that throw them away.
//!
//! Each server is sent the files as an upload scenario sends them, then reads all of them once, which is when their digests are
//! compared. So the disk takes no part in what is measured, of any server.

mod load;

use super::{
    peer::{Peer, Way},
    server::Server,
};
use crate::{
    Result,
    lab::Lab,
    scenario::{Contender, Part, Sample, Scenario, Skip},
    target::{Running, Target},
    targets::sluice::Sluice,
    upload::{Load, Plan, Sent, figures_of},
};
use async_trait::async_trait;
use client::{FixedToken, HttpApi, ServerUrl};
use load::{Reader, Wanted};
use protocol::{FileId, TransferStatus};
use std::sync::{Arc, Mutex, PoisonError};

/// One download scenario.
struct Downloads {
    name: &'static str,
    about: &'static str,
    clients: usize,
    files_per_client: usize,
    file_bytes: usize,
    /// How often each file is read in a round.
    times: usize,
}

/// The download scenarios.
pub(super) fn scenarios() -> Vec<Box<dyn Scenario>> {
    vec![
        Box::new(Downloads {
            name: "download-one-256m",
            about: "one client reads one file of 256 MiB, four times one after another",
            clients: 1,
            files_per_client: 1,
            file_bytes: 256 << 20,
            times: 4,
        }),
        Box::new(Downloads {
            name: "download-64x8x2m",
            about: "64 clients read 8 files of 2 MiB each, one after another",
            clients: 64,
            files_per_client: 8,
            file_bytes: 2 << 20,
            times: 1,
        }),
    ]
}

impl Scenario for Downloads {
    fn name(&self) -> &str {
        self.name
    }

    fn about(&self) -> String {
        format!("{}; all of it in the page cache", self.about)
    }

    fn by_default(&self) -> bool {
        true
    }

    fn contenders(&self, lab: &Lab) -> Vec<Box<dyn Contender>> {
        let full = (self.clients, self.files_per_client, self.file_bytes);
        let quick = (self.clients.min(4), self.files_per_client.min(2), 70_001);
        let (clients, files, bytes) = lab.size(full, quick);
        // Each content is made once, by whoever comes first.
        let plan = Arc::new(Mutex::new(None));
        let row = |part, server: Arc<dyn Store>| -> Box<dyn Contender> {
            Box::new(Row {
                part,
                server,
                sizes: (clients, files, bytes),
                times: self.times,
                shared: Arc::clone(&plan),
            })
        };
        let nginx =
            |name, sendfile| Arc::new(Peer::new(name, Server::Nginx { sendfile }, Way::Put(0)));
        vec![
            row(
                Part::Subject,
                Arc::new(Sluice::new("sluice").with_accounts(clients)),
            ),
            row(Part::Peer, nginx("nginx, sendfile off", false)),
            row(Part::Beside, nginx("nginx, sendfile on", true)),
        ]
    }
}

/// A server that keeps files and gives them out.
#[async_trait]
trait Store: Target + Load {
    /// Where files are that it was sent, when all of them are where they stay.
    async fn stored(&self, running: &Running, plan: &Plan, sent: &[Sent]) -> Result<Vec<Wanted>>;
}

#[async_trait]
impl Store for Peer {
    async fn stored(&self, _running: &Running, plan: &Plan, sent: &[Sent]) -> Result<Vec<Wanted>> {
        Ok(sent
            .iter()
            .map(|sent| wanted(plan, sent, sent.place.clone(), None))
            .collect())
    }
}

#[async_trait]
impl Store for Sluice {
    async fn stored(&self, running: &Running, plan: &Plan, sent: &[Sent]) -> Result<Vec<Wanted>> {
        let accounts = self.accounts().await;
        let url: ServerUrl = running.url().parse()?;
        let mut all = Vec::with_capacity(sent.len());
        for sent in sent {
            let token = accounts[sent.client].token.clone();
            let api = HttpApi::new(url.clone()).with_tokens(Arc::new(FixedToken::new(&token)));
            let id: FileId = sent.place.parse()?;
            let patience = crate::ready::Patience::new("a file to be stored");
            while api.file(id).await?.status != TransferStatus::UploadedSuccessfully {
                patience.pause().await?;
            }
            let path = format!("/api/v1/files/{id}/content");
            all.push(wanted(plan, sent, path, Some(token)));
        }
        Ok(all)
    }
}

fn wanted(plan: &Plan, sent: &Sent, path: String, token: Option<String>) -> Wanted {
    let body = plan.body(sent.client, sent.file);
    Wanted {
        path,
        token,
        length: plan.file_bytes as u64,
        digest: body.digest(),
    }
}

type Sizes = (usize, usize, usize);

struct Row {
    part: Part,
    server: Arc<dyn Store>,
    sizes: Sizes,
    times: usize,
    shared: Arc<Mutex<Option<Arc<Plan>>>>,
}

impl Row {
    fn plan(&self) -> Arc<Plan> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let (clients, files, bytes) = self.sizes;
        shared
            .get_or_insert_with(|| Arc::new(Plan::new(clients, files, bytes)))
            .clone()
    }

    /// What each client reads.
    fn shares(&self, plan: &Plan, sent: &[Sent], stored: &[Wanted]) -> Vec<Vec<Wanted>> {
        let mut shares = vec![Vec::new(); plan.clients];
        for (sent, file) in sent.iter().zip(stored) {
            let again = std::iter::repeat_n(file.clone(), self.times);
            shares[sent.client].extend(again);
        }
        shares
    }
}

#[async_trait]
impl Contender for Row {
    fn name(&self) -> String {
        self.server.name()
    }

    fn part(&self) -> Part {
        self.part
    }

    async fn prepare(&mut self, lab: &Lab) -> Result<String, Skip> {
        self.server.prepare(lab).await
    }

    async fn round(&mut self, lab: &Lab) -> Result<Sample> {
        let plan = self.plan();
        let scratch = lab.scratch()?;
        let mut running = self.server.start(lab, scratch.path()).await?;
        let mut volley = self.server.ready(&running, &plan).await?;
        let sent = volley.send().await?;
        drop(volley);
        let stored = self.server.stored(&running, &plan, &sent).await?;
        load::check(running.address(), &stored).await?;
        let mut readers = Vec::with_capacity(plan.clients);
        for share in self.shares(&plan, &sent, &stored) {
            readers.push(Reader::open(running.address(), &share).await?);
        }
        lab.settle().await;
        let meter = running.servers.meter()?;
        let took = load::read(&mut readers).await?;
        let cost = meter.finish().await?;
        drop(readers);
        running.servers.check()?;
        running.servers.end().await;
        Ok(figures_of(plan.file_bytes, took, &cost))
    }
}
