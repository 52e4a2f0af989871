//! Reads files over HTTP and throws them away, as fast as a server gives them.

use crate::{
    Result,
    peers::http::{Connection, get_request, refused},
};
use protocol::{Digest, DigestAlgorithm, Hasher};
use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// A file to read.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Where it is.
    pub(super) path: String,
    /// What allows to read it, where that is needed.
    pub(super) token: Option<String>,
    /// Its length in bytes.
    pub(super) length: u64,
    /// What it is.
    pub(super) digest: Digest,
}

/// A connected client, with whole requests that are ready to be sent.
#[derive(Debug)]
pub(super) struct Reader {
    connection: Connection,
    requests: Vec<(Vec<u8>, u64)>,
}

impl Reader {
    pub(super) async fn open(server: SocketAddr, wanted: &[Wanted]) -> io::Result<Self> {
        let request = |file: &Wanted| {
            let request = get_request(&file.path, server, file.token.as_deref());
            (request, file.length)
        };
        Ok(Self {
            connection: Connection::open(server).await?,
            requests: wanted.iter().map(request).collect(),
        })
    }

    /// Reads one file after another; answers how long each took, from its request to its last byte.
    async fn read(&mut self) -> io::Result<Vec<Duration>> {
        let mut took = Vec::with_capacity(self.requests.len());
        for (request, length) in &self.requests {
            let began = Instant::now();
            let (answer, read) = self.connection.get(request, |_| ()).await?;
            if answer.status != 200 {
                return Err(refused("GET", answer.status));
            }
            if read != *length {
                return Err(io::Error::other(format!(
                    "{read} bytes of a file of {length}"
                )));
            }
            took.push(began.elapsed());
        }
        Ok(took)
    }
}

/// Lets all clients read at once. Their connections stay open.
pub(super) async fn read(readers: &mut Vec<Reader>) -> Result<Vec<Duration>> {
    let mut tasks = JoinSet::new();
    for mut reader in readers.drain(..) {
        tasks.spawn(async move {
            let took = reader.read().await?;
            io::Result::Ok((reader, took))
        });
    }
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        let (reader, took) = done??;
        readers.push(reader);
        all.extend(took);
    }
    Ok(all)
}

/// Reads each file once and compares it with what it should be; afterwards the system has all of them in memory.
pub(super) async fn check(server: SocketAddr, wanted: &[Wanted]) -> Result<()> {
    let mut connection = Connection::open(server).await?;
    for file in wanted {
        let request = get_request(&file.path, server, file.token.as_deref());
        let mut hasher = Hasher::new(DigestAlgorithm::Sha256);
        let (answer, _) = connection
            .get(&request, |piece| hasher.update(piece))
            .await?;
        if answer.status != 200 {
            return Err(refused("GET", answer.status).into());
        }
        if hasher.finish() != file.digest {
            return Err(format!("what is at {} is not what was stored", file.path).into());
        }
    }
    Ok(())
}
