//! The floor of the chunk cache: plain `SET` of 256 KiB values in the same Redis, as many connections as clients, each with as much
//! under way as a stream of Sluice has.

use super::{
    site,
    uploads::{Load, figures_of},
};
use crate::{
    Result,
    lab::Lab,
    scenario::{Contender, Part, Sample, Skip},
    upload::{Plan, frames::CHUNK, pipe::Pipe},
};
use async_trait::async_trait;
use std::{net::SocketAddr, sync::Arc};
use tokio::task::JoinSet;

/// Values under way on a connection: a window of Sluice is 2 MiB.
const UNDER_WAY: usize = (2 << 20) / CHUNK;

/// The database of Redis that is emptied after each round.
const DATABASE: u8 = 9;

pub(super) struct Redis(pub(super) Load);

#[async_trait]
impl Contender for Redis {
    fn name(&self) -> String {
        "floor, Redis SET".to_owned()
    }

    fn part(&self) -> Part {
        Part::Floor
    }

    async fn prepare(&mut self, lab: &Lab) -> Result<String, Skip> {
        site::prepare(lab)?;
        Ok(
            "SET of 256 KiB values, pipelined, in the same Redis with the same persistence"
                .to_owned(),
        )
    }

    async fn round(&mut self, lab: &Lab) -> Result<Sample> {
        let plan = self.0.plan();
        let site = self.0.site.get(lab).await?;
        let address = site.engines.redis.address();
        let login = login(site.engines.redis.url());
        let mut connections = Vec::new();
        for _ in 0..plan.clients {
            connections.push(connect(address, &login).await?);
        }
        plan.prepare();
        lab.settle().await;
        let meters = site.meters()?;
        let mut sending = JoinSet::new();
        for (client, mut pipe) in connections.into_iter().enumerate() {
            let (plan, login) = (plan.clone(), login.clone());
            sending.spawn(async move {
                if plan.connecting {
                    pipe = connect(address, &login).await?;
                }
                send(&mut pipe, &plan, client).await.map(|()| pipe)
            });
        }
        let mut done = Vec::new();
        while let Some(pipe) = sending.join_next().await {
            done.push(pipe??);
        }
        let wall = meters.elapsed();
        let bill = meters.stop()?;
        if let Some(pipe) = done.first_mut() {
            command(pipe, "FLUSHDB\r\n").await?;
        }
        Ok(figures_of(&plan, wall, &bill, None))
    }
}

fn login(url: &str) -> String {
    let password = url
        .split_once("default:")
        .and_then(|(_, rest)| rest.split_once('@'));
    format!("AUTH {}\r\n", password.map_or("", |(password, _)| password))
}

async fn connect(address: SocketAddr, login: &str) -> Result<Pipe> {
    let mut pipe = Pipe::connect(address).await?;
    command(&mut pipe, login).await?;
    command(&mut pipe, &format!("SELECT {DATABASE}\r\n")).await?;
    Ok(pipe)
}

async fn command(pipe: &mut Pipe, command: &str) -> Result<()> {
    pipe.write_all(&[command.as_bytes()]).await?;
    confirmed(pipe).await
}

/// Takes one `+OK`.
async fn confirmed(pipe: &mut Pipe) -> Result<()> {
    loop {
        let input = pipe.input();
        if let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = &input[..end];
            if !line.starts_with(b"+OK") {
                return Err(format!("Redis says {}", String::from_utf8_lossy(line)).into());
            }
            pipe.take(end + 1);
            return Ok(());
        }
        pipe.read_more().await?;
    }
}

async fn send(pipe: &mut Pipe, plan: &Arc<Plan>, client: usize) -> Result<()> {
    let mut under_way = 0;
    for file in 0..plan.files_per_client {
        let content = plan.body(client, file).plain();
        for (number, value) in content.chunks(CHUNK).enumerate() {
            if under_way == UNDER_WAY {
                confirmed(pipe).await?;
                under_way -= 1;
            }
            let key = format!("{client}:{file}:{number}");
            let (key_len, len) = (key.len(), value.len());
            let head = format!("*3\r\n$3\r\nSET\r\n${key_len}\r\n{key}\r\n${len}\r\n");
            pipe.write_all(&[head.as_bytes(), value, b"\r\n"]).await?;
            under_way += 1;
        }
    }
    for _ in 0..under_way {
        confirmed(pipe).await?;
    }
    Ok(())
}
