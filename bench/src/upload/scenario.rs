//! The upload scenarios themselves.

use super::{Entry, Plan, Sent, body};
use crate::{
    Result,
    accounting::Cost,
    figures,
    lab::Lab,
    peers,
    scenario::{Contender, Part, Sample, Scenario, Skip},
    stats::{millis, percentile},
    targets,
};
use async_trait::async_trait;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// One upload scenario over a list of servers.
pub struct Uploads {
    name: &'static str,
    about: &'static str,
    clients: usize,
    files_per_client: usize,
    file_bytes: usize,
    connecting: bool,
    /// Those who take part, given the number of clients.
    entries: fn(usize) -> Vec<Entry>,
    /// Made by whoever comes first, and the same for all.
    plan: Arc<Mutex<Option<Arc<Plan>>>>,
}

/// The upload scenarios of the embedded server.
#[must_use]
pub fn scenarios() -> Vec<Box<dyn Scenario>> {
    let one = Uploads::new(
        "upload-one-256m",
        "one client sends one file of 256 MiB",
        entries_of_large,
    );
    let many = Uploads::new(
        "upload-64x8x2m",
        "64 clients send 8 files of 2 MiB each, one after another",
        entries,
    );
    let crowd = Uploads::new(
        "upload-500x512k",
        "500 clients connect and send one file of 512 KiB each; connecting is measured",
        entries,
    );
    vec![
        Box::new(one.of(1, 1, 256 << 20)),
        Box::new(many.of(64, 8, 2 << 20)),
        Box::new(crowd.of(500, 1, 512 << 10).with_connecting()),
    ]
}

fn entries(clients: usize) -> Vec<Entry> {
    let mut entries = targets::uploads(clients);
    entries.extend(peers::uploads());
    entries
}

fn entries_of_large(clients: usize) -> Vec<Entry> {
    let mut entries = entries(clients);
    entries.extend(peers::large_uploads());
    entries
}

impl Uploads {
    /// A scenario over these servers, which are told how many clients there will be; its sizes follow.
    #[must_use]
    pub fn new(name: &'static str, about: &'static str, entries: fn(usize) -> Vec<Entry>) -> Self {
        Self {
            name,
            about,
            clients: 1,
            files_per_client: 1,
            file_bytes: 1,
            connecting: false,
            entries,
            plan: Arc::default(),
        }
    }

    /// So many clients, files of each, and bytes of each file.
    #[must_use]
    pub fn of(mut self, clients: usize, files_per_client: usize, file_bytes: usize) -> Self {
        self.clients = clients;
        self.files_per_client = files_per_client;
        self.file_bytes = file_bytes;
        self
    }

    /// With connecting in the measured stretch.
    #[must_use]
    pub fn with_connecting(mut self) -> Self {
        self.connecting = true;
        self
    }

    fn sizes(&self, lab: &Lab) -> (usize, usize, usize) {
        let full = (self.clients, self.files_per_client, self.file_bytes);
        let quick = (
            self.clients.min(4),
            self.files_per_client.min(2),
            // More than a window where the file is, and not a whole number of blocks.
            if self.file_bytes > 2 << 20 {
                5_000_001
            } else {
                70_001
            },
        );
        lab.size(full, quick)
    }
}

impl Scenario for Uploads {
    fn name(&self) -> &str {
        self.name
    }

    fn about(&self) -> String {
        self.about.to_owned()
    }

    fn by_default(&self) -> bool {
        true
    }

    fn contenders(&self, lab: &Lab) -> Vec<Box<dyn Contender>> {
        let sizes = self.sizes(lab);
        let contender = |entry| -> Box<dyn Contender> {
            Box::new(Uploader {
                entry,
                sizes,
                connecting: self.connecting,
                shared: self.plan.clone(),
            })
        };
        (self.entries)(sizes.0).into_iter().map(contender).collect()
    }
}

struct Uploader {
    entry: Entry,
    sizes: (usize, usize, usize),
    connecting: bool,
    shared: Arc<Mutex<Option<Arc<Plan>>>>,
}

impl Uploader {
    fn plan(&self) -> Arc<Plan> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let (clients, files, bytes) = self.sizes;
            let plan = Plan::new(clients, files, bytes);
            Arc::new(if self.connecting {
                plan.with_connecting()
            } else {
                plan
            })
        };
        shared.get_or_insert_with(make).clone()
    }
}

#[async_trait]
impl Contender for Uploader {
    fn name(&self) -> String {
        self.entry.name.clone()
    }

    fn part(&self) -> Part {
        self.entry.part
    }

    async fn prepare(&mut self, lab: &Lab) -> Result<String, Skip> {
        self.entry.target.prepare(lab).await
    }

    async fn round(&mut self, lab: &Lab) -> Result<Sample> {
        let plan = self.plan();
        let scratch = lab.scratch()?;
        let Entry { target, load, .. } = &self.entry;
        let mut running = target.start(lab, scratch.path()).await?;
        let warm = Arc::new(plan.warm_up());
        load.ready(&running, &warm).await?.send().await?;
        let mut volley = load.ready(&running, &plan).await?;
        lab.settle().await;
        let meter = running.servers.meter()?;
        let sent = volley.send().await?;
        let cost = meter.finish().await?;
        if sent.len() != plan.files() {
            return Err(format!("{} of {} files were sent", sent.len(), plan.files()).into());
        }
        // Of what keeps nothing, nothing can be fetched.
        for sent in sample(&sent) {
            let stored = volley.fetch(sent).await?;
            let expected = plan.body(sent.client, sent.file).digest();
            if stored.is_some_and(|stored| body::digest(&stored) != expected) {
                return Err(
                    format!("what is stored at {} is not what was sent", sent.place).into(),
                );
            }
        }
        drop(volley);
        running.servers.check()?;
        running.servers.end().await;
        let took = sent.iter().map(|sent| sent.took).collect();
        Ok(figures_of(plan.file_bytes, took, &cost))
    }
}

/// The first, one in the middle, and the last.
fn sample(sent: &[Sent]) -> impl Iterator<Item = &Sent> {
    let places = [0, sent.len() / 2, sent.len().saturating_sub(1)];
    places.into_iter().filter_map(|place| sent.get(place))
}

/// The figures of so many files, each of which took so long.
#[allow(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
pub(crate) fn figures_of(file_bytes: usize, mut times: Vec<Duration>, cost: &Cost) -> Sample {
    let files = times.len();
    let (bytes, seconds) = ((files * file_bytes) as f64, cost.wall.as_secs_f64());
    let gib = bytes / f64::from(1 << 30);
    times.sort_unstable();
    let mut sample = Sample::default().with(figures::MB_PER_S, bytes / 1e6 / seconds);
    if files > 1 {
        sample = sample
            .with(figures::FILES_PER_S, files as f64 / seconds)
            .with(figures::P50, millis(percentile(&times, 0.50)))
            .with(figures::P99, millis(percentile(&times, 0.99)));
    }
    sample
        .with(figures::CPU_PER_GIB, cost.cpu.as_secs_f64() / gib)
        .with(figures::PEAK_RSS, cost.peak_rss as f64 / f64::from(1 << 20))
        .with(
            figures::GENERATOR_CPU_PER_GIB,
            cost.own_cpu.as_secs_f64() / gib,
        )
}
