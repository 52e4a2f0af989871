//! What things cost as there are more of them: clients, and files.

use super::{
    blocking,
    history::{self, Kind, Reader},
    index,
    server::Server,
    swarm::{Post, Script, Swarm, frames},
};
use crate::{
    Result,
    lab::Lab,
    scenario::{Contender, Figure, Part, Sample, Scenario, Skip},
    stats::{count, kib, millis, percentile},
    targets::server,
    upload::body::Body,
};
use async_trait::async_trait;
use bytes::Bytes;
use std::time::{Duration, Instant};

const CLIENTS: [usize; 4] = [10, 100, 1000, 10_000];

const FILES: [u64; 4] = [1000, 10_000, 100_000, 1_000_000];

const FILE_BYTES: usize = 16 << 10;

/// Clients that connect and send side by side.
const AT_ONCE: usize = 10;

/// Files added one by one, to see how long that takes.
const INSERTS: u64 = 100;

const PAGES: u64 = 200;

/// Figures of the largest size; the curves show the others.
const CPU: Figure = Figure::new("cpu per client", "ms", 2);
const RSS: Figure = Figure::new("RSS per client", "KiB", 1);
const P99: Figure = Figure::new("p99", "ms", 1);
const PAGE_P99: Figure = Figure::new("page p99", "ms", 2);
const INSERT_RATE: Figure = Figure::new("inserts", "1/s", 0);

/// Clients that connect, send one small file and stay.
pub(super) struct Clients;

impl Scenario for Clients {
    fn name(&self) -> &str {
        "growth-clients"
    }

    fn about(&self) -> String {
        format!(
            "{} to {} clients, {AT_ONCE} at a time, each with a user of its own, connect, send a file of {} KiB and stay",
            CLIENTS[0],
            CLIENTS[3],
            FILE_BYTES >> 10
        )
    }

    fn contenders(&self, _lab: &Lab) -> Vec<Box<dyn Contender>> {
        vec![Box::new(ManyClients { warm: false })]
    }
}

struct ManyClients {
    /// Whether the round that does not count is over; it is a small one.
    warm: bool,
}

#[async_trait]
impl Contender for ManyClients {
    fn name(&self) -> String {
        "sluice".to_owned()
    }

    fn part(&self) -> Part {
        Part::Subject
    }

    async fn prepare(&mut self, lab: &Lab) -> Result<String, Skip> {
        server::version(lab)
    }

    async fn round(&mut self, lab: &Lab) -> Result<Sample> {
        let small = !std::mem::replace(&mut self.warm, true);
        let sizes = &CLIENTS[..lab.size(if small { 2 } else { CLIENTS.len() }, 2)];
        let mut sample = Sample::default();
        let mut last = (0.0, 0.0, 0.0);
        for &clients in sizes {
            last = arrive(lab, clients).await?;
            let x = count(clients);
            sample = sample
                .point("CPU per client, ms", x, last.0)
                .point("RSS per client, KiB", x, last.1)
                .point("p99 until stored, ms", x, last.2);
            lab.settle().await;
        }
        Ok(sample.with(CPU, last.0).with(RSS, last.1).with(P99, last.2))
    }
}

/// Has so many clients come; answers CPU and memory per client, and the 99th percentile of their time until stored.
async fn arrive(lab: &Lab, clients: usize) -> Result<(f64, f64, f64)> {
    let folder = lab.scratch()?;
    let mut server = Server::start(lab, folder.path(), clients, &[]).await?;
    let mut crowd = Crowd {
        connects: server.connects()?,
        upload: frames::upload(&Body::new(1, FILE_BYTES))?,
        came: Vec::new(),
        took: Vec::new(),
    };
    let mut swarm = Swarm::new(server.address())?;
    let before = server.rss()?;
    let meter = server.running.servers.meter()?;
    let (swarm, mut took) = blocking(move || {
        swarm.open(clients, AT_ONCE, &mut crowd)?;
        Ok((swarm, crowd.took))
    })
    .await?;
    let cost = meter.stop()?;
    drop(swarm);
    server.running.servers.end().await;
    took.sort_unstable();
    let cpu = 1e3 * cost.cpu.as_secs_f64() / count(clients);
    let rss = kib(cost.rss.saturating_sub(before)) / count(clients);
    Ok((cpu, rss, millis(percentile(&took, 0.99))))
}

