//! The rows of Centrifugo: sockets that are idle, and one message to all of them.

use super::{
    blocking, fan_out, idle,
    swarm::{Post, Script, Swarm},
};
use crate::{
    Result, accounting,
    lab::Lab,
    peers::centrifugo::{self, Centrifugo},
    scenario::{Contender, Part, Sample, Skip},
    stats::{millis, percentile},
    target::Running,
};
use async_trait::async_trait;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

/// What is told: with what Centrifugo puts around it as long as one of Sluice's notifications.
const TEXT_BYTES: usize = 477;

/// The server, once it is installed.
#[derive(Default)]
struct Server(Option<Centrifugo>);

impl Server {
    async fn prepare(&mut self) -> Result<String, Skip> {
        let found = Centrifugo::prepare().await?;
        Ok(self.0.insert(found).about())
    }

    async fn start(&self, folder: &Path) -> Result<Running> {
        let server = self.0.as_ref().ok_or("it was not prepared")?;
        server.start(folder).await
    }
}

/// Idle sockets that listen to a channel.
#[derive(Default)]
pub(super) struct Idle {
    server: Server,
}

#[async_trait]
impl Contender for Idle {
    fn name(&self) -> String {
        "Centrifugo".to_owned()
    }

    fn part(&self) -> Part {
        Part::Peer
    }

    async fn prepare(&mut self, _lab: &Lab) -> Result<String, Skip> {
        self.server.prepare().await
    }

    async fn round(&mut self, lab: &Lab) -> Result<Sample> {
        let sessions = lab.size(idle::SESSIONS, 50);
        let folder = lab.scratch()?;
        let mut running = self.server.start(folder.path()).await?;
        tokio::time::sleep(lab.size(idle::START, idle::START / 200)).await;
        let pids = accounting::tree(&running.servers.pids())?;
        let before = accounting::memory(&pids)?.now;
        let (mut swarm, _) = listen(running.address(), sessions).await?;
        let meter = running.servers.meter()?;
        let rest = lab.size(idle::REST, idle::REST / 60) / 6;
        let swarm = blocking(move || swarm.idle(rest).map(|()| swarm)).await?;
        let cost = meter.stop()?;
        drop(swarm);
        running.servers.end().await;
        Ok(idle::sample(sessions, before, &cost))
    }
}

/// One message to all sockets that listen, through the HTTP API.
#[derive(Default)]
pub(super) struct Told {
    server: Server,
}

#[async_trait]
impl Contender for Told {
    fn name(&self) -> String {
        "Centrifugo".to_owned()
    }

    fn part(&self) -> Part {
        Part::Peer
    }

    async fn prepare(&mut self, _lab: &Lab) -> Result<String, Skip> {
        self.server.prepare().await
    }

    async fn round(&mut self, lab: &Lab) -> Result<Sample> {
        let sockets = lab.size(fan_out::SOCKETS, 50);
        let causes = lab.size(fan_out::CAUSES, 3);
        let folder = lab.scratch()?;
        let mut running = self.server.start(folder.path()).await?;
        let address = running.address();
        let (mut swarm, mut ears) = listen(address, sockets).await?;
        let mut api = TcpStream::connect(address)?;
        let meter = running.servers.meter()?;
        let (swarm, ears) = blocking(move || {
            for _ in 0..causes {
                ears.tell(&mut swarm, &mut api)?;
            }
            Ok((swarm, ears))
        })
        .await?;
        let cost = meter.stop()?;
        drop(swarm);
        running.servers.end().await;
        let told = f64::from(ears.causes);
        let each = |time: Duration| millis(time) / told;
        Ok(ears
            .sample()
            .with(fan_out::CPU, each(cost.cpu))
            .with(fan_out::OWN_CPU, each(cost.own_cpu)))
    }
}

/// Opens so many sockets, each of which listens to the channel.
async fn listen(server: SocketAddr, sockets: usize) -> Result<(Swarm, Ears)> {
    let mut swarm = Swarm::new(server)?.with_upgrade(centrifugo::upgrade());
    blocking(move || {
        let mut ears = Ears {
            sockets,
            ..Ears::default()
        };
        swarm.open(sockets, fan_out::AT_ONCE, &mut ears)?;
        swarm.idle(fan_out::PAUSE * 10)?;
        Ok((swarm, ears))
    })
    .await
}

/// Sockets that listen.
#[derive(Default)]
struct Ears {
    sockets: usize,
    listening: usize,
    /// What has been told so far.
    causes: u32,
    /// When each heard what was told last.
    heard: Vec<Instant>,
    from_first: Vec<Duration>,
    from_cause: Vec<Duration>,
    /// Until the last socket had heard it.
    all: Vec<Duration>,
}

impl Ears {
    /// Has one thing told to all, and waits until all have heard it.
    fn tell(&mut self, swarm: &mut Swarm, api: &mut TcpStream) -> Result<()> {
        self.heard.clear();
        self.causes += 1;
        let request = centrifugo::publish(&"x".repeat(TEXT_BYTES));
        let caused = Instant::now();
        api.write_all(&request)?;
        swarm.run(self.sockets, self)?;
        // It comes when the message has been handed to all, which is not what is measured.
        let mut answer = [0; 4096];
        let read = api.read(&mut answer)?;
        if !answer[..read].starts_with(b"HTTP/1.1 200") {
            return Err("Centrifugo refuses to tell".into());
        }
        let first = self.heard.iter().min().copied().unwrap_or(caused);
        let last = self.heard.iter().max().copied().unwrap_or(caused);
        let since = |start: Instant| self.heard.iter().map(move |&heard| heard - start);
        self.from_first.extend(since(first));
        self.from_cause.extend(since(caused));
        self.all.push(last - caused);
        swarm.idle(fan_out::PAUSE)
    }

    fn sample(mut self) -> Sample {
        for times in [&mut self.from_first, &mut self.from_cause, &mut self.all] {
            times.sort_unstable();
        }
        let first = |part| millis(percentile(&self.from_first, part));
        let cause = |part| millis(percentile(&self.from_cause, part));
        Sample::default()
            .with(fan_out::P50, first(0.5))
            .with(fan_out::P99, first(0.99))
            .with(fan_out::MAX, first(1.0))
            .with(fan_out::P50_CAUSE, cause(0.5))
            .with(fan_out::P99_CAUSE, cause(0.99))
            .with(fan_out::ALL, millis(percentile(&self.all, 0.5)))
    }
}

impl Script for Ears {
    fn opened(&mut self, _: usize, post: &mut Post<'_>) {
        post.send(centrifugo::hello());
    }

    fn heard(&mut self, _: usize, text: &[u8], at: Instant, post: &mut Post<'_>) {
        if text == centrifugo::PING {
            post.send(centrifugo::pong());
        } else if centrifugo::is_told(text) {
            self.heard.push(at);
        } else if centrifugo::listens(text) {
            self.listening += 1;
        }
    }

    /// While they begin to listen those that do, later those that have heard.
    fn ready(&self) -> usize {
        match self.causes {
            0 => self.listening,
            _ => self.heard.len(),
        }
    }
}
