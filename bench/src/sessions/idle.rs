//! What a session costs that does nothing: fresh, and a minute after it has sent a file.

use super::{
    blocking, centrifugo,
    server::Server,
    swarm::{Post, Script, Swarm, frames},
};
use crate::{
    Result,
    accounting::Cost,
    lab::Lab,
    scenario::{Contender, Figure, Part, Sample, Scenario, Skip},
    stats::{count, kib, mib},
    targets::server,
    upload::body::Body,
};
use async_trait::async_trait;
use bytes::Bytes;
use std::time::{Duration, Instant};

pub(super) const SESSIONS: usize = 10_000;

/// Users that share the fresh sessions; a user may have a thousand.
const SESSIONS_PER_USER: usize = 500;

const FILE_BYTES: usize = 2 << 20;

/// Sockets that connect, or send, side by side.
pub(super) const AT_ONCE: usize = 64;

pub(super) const REST: Duration = Duration::from_secs(60);

/// Time for a server to give back what only its start needed: else that would make up for what sessions take.
pub(super) const START: Duration = Duration::from_secs(20);

const PER_SESSION: Figure = Figure {
    name: "RSS per session",
    unit: "KiB",
    digits: 2,
};

const BEFORE: Figure = Figure {
    name: "RSS before",
    unit: "MiB",
    digits: 1,
};

const AFTER: Figure = Figure {
    name: "RSS then",
    unit: "MiB",
    digits: 1,
};

const CPU_IDLE: Figure = Figure {
    name: "CPU while idle",
    unit: "ms/s",
    digits: 2,
};

/// The scenario, in both forms.
pub(super) struct Idle {
    uploads: bool,
}

impl Idle {
    pub(super) fn fresh() -> Self {
        Self { uploads: false }
    }

    pub(super) fn after_upload() -> Self {
        Self { uploads: true }
    }
}

impl Scenario for Idle {
    fn name(&self) -> &str {
        match self.uploads {
            true => "idle-after-upload",
            false => "idle",
        }
    }

    fn about(&self) -> String {
        match self.uploads {
            true => format!(
                "{SESSIONS} idle sessions of as many users, {} s after each has sent a file of 2 MiB",
                REST.as_secs()
            ),
            false => format!(
                "{SESSIONS} idle sessions of {} users that have done nothing yet",
                SESSIONS / SESSIONS_PER_USER
            ),
        }
    }

    fn contenders(&self, _lab: &Lab) -> Vec<Box<dyn Contender>> {
        let mut contenders: Vec<Box<dyn Contender>> = vec![Box::new(Sluice {
            uploads: self.uploads,
            warm: false,
        })];
        if !self.uploads {
            contenders.push(Box::new(centrifugo::Idle::default()));
        }
        contenders
    }
}

struct Sluice {
    uploads: bool,
    /// Whether the round that does not count is over; it is a small one.
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
        let small = !std::mem::replace(&mut self.warm, true);
        let sessions = lab.size(if small { SESSIONS / 20 } else { SESSIONS }, 50);
        let rest = lab.size(if small { REST / 20 } else { REST }, REST / 60);
        // Whoever uploads is told of it in all sessions, so each has a user of its own then.
        let per_user = if self.uploads { 1 } else { SESSIONS_PER_USER };
        let folder = lab.scratch()?;
        let mut server =
            Server::start(lab, folder.path(), sessions.div_ceil(per_user), &[]).await?;
        let plan = Plan::new(&server, sessions, self.uploads)?;
        tokio::time::sleep(lab.size(START, START / 200)).await;
        let before = server.rss()?;
        let address = server.address();
        let mut swarm = blocking(move || plan.open(Swarm::new(address)?)).await?;
        let rest = if self.uploads { rest } else { rest / 6 };
        let meter = server.running.servers.meter()?;
        let swarm = blocking(move || swarm.idle(rest).map(|()| swarm)).await?;
        let cost = meter.stop()?;
        drop(swarm);
        server.running.servers.end().await;
        Ok(sample(sessions, before, &cost))
    }
}

/// What so many sessions cost a server that had so much memory before them.
pub(super) fn sample(sessions: usize, before: u64, cost: &Cost) -> Sample {
    Sample::default()
        .with(
            PER_SESSION,
            kib(cost.rss.saturating_sub(before)) / count(sessions),
        )
        .with(BEFORE, mib(before))
        .with(AFTER, mib(cost.rss))
        .with(
            CPU_IDLE,
            1e3 * cost.cpu.as_secs_f64() / cost.wall.as_secs_f64(),
        )
}

/// What the sessions do.
struct Plan {
    connects: Vec<Bytes>,
    sessions: usize,
    upload: Option<Bytes>,
}

impl Plan {
    fn new(server: &Server, sessions: usize, uploads: bool) -> Result<Self> {
        let upload = uploads.then(|| frames::upload(&Body::new(1, FILE_BYTES)));
        Ok(Self {
            connects: server.connects()?,
            sessions,
            upload: upload.transpose()?,
        })
    }

    /// Opens the sessions, and has each do what it has to.
    fn open(self, mut swarm: Swarm) -> Result<Swarm> {
        let sessions = self.sessions;
        let mut life = Life {
            plan: self,
            ready: 0,
        };
        swarm.open(sessions, AT_ONCE, &mut life)?;
        Ok(swarm)
    }
}

struct Life {
    plan: Plan,
    /// Sessions that have done what they had to.
    ready: usize,
}

impl Script for Life {
    fn opened(&mut self, who: usize, post: &mut Post<'_>) {
        let connects = &self.plan.connects;
        post.send(connects[who % connects.len()].clone());
    }

    fn heard(&mut self, _: usize, text: &[u8], _: Instant, post: &mut Post<'_>) {
        let is_last = match &self.plan.upload {
            None => frames::is(text, "connected"),
            Some(upload) => {
                if frames::is(text, "connected") {
                    post.send(upload.clone());
                }
                frames::tells(text, "file.uploaded_successfully")
            }
        };
        if is_last {
            self.ready += 1;
        }
    }

    fn ready(&self) -> usize {
        self.ready
    }
}
