//! Every error case of the socket, each leaving nothing changed: the upload goes on to an equal file, or nothing of it is left.

mod chunks;
mod endings;
mod keys;
mod others;
mod requests;
mod starts;
mod types;

use serde_json::{Value, json};
use tests::{Account, Server, Socket, content, until};

/// A server, a user of it, and the user's socket.
struct Desk {
    server: Server,
    ada: Account,
    socket: Socket,
}

impl Desk {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(settings: &[(&str, &str)]) -> Self {
        let server = Server::start_with(settings).await;
        let ada = Account::signup(&server.url(), "ada").await;
        let socket = Socket::connect(&ada).await;
        Self {
            server,
            ada,
            socket,
        }
    }

    /// Starts an upload and answers its id.
    async fn open(&mut self, stream: u32, data: &[u8]) -> Value {
        let started = self.socket.start(stream, "a.dat", data.len()).await;
        assert_eq!(started["type"], "transfer-started", "{started}");
        assert_eq!(started["offset"], 0);
        started["upload_id"].clone()
    }

    /// Waits for an error about a chunk, which says where the upload stands.
    async fn refused_at(&mut self, code: &str, stream: u32, upload_id: &Value, expected: usize) {
        let error = self.socket.receive_refusal(code).await;
        assert_eq!(
            (&error["stream"], &error["upload_id"], &error["expected"]),
            (&json!(stream), upload_id, &json!(expected)),
            "{error}"
        );
        let stored = self.ada.upload(upload_id).await;
        assert_eq!(
            (&stored["status"], &stored["offset"]),
            (&json!("open"), &json!(expected)),
            "nothing is stored of a refused chunk: {stored}"
        );
    }

    /// Sends what is missing from `offset` on; the upload must become a file of exactly `data`.
    async fn finish(&mut self, stream: u32, data: &[u8], offset: usize) {
        self.socket.send_content(stream, data, offset).await;
        let completed = self.socket.complete(stream).await;
        assert_eq!(completed["type"], "upload-completed", "{completed}");
        assert_eq!(completed["digest"], content::sha256(data).to_string());
        let file_id = completed["file_id"].as_str().expect("a file's id");
        assert!(
            self.ada.content(file_id).await == data,
            "the file is not what was sent"
        );
    }

    /// The server must have nothing to say to what was sent before.
    async fn silence(&mut self) {
        let said = self.socket.settle().await;
        let said: Vec<_> = said
            .iter()
            .filter(|message| message["type"] != "notification")
            .collect();
        assert!(said.is_empty(), "{said:?}");
    }

    /// The upload must have ended so, and nothing of it may be left.
    async fn ended(&self, upload_id: &Value, status: &str) {
        until("the upload to end", async || {
            let upload = self.ada.upload(upload_id).await;
            (upload["status"] == status).then_some(())
        })
        .await;
        self.nothing_left().await;
    }

    /// No file and no byte may be left of what was tried.
    async fn nothing_left(&self) {
        self.server.until_cached(&[]).await;
        assert_eq!(self.ada.files().await, [json!(null); 0]);
    }
}

/// A chunk frame with its checksum.
fn frame(stream: u32, offset: usize, payload: &[u8]) -> Vec<u8> {
    let payload = payload.to_vec().into();
    protocol::frame::Chunk::new(stream, offset as u64, payload)
        .encode()
        .to_vec()
}

/// A chunk frame with a wrong checksum.
fn damaged(stream: u32, offset: usize, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame(stream, offset, payload);
    frame[19] ^= 1;
    frame
}