struct Crowd {
    connects: Vec<Bytes>,
    upload: Bytes,
    /// When each came, by its number.
    came: Vec<Instant>,
    took: Vec<Duration>,
}

impl Script for Crowd {
    fn opening(&mut self, _: usize) {
        self.came.push(Instant::now());
    }

    fn opened(&mut self, who: usize, post: &mut Post<'_>) {
        post.send(self.connects[who].clone());
    }

    fn heard(&mut self, who: usize, text: &[u8], at: Instant, post: &mut Post<'_>) {
        if frames::is(text, "connected") {
            post.send(self.upload.clone());
        } else if frames::tells(text, "file.uploaded_successfully") {
            self.took.push(at - self.came[who]);
        }
    }

    fn ready(&self) -> usize {
        self.took.len()
    }
}

/// An index that grows.
pub(super) struct Files;

impl Scenario for Files {
    fn name(&self) -> &str {
        "growth-files"
    }

    fn about(&self) -> String {
        format!(
            "pages of history and single inserts, each synced, in an index of {} to {} files",
            FILES[0], FILES[3]
        )
    }

    fn contenders(&self, _lab: &Lab) -> Vec<Box<dyn Contender>> {
        vec![Box::new(ManyFiles { warm: false })]
    }
}

struct ManyFiles {
    /// Whether the round that does not count is over; it is a small one.
    warm: bool,
}

#[async_trait]
impl Contender for ManyFiles {
    fn name(&self) -> String {
        "sluice".to_owned()
    }

    fn part(&self) -> Part {
        Part::Subject
    }

    async fn prepare(&mut self, lab: &Lab) -> Result<String, Skip> {
        server::version(lab)
    }

    async fn round(&mut self, lab: &Lab) -> Result<Sample> {
        let small = !std::mem::replace(&mut self.warm, true);
        let sizes = &FILES[..lab.size(if small { 2 } else { FILES.len() }, 2)];
        let folder = lab.scratch()?;
        history::create_admin(lab, folder.path())?;
        let mut sample = Sample::default();
        let (mut filled, mut last) = (0, (0.0, 0.0));
        for &files in sizes {
            index::fill(folder.path(), filled + 1, files).await?;
            let page = read(lab, folder.path(), files).await?;
            let index = index::open(folder.path()).await?;
            let began = Instant::now();
            for number in files + 1..=files + INSERTS {
                index::insert(&index, number).await?;
            }
            last = (page, unsigned(INSERTS) / began.elapsed().as_secs_f64());
            filled = files + INSERTS;
            sample = sample
                .point("history page p99, ms", unsigned(files), last.0)
                .point("inserts into the index, 1/s", unsigned(files), last.1);
        }
        Ok(sample.with(PAGE_P99, last.0).with(INSERT_RATE, last.1))
    }
}

/// The 99th percentile of pages, once they were read before.
async fn read(lab: &Lab, folder: &std::path::Path, files: u64) -> Result<f64> {
    let mut running = server::serve(lab, folder, &[]).await?;
    let mut reader = Reader::new(&running, files).await?;
    history::idle(&running).await?;
    let mut times = Vec::new();
    for _ in 0..2 {
        times.clear();
        for number in 0..PAGES {
            for kind in [Kind::First, Kind::Deep, Kind::Tag, Kind::Everyone] {
                times.push(reader.page(kind, number).await?);
            }
        }
    }
    running.servers.end().await;
    times.sort_unstable();
    Ok(millis(percentile(&times, 0.99)))
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn unsigned(number: u64) -> f64 {
    number as f64
}
