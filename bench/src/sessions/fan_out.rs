//! One notification to ten thousand sockets of one user, beside a raw loop that writes as many bytes to as many sockets.

use super::{
    blocking, centrifugo,
    server::Server,
    swarm::{Post, Script, Swarm, frames},
};
use crate::{
    Result,
    floors::Kind,
    lab::Lab,
    scenario::{Contender, Figure, Part, Sample, Scenario, Skip},
    stats::{millis, percentile},
    targets::{floors, server},
    upload::body::Body,
};
use async_trait::async_trait;
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

pub(super) const SOCKETS: usize = 10_000;

/// Things that are told of in a round.
pub(super) const CAUSES: usize = 20;

/// Time after each, so that the next finds everyone idle.
pub(super) const PAUSE: Duration = Duration::from_millis(150);

const FILE_BYTES: usize = 1024;

pub(super) const AT_ONCE: usize = 64;

/// From the moment when the first socket had it.
pub(super) const P50: Figure = Figure::new("p50 from the first", "ms", 1);
pub(super) const P99: Figure = Figure::new("p99 from the first", "ms", 1);
pub(super) const MAX: Figure = Figure::new("max from the first", "ms", 1);
/// From sending what causes it.
pub(super) const P50_CAUSE: Figure = Figure::new("p50 from the cause", "ms", 1);
pub(super) const P99_CAUSE: Figure = Figure::new("p99 from the cause", "ms", 1);
/// From the cause until the last socket had heard everything; of Sluice two notifications, the second one of the file's being stored.
pub(super) const ALL: Figure = Figure::new("all heard", "ms", 1);
/// CPU time of the server for a notification, all sockets.
pub(super) const CPU: Figure = Figure::new("cpu per notification", "ms", 1);
/// The same of the load generator.
pub(super) const OWN_CPU: Figure = Figure::new("generator cpu per notification", "ms", 1);

/// The scenario.
pub(super) struct FanOut;

impl Scenario for FanOut {
    fn name(&self) -> &str {
        "fan-out"
    }

    fn about(&self) -> String {
        format!(
            "one user with {SOCKETS} sockets, who sends {CAUSES} small files one after another: when each socket has heard that \
             a file is cached"
        )
    }

    fn contenders(&self, _lab: &Lab) -> Vec<Box<dyn Contender>> {
        vec![
            Box::new(Row { is_floor: false }),
            Box::new(Row { is_floor: true }),
            Box::new(centrifugo::Told::default()),
        ]
    }
}

struct Row {
    is_floor: bool,
}

#[async_trait]
impl Contender for Row {
    fn name(&self) -> String {
        match self.is_floor {
            true => "floor, a raw loop".to_owned(),
            false => "sluice".to_owned(),
        }
    }

    fn part(&self) -> Part {
        match self.is_floor {
            true => Part::Floor,
            false => Part::Subject,
        }
    }

    async fn prepare(&mut self, lab: &Lab) -> Result<String, Skip> {
        match self.is_floor {
            true => Ok(Kind::RawLoop.about().to_owned()),
            false => {
                let version = server::version(lab)?;
                let sockets = lab.size(SOCKETS, 50);
                Ok(format!(
                    "{version}, gateway.max_sessions_per_user = {sockets}"
                ))
            }
        }
    }

    async fn round(&mut self, lab: &Lab) -> Result<Sample> {
        let sockets = lab.size(SOCKETS, 50);
        let causes = lab.size(CAUSES, 3);
        let folder = lab.scratch()?;
        let (mut running, connect, cause) = if self.is_floor {
            (
                floors::start(Kind::RawLoop, folder.path()).await?,
                None,
                Bytes::from_static(b"now"),
            )
        } else {
            let limit = sockets.to_string();
            let settings = [("gateway.max_sessions_per_user", &*limit)];
            let server = Server::start(lab, folder.path(), 1, &settings).await?;
            let connect = frames::connect(&server.tokens[0])?;
            let cause = frames::upload(&Body::new(1, FILE_BYTES))?;
            (server.running, Some(connect), cause)
        };
        let mut swarm = Swarm::new(running.address())?;
        let mut ears = Ears::new(connect, sockets);
        let (mut swarm, mut ears) = blocking(move || {
            swarm.open(sockets, AT_ONCE, &mut ears)?;
            swarm.idle(PAUSE * 10)?;
            Ok((swarm, ears))
        })
        .await?;
        let meter = running.servers.meter()?;
        let (swarm, ears) = blocking(move || {
            for _ in 0..causes {
                ears.tell(&mut swarm, &cause)?;
            }
            Ok((swarm, ears))
        })
        .await?;
        let cost = meter.stop()?;
        drop(swarm);
        running.servers.end().await;
        let notifications = u32::try_from(causes * ears.notifications()).unwrap_or(1);
        let each = |time: Duration| millis(time) / f64::from(notifications);
        Ok(ears
            .sample()
            .with(CPU, each(cost.cpu))
            .with(OWN_CPU, each(cost.own_cpu)))
    }
}

