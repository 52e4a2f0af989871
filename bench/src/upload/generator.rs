//! Loads a server that speaks `sluice.v1`: Sluice, and the floors.

use super::{
    Plan, Sent, Volley,
    frames::{self, STREAM},
    wire::{Parcel, Session},
};
use crate::Result;
use async_trait::async_trait;
use bytes::Bytes;
use protocol::{
    UploadKey,
    message::{ClientMessage, CompleteUpload, Start, StartTransfer, UploadRef},
    upload::FileMeta,
};
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Where a server keeps what it was sent.
#[derive(Clone, Debug)]
pub enum Kept {
    /// Nowhere.
    Nowhere,
    /// In this folder, by the file's id.
    Folder(PathBuf),
    /// It is downloaded from this URL.
    Server(String),
}

/// Clients that are ready to send.
#[derive(Debug)]
pub struct Clients {
    address: SocketAddr,
    plan: Arc<Plan>,
    tokens: Vec<String>,
    kept: Kept,
    waiting: Vec<Client>,
    /// Those that are done; their connections stay open.
    done: Vec<Session>,
}

#[derive(Debug)]
struct Client {
    number: usize,
    session: Option<Session>,
    parcels: Vec<Parcel>,
}

impl Clients {
    /// Builds what is to be sent, and connects unless that is measured. `tokens` holds one per client.
    ///
    /// # Errors
    /// When the server does not take a connection.
    pub async fn ready(
        address: SocketAddr,
        plan: &Arc<Plan>,
        tokens: Vec<String>,
        kept: Kept,
    ) -> Result<Self> {
        let mut waiting = Vec::with_capacity(plan.clients);
        for (number, token) in tokens.iter().enumerate().take(plan.clients) {
            let session = if plan.connecting {
                None
            } else {
                Some(Session::open(address, token).await?)
            };
            let parcels = (0..plan.files_per_client).map(|file| parcel(plan, number, file));
            waiting.push(Client {
                number,
                session,
                parcels: parcels.collect(),
            });
        }
        Ok(Self {
            address,
            plan: plan.clone(),
            tokens,
            kept,
            waiting,
            done: Vec::new(),
        })
    }
}

/// How long storing everything may take.
const STORED_WITHIN: Duration = Duration::from_secs(120);

impl Clients {
    /// Waits until the server has said of every file that was sent that it is stored for good; answers when it said so of
    /// each, in this order.
    ///
    /// # Errors
    /// When one is not.
    pub async fn until_stored(&mut self) -> Result<Vec<Instant>> {
        let files = self.plan.files_per_client;
        let all = self
            .done
            .iter_mut()
            .map(|session| session.until_stored(files));
        let all = futures::future::try_join_all(all);
        let late = |_| format!("not everything is stored within {STORED_WITHIN:?}");
        let stored = tokio::time::timeout(STORED_WITHIN, all)
            .await
            .map_err(late)??;
        let mut stored = stored.concat();
        stored.sort_unstable();
        Ok(stored)
    }
}

fn parcel(plan: &Plan, client: usize, file: usize) -> Parcel {
    let body = plan.body(client, file);
    // Built now, not when it is first sent.
    body.frames();
    let (request, size) = (file as i64 * 2 + 1, plan.file_bytes as u64);
    let start = ClientMessage::StartTransfer(StartTransfer {
        id: request,
        stream: STREAM,
        what: Start::Open {
            key: Some(UploadKey::new()),
            meta: FileMeta {
                name: format!("{client}-{file}.bin"),
                size,
                content_type: None,
                digest: None,
                pool: None,
                captured_at: None,
                batch: None,
                title: None,
                description: None,
                tags: Vec::new(),
            },
        },
    });
    let complete = ClientMessage::CompleteUpload(CompleteUpload {
        id: request + 1,
        upload: UploadRef::Stream(STREAM),
        digest: Some(body.digest()),
    });
    Parcel {
        start: frames::text(&start),
        complete: frames::text(&complete),
        id: request + 1,
        size,
    }
}

impl Client {
    async fn send(
        self,
        address: SocketAddr,
        plan: Arc<Plan>,
        token: String,
    ) -> Result<(Session, Vec<Sent>)> {
        let mut session = match self.session {
            Some(session) => session,
            None => Session::open(address, &token).await?,
        };
        let mut sent = Vec::with_capacity(self.parcels.len());
        for (file, parcel) in self.parcels.iter().enumerate() {
            let body = plan.body(self.number, file);
            let began = Instant::now();
            let (place, digest) = session.upload(parcel, body.frames()).await?;
            let took = began.elapsed();
            if digest != body.digest().to_string() {
                return Err(format!("the server confirms {digest} for {}", body.digest()).into());
            }
            sent.push(Sent {
                client: self.number,
                file,
                took,
                place,
            });
        }
        Ok((session, sent))
    }
}

#[async_trait]
impl Volley for Clients {
    async fn send(&mut self) -> Result<Vec<Sent>> {
        let mut tasks = JoinSet::new();
        for client in self.waiting.drain(..) {
            let token = self.tokens[client.number].clone();
            tasks.spawn(client.send(self.address, self.plan.clone(), token));
        }
        let mut all = Vec::with_capacity(self.plan.files());
        while let Some(client) = tasks.join_next().await {
            let (session, sent) = client??;
            self.done.push(session);
            all.extend(sent);
        }
        Ok(all)
    }

    async fn fetch(&mut self, sent: &Sent) -> Result<Option<Bytes>> {
        fetch(&self.kept, &self.tokens[sent.client], sent).await
    }
}

/// Reads back what a server keeps.
///
/// # Errors
/// When it can't be read.
pub async fn fetch(kept: &Kept, token: &str, sent: &Sent) -> Result<Option<Bytes>> {
    match kept {
        Kept::Nowhere => Ok(None),
        Kept::Folder(folder) => Ok(Some(std::fs::read(folder.join(&sent.place))?.into())),
        Kept::Server(url) => {
            let url = format!("{url}/api/v1/files/{}/content", sent.place);
            let http = reqwest::Client::builder().no_proxy().build()?;
            let answer = http.get(url).bearer_auth(token).send().await?;
            Ok(Some(answer.error_for_status()?.bytes().await?))
        }
    }
}
