//! Centrifugo: for idle sessions, and for one message to many.
//!
//! Clients speak its JSON protocol over a WebSocket, <https://centrifugal.dev/docs/transports/client_protocol>; what is told goes in
//! through its HTTP API.

use super::{
    program,
    settings::{self, Settings},
};
use crate::{Result, process::Servers, ready, scenario::Skip, target::Running};
use bytes::Bytes;
use std::{fs, path::Path, path::PathBuf, process::Command};

/// What connects: over a socket that is open, connect and listen to the channel.
const HELLO: &str = "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"bench\"}}";

/// Its question whether a client lives, which is answered alike.
pub(crate) const PING: &[u8] = b"{}";

/// The program, and the settings that its version reads.
#[derive(Clone, Debug)]
pub(crate) struct Centrifugo {
    program: PathBuf,
    settings: Settings,
    version: String,
}

impl Centrifugo {
    /// Installs it unless it is there.
    pub(crate) async fn prepare() -> Result<Self, Skip> {
        let program = program::find("centrifugo").await?;
        let folder = program.parent().and_then(Path::file_name);
        let version = folder.unwrap_or_default().to_string_lossy().into_owned();
        let settings = if version.starts_with("centrifugo-5") {
            settings::CENTRIFUGO_5
        } else {
            settings::CENTRIFUGO_6
        };
        Ok(Self {
            program,
            settings,
            version,
        })
    }

    /// Version and settings in a few words.
    pub(crate) fn about(&self) -> String {
        format!(
            "{}, defaults, one channel with history, JSON over WebSocket",
            self.version
        )
    }

    /// Starts it; it keeps nothing in the folder but its log.
    pub(crate) async fn start(&self, folder: &Path) -> Result<Running> {
        let address = ready::free_address()?;
        let text = self.settings.fill(folder, &[address])?;
        let path = folder.join("centrifugo.json");
        fs::write(&path, text)?;
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(path);
        let mut servers = Servers::new();
        servers.spawn("centrifugo", &command, &folder.join("centrifugo.log"))?;
        ready::listens(&mut servers, address).await?;
        Ok(Running::new(servers, address))
    }
}

/// The request that makes a connection a WebSocket.
pub(crate) fn upgrade() -> Bytes {
    Bytes::from_static(
        b"GET /connection/websocket HTTP/1.1\r\nhost: bench\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
          sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
}

/// What a client sends first, as a frame.
pub(crate) fn hello() -> Bytes {
    // A client's frames are masked; the mask may be zero.
    let mut frame = vec![0x81, 0x80 | HELLO.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(HELLO.as_bytes());
    frame.into()
}

/// The answer to its question whether the client lives, as a frame.
pub(crate) fn pong() -> Bytes {
    Bytes::from_static(b"\x81\x82\0\0\0\0{}")
}

/// The HTTP request that tells everyone who listens something as long as this.
pub(crate) fn publish(text: &str) -> Bytes {
    let body = format!("{{\"channel\":\"bench\",\"data\":{{\"text\":\"{text}\"}}}}");
    format!(
        "POST /api/publish HTTP/1.1\r\nhost: bench\r\nx-api-key: bench\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into()
}

/// Whether a client hears that it listens now.
pub(crate) fn listens(text: &[u8]) -> bool {
    has(text, b"\"subscribe\":")
}

/// Whether a client hears what was told.
pub(crate) fn is_told(text: &[u8]) -> bool {
    text.starts_with(b"{\"push\":")
}

fn has(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|here| here == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said() {
        let hello = hello();
        assert_eq!(usize::from(hello[1] & 0x7f), hello.len() - 6);
        let request = publish("x");
        let request = std::str::from_utf8(&request).unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())));
        assert_eq!(body, r#"{"channel":"bench","data":{"text":"x"}}"#);
    }

    #[test]
    fn what_is_heard() {
        assert!(listens(br#"{"id":2,"subscribe":{"recoverable":true}}"#));
        assert!(!listens(br#"{"id":1,"connect":{"client":"x"}}"#));
        assert!(is_told(
            br#"{"push":{"channel":"bench","pub":{"data":{"text":"x"},"offset":1}}}"#
        ));
        assert!(!is_told(b"{}"));
    }
}
