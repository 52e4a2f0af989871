//! A row of the upload scenarios: a peer, and how it is sent files.

use super::{nats, program, put, server::Server, tus};
use crate::{
    Result,
    lab::Lab,
    scenario::Skip,
    target::{Running, Target},
    upload::{Load, Plan, Sent, Volley},
};
use async_trait::async_trait;
use bytes::Bytes;
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};
use tokio::task::JoinSet;

/// How files are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// HTTP `PUT`, to the first or the second address.
    Put(usize),
    Tus {
        /// Where uploads are created.
        path: &'static str,
        /// How much one `PATCH` brings; the whole file if nothing is said.
        piece: Option<usize>,
    },
    ObjectStore,
}

/// A peer.
#[derive(Debug)]
pub(crate) struct Peer {
    name: &'static str,
    server: Server,
    way: Way,
    program: OnceLock<PathBuf>,
}

impl Peer {
    pub(crate) fn new(name: &'static str, server: Server, way: Way) -> Self {
        Self {
            name,
            server,
            way,
            program: OnceLock::new(),
        }
    }
}

#[async_trait]
impl Target for Peer {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    async fn prepare(&self, _lab: &Lab) -> Result<String, Skip> {
        let found = program::find(self.server.name()).await?;
        let program = self.program.get_or_init(|| found);
        let about = self.server.about();
        match self.server.version_argument() {
            Some(argument) => {
                let version = program::version(program, argument).await?;
                Ok(format!("{version}, {about}"))
            }
            None => Ok(about.to_owned()),
        }
    }

    async fn start(&self, _lab: &Lab, folder: &Path) -> Result<Running> {
        let program = self.program.get().ok_or("it was not prepared")?;
        let running = self.server.start(program, folder).await?;
        if let Way::ObjectStore = self.way {
            let mut client = nats::Client::open(running.address()).await?;
            client.make_bucket().await?;
        }
        Ok(running)
    }
}

#[async_trait]
impl Load for Peer {
    async fn ready(&self, running: &Running, plan: &Arc<Plan>) -> Result<Box<dyn Volley>> {
        let address = match self.way {
            Way::Put(number) => running.addresses[number],
            _ => running.address(),
        };
        Ok(Box::new(Crowd::ready(self.way, address, plan).await?))
    }
}

/// Clients that are ready to send.
struct Crowd {
    way: Way,
    address: SocketAddr,
    plan: Arc<Plan>,
    waiting: Vec<(usize, Option<Client>)>,
    /// Those that are done; their connections stay open.
    done: Vec<Client>,
    /// Tells the names of this one's files from those of others.
    number: usize,
}

impl Crowd {
    async fn ready(way: Way, address: SocketAddr, plan: &Arc<Plan>) -> Result<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let mut waiting = Vec::with_capacity(plan.clients);
        for number in 0..plan.clients {
            for file in 0..plan.files_per_client {
                // Made now, not when they are first sent.
                plan.body(number, file).plain();
                plan.body(number, file).digest();
            }
            let client = if plan.connecting {
                None
            } else {
                Some(Client::open(way, address).await?)
            };
            waiting.push((number, client));
        }
        Ok(Self {
            way,
            address,
            plan: plan.clone(),
            waiting,
            done: Vec::new(),
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
        })
    }
}

#[async_trait]
impl Volley for Crowd {
    async fn send(&mut self) -> Result<Vec<Sent>> {
        let mut tasks = JoinSet::new();
        for (number, client) in self.waiting.drain(..) {
            let (way, address) = (self.way, self.address);
            let (plan, crowd) = (self.plan.clone(), self.number);
            tasks.spawn(async move {
                let mut client = match client {
                    Some(client) => client,
                    None => Client::open(way, address).await?,
                };
                let sent = send(&mut client, &plan, crowd, number).await?;
                io::Result::Ok((client, sent))
            });
        }
        let mut all = Vec::with_capacity(self.plan.files());
        while let Some(client) = tasks.join_next().await {
            let (client, sent) = client??;
            self.done.push(client);
            all.extend(sent);
        }
        Ok(all)
    }

    async fn fetch(&mut self, sent: &Sent) -> Result<Option<Bytes>> {
        let client = self.done.first_mut().ok_or("nothing was sent")?;
        let content = client
            .fetch(&sent.place, self.address, self.plan.file_bytes)
            .await?;
        Ok(Some(content))
    }
}

async fn send(
    client: &mut Client,
    plan: &Plan,
    crowd: usize,
    number: usize,
) -> io::Result<Vec<Sent>> {
    let mut sent = Vec::with_capacity(plan.files_per_client);
    for file in 0..plan.files_per_client {
        let body = plan.body(number, file);
        let name = format!("{crowd}-{number}-{file}.bin");
        let began = Instant::now();
        let place = match client {
            Client::Put(client) => client.upload(&name, body.plain()).await?,
            Client::Tus(client) => client.upload(body.plain()).await?,
            Client::Nats(client) => {
                let digest = body.digest().bytes;
                client.upload(&name, body.plain(), &digest).await?
            }
        };
        sent.push(Sent {
            client: number,
            file,
            took: began.elapsed(),
            place,
        });
    }
    Ok(sent)
}

/// One client with its connection.
enum Client {
    Put(put::Client),
    Tus(tus::Client),
    Nats(nats::Client),
}

impl Client {
    async fn open(way: Way, address: SocketAddr) -> io::Result<Self> {
        Ok(match way {
            Way::Put(_) => Self::Put(put::Client::open(address).await?),
            Way::Tus { path, piece } => Self::Tus(tus::Client::open(address, path, piece).await?),
            Way::ObjectStore => Self::Nats(nats::Client::open(address).await?),
        })
    }

    async fn fetch(&mut self, place: &str, host: SocketAddr, length: usize) -> io::Result<Bytes> {
        match self {
            Self::Put(client) => client.connection.fetch(place, host).await,
            Self::Tus(client) => client.connection.fetch(place, host).await,
            Self::Nats(client) => Ok(client.read(place, length).await?.into()),
        }
    }
}
