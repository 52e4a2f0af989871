//! Waiting until something is so, by asking and not by sleeping for long enough.

use crate::{Result, process::Servers};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

/// How long is waited at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// A port that is free now.
///
/// # Errors
/// When there is none.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}

/// A wait that does not last for ever: `while !condition() { patience.pause().await? }`.
#[derive(Debug)]
pub struct Patience {
    what: String,
    deadline: Instant,
}

impl Patience {
    /// Begins to wait for this.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            deadline: Instant::now() + PATIENCE,
        }
    }

    /// Waits a moment.
    ///
    /// # Errors
    /// When patience is at an end.
    pub async fn pause(&self) -> Result<()> {
        if Instant::now() > self.deadline {
            return Err(format!("waited {PATIENCE:?} in vain for {}", self.what).into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(())
    }
}

/// Waits until somebody listens at `address`.
///
/// # Errors
/// When nobody does in time, or a server ends.
pub async fn listens(servers: &mut Servers, address: SocketAddr) -> Result<()> {
    let patience = Patience::new(format!("{address} to listen"));
    while TcpStream::connect(address).await.is_err() {
        servers.check()?;
        patience.pause().await?;
    }
    servers.check()
}

/// Waits until `GET path` is answered with a status of success.
///
/// # Errors
/// When it is not in time, or a server ends.
pub async fn answers(servers: &mut Servers, address: SocketAddr, path: &str) -> Result<()> {
    let patience = Patience::new(format!("http://{address}{path} to answer"));
    while !get(address, path).await.unwrap_or(false) {
        servers.check()?;
        patience.pause().await?;
    }
    servers.check()
}

async fn get(address: SocketAddr, path: &str) -> std::io::Result<bool> {
    let mut socket = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut status = [0; 12];
    socket.read_exact(&mut status).await?;
    Ok(status.starts_with(b"HTTP/1.1 2"))
}
