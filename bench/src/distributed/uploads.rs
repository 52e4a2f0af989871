//! Uploads until the server holds them, and until they are stored.

use super::{
    bill::Bill,
    gridfs::GridFs,
    redis::Redis,
    site::{self, Shared},
};
use crate::{
    Result, figures,
    lab::Lab,
    scenario::{Contender, Part, Sample, Scenario, Skip},
    stats::{millis, percentile},
    upload::{
        Plan, Sent, Volley,
        generator::{Clients, Kept},
    },
};
use async_trait::async_trait;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// `upload-completed`: Redis holds the file.
    Cached,
    /// `file.uploaded_successfully`: MongoDB holds it.
    Stored,
}

/// So many clients, files of each, and bytes of each file.
pub(super) struct Uploads {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) until: Until,
    pub(super) sizes: (usize, usize, usize),
    pub(super) connecting: bool,
}

/// What the contenders of a scenario share.
#[derive(Clone)]
pub(super) struct Load {
    pub(super) site: Shared,
    plan: Arc<OnceLock<Arc<Plan>>>,
    sizes: (usize, usize, usize),
    connecting: bool,
}

impl Load {
    /// What is sent; the same for all.
    pub(super) fn plan(&self) -> Arc<Plan> {
        let (clients, files, bytes) = self.sizes;
        let make = || {
            let plan = Plan::new(clients, files, bytes);
            Arc::new(if self.connecting {
                plan.with_connecting()
            } else {
                plan
            })
        };
        self.plan.get_or_init(make).clone()
    }
}

impl Scenario for Uploads {
    fn name(&self) -> &str {
        self.name
    }

    fn about(&self) -> String {
        let until = match self.until {
            Until::Cached => "`upload-completed`, beside plain `SET` of 256 KiB values",
            Until::Stored => "`file.uploaded_successfully`, beside a bare loader of GridFS",
        };
        format!("distributed: {}, until {until}", self.about)
    }

    fn contenders(&self, lab: &Lab) -> Vec<Box<dyn Contender>> {
        let (clients, files, bytes) = self.sizes;
        let quick = (clients.min(4), files.min(2), bytes.min(1_000_001));
        let load = Load {
            site: Shared::default(),
            plan: Arc::default(),
            sizes: lab.size(self.sizes, quick),
            connecting: self.connecting,
        };
        let subject = Subject {
            load: load.clone(),
            until: self.until,
        };
        let floor: Box<dyn Contender> = match self.until {
            Until::Cached => Box::new(Redis(load)),
            Until::Stored => Box::new(GridFs(load)),
        };
        vec![Box::new(subject), floor]
    }
}

struct Subject {
    load: Load,
    until: Until,
}

#[async_trait]
impl Contender for Subject {
    fn name(&self) -> String {
        "Sluice, distributed".to_owned()
    }

    fn part(&self) -> Part {
        Part::Subject
    }

    async fn prepare(&mut self, lab: &Lab) -> Result<String, Skip> {
        site::prepare(lab)
    }

    async fn round(&mut self, lab: &Lab) -> Result<Sample> {
        let plan = self.load.plan();
        let site = self.load.site.get(lab).await?;
        let tokens = site.tokens(plan.clients.max(8)).await?;
        let ready = async |plan: &Arc<Plan>| {
            Clients::ready(site.gateway, plan, tokens.clone(), Kept::Nowhere).await
        };
        let mut warm = ready(&Arc::new(plan.warm_up())).await?;
        warm.send().await?;
        warm.until_stored().await?;
        let mut clients = ready(&plan).await?;
        lab.settle().await;
        let meters = site.meters()?;
        let sent = clients.send().await?;
        if self.until == Until::Stored {
            clients.until_stored().await?;
        }
        let wall = meters.elapsed();
        let bill = meters.stop()?;
        // The next one shall not find work that is left of this one.
        clients.until_stored().await?;
        site.check().await?;
        Ok(figures_of(&plan, wall, &bill, Some(&sent)))
    }
}

/// What a round with this plan gives.
#[allow(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
pub(super) fn figures_of(
    plan: &Plan,
    wall: Duration,
    bill: &Bill,
    sent: Option<&[Sent]>,
) -> Sample {
    let (bytes, seconds) = (plan.bytes() as f64, wall.as_secs_f64());
    let gib = bytes / f64::from(1 << 30);
    let mut sample = Sample::default()
        .with(figures::MB_PER_S, bytes / 1e6 / seconds)
        .with(figures::FILES_PER_S, plan.files() as f64 / seconds);
    if let Some(sent) = sent {
        let mut times: Vec<_> = sent.iter().map(|sent| sent.took).collect();
        times.sort_unstable();
        sample = sample
            .with(figures::P50, millis(percentile(&times, 0.50)))
            .with(figures::P99, millis(percentile(&times, 0.99)));
        sample = bill.add_roles(sample, gib);
    }
    let sample = bill.add_engines(sample, gib);
    sample.with(figures::GENERATOR_CPU_PER_GIB, bill.of_generator() / gib)
}
