//! Loads Sluice through its own client library, as `sluice upload` does: it reads, hashes and masks as it sends, so it costs the
//! machine more than the generator and is reported beside.

use super::{Load, Plan, Sent, Volley, generator::Kept, generator::fetch};
use crate::{Result, target::Running, targets::sluice::Sluice};
use async_trait::async_trait;
use bytes::Bytes;
use client::{Client, FixedToken, ServerUrl, Source, Upload};
use std::{sync::Arc, time::Instant};
use tokio::task::JoinSet;

/// The library as a load for this server.
pub struct Library(pub Arc<Sluice>);

struct Clients {
    plan: Arc<Plan>,
    server: ServerUrl,
    tokens: Vec<String>,
    connected: Vec<Option<Client>>,
    kept: Kept,
}

#[async_trait]
impl Load for Library {
    async fn ready(&self, running: &Running, plan: &Arc<Plan>) -> Result<Box<dyn Volley>> {
        let accounts = self.0.accounts().await.into_iter().take(plan.clients);
        let tokens: Vec<String> = accounts.map(|account| account.token).collect();
        let server: ServerUrl = running.url().parse()?;
        let mut connected = Vec::with_capacity(plan.clients);
        for token in &tokens {
            connected.push(match plan.connecting {
                true => None,
                false => Some(connect(&server, token).await?),
            });
        }
        Ok(Box::new(Clients {
            plan: plan.clone(),
            server,
            tokens,
            connected,
            kept: Kept::Server(running.url()),
        }))
    }
}

async fn connect(server: &ServerUrl, token: &str) -> Result<Client> {
    let tokens = FixedToken::new(token);
    Ok(Client::builder(server.clone())
        .tokens(tokens)
        .connect()
        .await?)
}

impl Clients {
    async fn client(
        plan: Arc<Plan>,
        number: usize,
        server: ServerUrl,
        token: String,
        connected: Option<Client>,
    ) -> Result<(usize, Client, Vec<Sent>)> {
        let client = match connected {
            Some(client) => client,
            None => connect(&server, &token).await?,
        };
        let mut sent = Vec::with_capacity(plan.files_per_client);
        for file in 0..plan.files_per_client {
            let source = Source::bytes(plan.body(number, file).plain().clone());
            let meta = source.meta(format!("{number}-{file}.bin"));
            let began = Instant::now();
            let mut upload = client.upload(Upload::new(source, meta)).await?;
            let outcome = upload.cached().await?;
            let place = outcome.file_id.ok_or("the server names no file")?;
            sent.push(Sent {
                client: number,
                file,
                took: began.elapsed(),
                place: place.to_string(),
            });
        }
        Ok((number, client, sent))
    }
}

#[async_trait]
impl Volley for Clients {
    async fn send(&mut self) -> Result<Vec<Sent>> {
        let mut tasks = JoinSet::new();
        for (number, connected) in self.connected.iter_mut().enumerate() {
            let (plan, server) = (self.plan.clone(), self.server.clone());
            let token = self.tokens[number].clone();
            tasks.spawn(Self::client(plan, number, server, token, connected.take()));
        }
        let mut all = Vec::with_capacity(self.plan.files());
        while let Some(done) = tasks.join_next().await {
            let (number, client, sent) = done??;
            self.connected[number] = Some(client);
            all.extend(sent);
        }
        Ok(all)
    }

    async fn fetch(&mut self, sent: &Sent) -> Result<Option<Bytes>> {
        fetch(&self.kept, &self.tokens[sent.client], sent).await
    }
}
