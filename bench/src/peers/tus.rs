//! Uploads by tus 1.0.0 (<https://tus.io/protocols/resumable-upload>): one `POST`, then one `PATCH` per file or per piece.

use super::http::{Connection, refused};
use std::{io, net::SocketAddr};

/// One client, with one connection that is kept alive.
pub(crate) struct Client {
    pub(super) connection: Connection,
    host: SocketAddr,
    /// Where uploads are created.
    path: &'static str,
    /// How much one `PATCH` brings, in bytes.
    piece: usize,
}

impl Client {
    /// Connects.
    pub(crate) async fn open(
        server: SocketAddr,
        path: &'static str,
        piece: Option<usize>,
    ) -> io::Result<Self> {
        Ok(Self {
            connection: Connection::open(server).await?,
            host: server,
            path,
            piece: piece.unwrap_or(usize::MAX),
        })
    }

    /// Uploads a file; returns the path at which it can be read again.
    pub(crate) async fn upload(&mut self, content: &[u8]) -> io::Result<String> {
        let create = create(self.path, self.host, content.len());
        let answer = self.connection.call(create.as_bytes(), &[]).await?;
        if answer.status != 201 {
            return Err(refused("POST", answer.status));
        }
        let path = answer
            .location_path()
            .ok_or_else(|| io::Error::other("an upload was created nowhere"))?
            .to_owned();
        let mut offset = 0;
        while offset < content.len() {
            let piece = &content[offset..content.len().min(offset.saturating_add(self.piece))];
            let head = append(&path, self.host, offset, piece.len());
            let answer = self.connection.call(head.as_bytes(), piece).await?;
            if answer.status != 204 {
                return Err(refused("PATCH", answer.status));
            }
            offset += piece.len();
            if answer.upload_offset != u64::try_from(offset).ok() {
                return Err(io::Error::other("not all of an upload was taken"));
            }
        }
        Ok(path)
    }
}

fn create(path: &str, host: SocketAddr, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nTus-Resumable: 1.0.0\r\nUpload-Length: {length}\r\nContent-Length: 0\r\n\r\n"
    )
}

fn append(path: &str, host: SocketAddr, offset: usize, length: usize) -> String {
    format!(
        "PATCH {path} HTTP/1.1\r\nHost: {host}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: {length}\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let host = "127.0.0.1:80".parse().unwrap();
        assert_eq!(
            create("/files", host, 7),
            "POST /files HTTP/1.1\r\nHost: 127.0.0.1:80\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 7\r\n\
             Content-Length: 0\r\n\r\n"
        );
        assert_eq!(
            append("/files/a", host, 3, 4),
            "PATCH /files/a HTTP/1.1\r\nHost: 127.0.0.1:80\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 3\r\n\
             Content-Type: application/offset+octet-stream\r\nContent-Length: 4\r\n\r\n"
        );
    }
}
