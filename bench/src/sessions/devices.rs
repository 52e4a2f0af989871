//! Many devices, each of which sends a small file every few seconds.

use super::{
    blocking,
    server::Server,
    swarm::{Post, Script, Swarm, frames},
};
use crate::{
    Result, figures,
    lab::Lab,
    scenario::{Contender, Figure, Part, Sample, Scenario, Skip},
    stats::{count, millis, percentile},
    targets::server,
    upload::body::Body,
};
use async_trait::async_trait;
use bytes::Bytes;
use std::time::{Duration, Instant};

const DEVICES: usize = 2000;

const FILE_BYTES: usize = 200_000;

/// Time between two files of a device.
const PERIOD: Duration = Duration::from_secs(4);

const TIME: Duration = Duration::from_secs(60);

const AT_ONCE: usize = 64;

/// Files stored in the time, of those that were due.
const KEPT: Figure = Figure::new("of the rate due", "%", 1);
const CACHED_P50: Figure = Figure::new("p50 to cached", "ms", 1);
const CACHED_P99: Figure = Figure::new("p99 to cached", "ms", 1);
const STORED_P50: Figure = Figure::new("p50 to stored", "ms", 1);
const STORED_P99: Figure = Figure::new("p99 to stored", "ms", 1);

/// The scenario.
pub(super) struct Devices;

impl Scenario for Devices {
    fn name(&self) -> &str {
        "devices"
    }

    fn about(&self) -> String {
        format!(
            "{DEVICES} devices, each with a user of its own, send a file of {} KB every {} s for {} s",
            FILE_BYTES / 1000,
            PERIOD.as_secs(),
            TIME.as_secs()
        )
    }

    fn contenders(&self, _lab: &Lab) -> Vec<Box<dyn Contender>> {
        vec![Box::new(Sluice { warm: false })]
    }
}

struct Sluice {
    /// Whether the round that does not count is over; it is a short one.
    warm: bool,
}

#[async_trait]
impl Contender for Sluice {
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
        let short = !std::mem::replace(&mut self.warm, true);
        let devices = lab.size(DEVICES, 20);
        let time = lab.size(if short { TIME / 10 } else { TIME }, PERIOD);
        let folder = lab.scratch()?;
        let mut server = Server::start(lab, folder.path(), devices, &[]).await?;
        let mut fleet = Fleet {
            connects: server.connects()?,
            upload: frames::upload(&Body::new(1, FILE_BYTES))?,
            connected: 0,
            end: None,
            next: Vec::new(),
            sent_at: vec![None; devices],
            answers_due: vec![0; devices],
            due: 0,
            under_way: 0,
            cached: Vec::new(),
            stored: Vec::new(),
        };
        let mut swarm = Swarm::new(server.address())?;
        let (mut swarm, mut fleet) = blocking(move || {
            swarm.open(devices, AT_ONCE, &mut fleet)?;
            Ok((swarm, fleet))
        })
        .await?;
        let meter = server.running.servers.meter()?;
        let (swarm, fleet) = blocking(move || {
            fleet.send(&mut swarm, time)?;
            Ok((swarm, fleet))
        })
        .await?;
        let cost = meter.stop()?;
        drop(swarm);
        server.running.servers.end().await;
        let sample = fleet.sample(time).cost(&cost);
        Ok(sample.with(figures::GENERATOR_CPU, cost.own_cpu.as_secs_f64()))
    }
}

struct Fleet {
    connects: Vec<Bytes>,
    upload: Bytes,
    connected: usize,
    /// When no more files are sent; none while devices connect.
    end: Option<Instant>,
    /// When each is to send its next file, whether or not the generator is in time.
    next: Vec<Instant>,
    /// When each was to send its present file.
    sent_at: Vec<Option<Instant>>,
    /// What each has still to hear of it: that it is cached, that it is stored.
    answers_due: Vec<u8>,
    /// Files that were due.
    due: usize,
    /// Files sent and not stored.
    under_way: usize,
    cached: Vec<Duration>,
    stored: Vec<Duration>,
}

impl Fleet {
    fn send(&mut self, swarm: &mut Swarm, time: Duration) -> Result<()> {
        let start = Instant::now();
        self.end = Some(start + time);
        let devices = u32::try_from(self.connects.len())?;
        self.next = (0..devices)
            .map(|who| start + PERIOD * who / devices)
            .collect();
        for (who, &next) in self.next.iter().enumerate() {
            swarm.call_at(next, who);
        }
        swarm.run(1, self)
    }

    fn sample(mut self, time: Duration) -> Sample {
        self.cached.sort_unstable();
        self.stored.sort_unstable();
        let cached = |part| millis(percentile(&self.cached, part));
        let stored = |part| millis(percentile(&self.stored, part));
        let share = count(self.stored.len()) / count(self.due.max(1));
        Sample::default()
            .with(
                figures::FILES_PER_S,
                count(self.stored.len()) / time.as_secs_f64(),
            )
            .with(KEPT, 100.0 * share)
            .with(CACHED_P50, cached(0.5))
            .with(CACHED_P99, cached(0.99))
            .with(STORED_P50, stored(0.5))
            .with(STORED_P99, stored(0.99))
    }
}

impl Script for Fleet {
    fn opened(&mut self, who: usize, post: &mut Post<'_>) {
        post.send(self.connects[who].clone());
    }

    fn heard(&mut self, who: usize, text: &[u8], at: Instant, _: &mut Post<'_>) {
        let Some(sent_at) = self.sent_at[who] else {
            self.connected += usize::from(frames::is(text, "connected"));
            return;
        };
        let times = if frames::is(text, "upload-completed") {
            &mut self.cached
        } else if frames::tells(text, "file.uploaded_successfully") {
            &mut self.stored
        } else {
            return;
        };
        times.push(at - sent_at);
        // The two come in either order.
        self.answers_due[who] -= 1;
        if self.answers_due[who] == 0 {
            self.under_way -= 1;
            self.sent_at[who] = None;
        }
    }

    fn due(&mut self, who: usize, post: &mut Post<'_>) {
        let planned = self.next[who];
        if self.end.is_none_or(|end| planned >= end) {
            return;
        }
        self.next[who] = planned + PERIOD;
        post.call_at(self.next[who]);
        self.due += 1;
        // Whoever is not done with the last one leaves this one out: the rate is not kept.
        if self.sent_at[who].is_none() {
            post.send(self.upload.clone());
            (self.sent_at[who], self.answers_due[who]) = (Some(planned), 2);
            self.under_way += 1;
        }
    }

    /// While they connect those that have; later one, when all is over.
    fn ready(&self) -> usize {
        match self.end {
            None => self.connected,
            Some(end) => usize::from(self.under_way == 0 && Instant::now() >= end),
        }
    }
}
