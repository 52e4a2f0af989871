//! A WebSocket client that does nothing by itself: it answers no ping, and sends frames byte by byte if told to.

use crate::{account::Account, wait::PATIENCE};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The kind of a frame.
pub mod opcode {
    /// A text message.
    pub const TEXT: u8 = 1;
    /// The end of the connection.
    pub const CLOSE: u8 = 8;
    /// A question for a sign of life.
    pub const PING: u8 = 9;
}

/// The connection beneath a WebSocket.
pub struct Raw(TcpStream);

impl Raw {
    /// Opens a socket and connects as `account`.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn connect(account: &Account) -> Self {
        let authority = account.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(authority)
            .await
            .expect("the server listens");
        let request = format!(
            "GET /ws HTTP/1.1\r\nhost: {authority}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-protocol: sluice.v1\r\n\r\n"
        );
        stream
            .write_all(request.as_bytes())
            .await
            .expect("the request can be sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("the server answers"));
        }
        assert!(
            head.starts_with(b"HTTP/1.1 101 "),
            "{}",
            String::from_utf8_lossy(&head)
        );
        let mut raw = Self(stream);
        let connect = json!({"type": "connect", "id": 1, "access_token": account.token()});
        raw.write(&frame(opcode::TEXT, connect.to_string().as_bytes()))
            .await;
        let (kind, reply) = raw.read_frame().await;
        assert_eq!(kind, opcode::TEXT);
        let reply: Value = serde_json::from_slice(&reply).expect("text frames are JSON");
        assert_eq!(reply["type"], "connected", "{reply}");
        raw
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// When the connection is broken.
    pub async fn write(&mut self, bytes: &[u8]) {
        self.0
            .write_all(bytes)
            .await
            .expect("the connection is open");
    }

    /// The next frame: its kind and its payload.
    ///
    /// # Panics
    /// When none comes in time.
    pub async fn read_frame(&mut self) -> (u8, Vec<u8>) {
        let read = tokio::time::timeout(PATIENCE, async {
            let head = self.0.read_u16().await?;
            let length = match head & 0x7f {
                126 => u64::from(self.0.read_u16().await?),
                127 => self.0.read_u64().await?,
                length => u64::from(length),
            };
            let mut payload = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
            self.0.read_exact(&mut payload).await?;
            std::io::Result::Ok(((head >> 8) as u8 & 0x0f, payload))
        });
        let read = read.await.expect("a frame comes in time");
        read.expect("the connection is open")
    }
}

/// A frame of a client. Its mask is zero, which leaves the payload as it is.
///
/// # Panics
/// When the payload is longer than 65,535 bytes.
#[must_use]
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("the payload is short");
    let mut frame = vec![0x80 | opcode, 0x80 | 126];
    frame.extend(length.to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}
