//! Uploads by HTTP `PUT`, as nginx takes them: one request per file.

use super::http::{Connection, refused};
use std::{io, net::SocketAddr};

/// One client, with one connection that is kept alive.
pub(crate) struct Client {
    pub(super) connection: Connection,
    host: SocketAddr,
}

impl Client {
    /// Connects.
    pub(crate) async fn open(server: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            connection: Connection::open(server).await?,
            host: server,
        })
    }

    /// Uploads a file under this name; returns the path at which it can be read again.
    pub(crate) async fn upload(&mut self, name: &str, content: &[u8]) -> io::Result<String> {
        let path = format!("/{name}");
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
            self.host,
            content.len()
        );
        let answer = self.connection.call(head.as_bytes(), content).await?;
        match answer.status {
            // 204: it was there already.
            201 | 204 => Ok(path),
            status => Err(refused("PUT", status)),
        }
    }
}
