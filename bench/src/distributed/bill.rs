//! What each process of a site costs: roles and engines apart.

use crate::{
    Result,
    accounting::{Cost, Meter},
    scenario::{Figure, Sample},
    stats::mib,
};
use std::time::Duration;

const CPU: &str = "s/GiB";

/// The CPU time of each part, by its name.
const PARTS: [(&str, Figure); 8] = [
    ("gateway", Figure::new("gateway cpu per GiB", CPU, 2)),
    ("uploader", Figure::new("uploader cpu per GiB", CPU, 2)),
    (
        "file-manager",
        Figure::new("file-manager cpu per GiB", CPU, 2),
    ),
    ("auth", Figure::new("auth cpu per GiB", CPU, 2)),
    ("redis", Figure::new("Redis cpu per GiB", CPU, 2)),
    ("mongodb", Figure::new("MongoDB cpu per GiB", CPU, 2)),
    ("postgres", Figure::new("PostgreSQL cpu per GiB", CPU, 2)),
    ("rabbitmq", Figure::new("RabbitMQ cpu per GiB", CPU, 2)),
];

/// Those of [`PARTS`] that are Sluice.
const ROLES: usize = 4;

const OF_SLUICE: Figure = Figure::new("Sluice cpu per GiB", CPU, 2);

/// The most memory of each role.
const MEMORY: [(&str, Figure); 3] = [
    ("gateway", Figure::new("gateway peak RSS", "MiB", 0)),
    ("uploader", Figure::new("uploader peak RSS", "MiB", 0)),
    (
        "file-manager",
        Figure::new("file-manager peak RSS", "MiB", 0),
    ),
];

/// A measured stretch that has begun.
pub(super) struct Meters(Vec<(String, Meter)>);

/// What a measured stretch cost.
pub(super) struct Bill(Vec<(String, Cost)>);

impl Meters {
    /// Begins to measure these parts.
    pub(super) fn start(parts: &[(String, Vec<u32>)]) -> Result<Self> {
        let meters = parts
            .iter()
            .map(|(name, pids)| Ok((name.clone(), Meter::start(pids)?)));
        Ok(Self(meters.collect::<Result<_>>()?))
    }

    /// The time since it began.
    pub(super) fn elapsed(&self) -> Duration {
        self.0
            .last()
            .map_or(Duration::ZERO, |(_, meter)| meter.elapsed())
    }

    /// Ends it.
    pub(super) fn stop(self) -> Result<Bill> {
        let costs = self
            .0
            .into_iter()
            .map(|(name, meter)| Ok((name, meter.stop()?)));
        Ok(Bill(costs.collect::<Result<_>>()?))
    }
}

impl Bill {
    /// CPU seconds of a part.
    pub(super) fn cpu(&self, part: &str) -> f64 {
        self.cost(part).map_or(0.0, |cost| cost.cpu.as_secs_f64())
    }

    /// CPU seconds of the generator.
    pub(super) fn of_generator(&self) -> f64 {
        self.0
            .first()
            .map_or(0.0, |(_, cost)| cost.own_cpu.as_secs_f64())
    }

    fn cost(&self, part: &str) -> Option<&Cost> {
        let mut found = self.0.iter().filter(|(name, _)| name == part);
        found.next().map(|(_, cost)| cost)
    }

    /// Adds what each role cost for so many GiB.
    pub(super) fn add_roles(&self, mut sample: Sample, gib: f64) -> Sample {
        let (roles, _) = PARTS.split_at(ROLES);
        let all: f64 = roles.iter().map(|(part, _)| self.cpu(part)).sum();
        sample = sample.with(OF_SLUICE, all / gib);
        for (part, figure) in roles {
            sample = sample.with(*figure, self.cpu(part) / gib);
        }
        for (part, figure) in MEMORY {
            let peak = self.cost(part).map_or(0, |cost| cost.peak_rss);
            sample = sample.with(figure, mib(peak));
        }
        sample
    }

    /// Adds what each engine cost for so many GiB.
    pub(super) fn add_engines(&self, sample: Sample, gib: f64) -> Sample {
        let (_, engines) = PARTS.split_at(ROLES);
        engines.iter().fold(sample, |sample, (part, figure)| {
            sample.with(*figure, self.cpu(part) / gib)
        })
    }
}