/// Sockets that listen.
struct Ears {
    /// What each says first; those of the floor say nothing.
    connect: Option<Bytes>,
    sockets: usize,
    connected: usize,
    /// When the cause was sent; none while they connect.
    caused: Option<Instant>,
    /// When each notification was heard, by its number.
    told: BTreeMap<u64, Vec<Instant>>,
    from_first: Vec<Duration>,
    from_cause: Vec<Duration>,
    /// Until the last socket had heard everything.
    all: Vec<Duration>,
}

impl Ears {
    fn new(connect: Option<Bytes>, sockets: usize) -> Self {
        Self {
            connect,
            sockets,
            connected: 0,
            caused: None,
            told: BTreeMap::new(),
            from_first: Vec::new(),
            from_cause: Vec::new(),
            all: Vec::new(),
        }
    }

    /// How many follow from one cause.
    fn notifications(&self) -> usize {
        if self.connect.is_some() { 2 } else { 1 }
    }

    /// Has one thing told to all, and waits until all have heard it and what follows from it.
    fn tell(&mut self, swarm: &mut Swarm, cause: &Bytes) -> Result<()> {
        self.told.clear();
        let notifications = self.notifications();
        let caused = Instant::now();
        self.caused = Some(caused);
        swarm.send(0, cause.clone())?;
        swarm.run(notifications * self.sockets, self)?;
        // The first number is the file's being cached, or all that the floor says; the second is its being stored.
        let mut told = self.told.values();
        let times = told.next().ok_or("nothing was heard")?;
        if self.told.values().any(|times| times.len() != self.sockets) {
            return Err("not every socket heard everything once".into());
        }
        let first = times.iter().min().copied().unwrap_or(caused);
        self.from_first
            .extend(times.iter().map(|time| *time - first));
        self.from_cause
            .extend(times.iter().map(|time| *time - caused));
        let last = self.told.values().flatten().max().copied();
        self.all.push(last.unwrap_or(caused) - caused);
        swarm.idle(PAUSE)
    }

    fn sample(mut self) -> Sample {
        self.from_first.sort_unstable();
        self.from_cause.sort_unstable();
        self.all.sort_unstable();
        let first = |part| millis(percentile(&self.from_first, part));
        let cause = |part| millis(percentile(&self.from_cause, part));
        Sample::default()
            .with(P50, first(0.5))
            .with(P99, first(0.99))
            .with(MAX, first(1.0))
            .with(P50_CAUSE, cause(0.5))
            .with(P99_CAUSE, cause(0.99))
            .with(ALL, millis(percentile(&self.all, 0.5)))
    }
}

impl Script for Ears {
    fn opened(&mut self, _: usize, post: &mut Post<'_>) {
        match &self.connect {
            Some(connect) => post.send(connect.clone()),
            None => self.connected += 1,
        }
    }

    fn heard(&mut self, _: usize, text: &[u8], at: Instant, _: &mut Post<'_>) {
        if frames::is(text, "notification") {
            if let Some(number) = frames::offset(text) {
                self.told.entry(number).or_default().push(at);
            }
        } else if frames::is(text, "connected") {
            self.connected += 1;
        }
    }

    /// While they connect those that have, later those that have heard, once for each notification.
    fn ready(&self) -> usize {
        match self.caused {
            None => self.connected,
            Some(_) => self.told.values().map(Vec::len).sum(),
        }
    }
}
