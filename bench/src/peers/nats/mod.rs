//! Uploads into an object store of NATS JetStream, as its own clients put objects: the chunks as messages of a stream,
//! published without waiting for each other's acknowledgement, then a message that describes the object.
//! <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-20.md>

mod wire;

use crate::upload::pipe::Pipe;
use serde_json::{Value, json};
use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};
use tokio::sync::Semaphore;
use wire::Message;

/// What the clients cut objects into.
const CHUNK_BYTES: usize = 128 << 10;

/// Room for the chunks on the way at once, of all clients: the server refuses what is beyond 128 MiB in a stream's queue, and a
/// client whose chunk was refused would have to put the whole object again.
static ROOM: Semaphore = Semaphore::const_new((96 << 20) / CHUNK_BYTES);

/// The same of one client; more makes nothing faster.
const MOST_OF_ONE: usize = 64;

const BUCKET: &str = "bench";

/// Tells connections, and objects, apart.
static NUMBER: AtomicU64 = AtomicU64::new(0);

fn number() -> u64 {
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// One client with its connection.
#[derive(Debug)]
pub(crate) struct Client {
    pipe: Pipe,
    inbox: String,
}

impl Client {
    /// Connects, and listens to its inbox.
    pub(crate) async fn open(server: SocketAddr) -> io::Result<Self> {
        let mut client = Self {
            pipe: Pipe::connect(server).await?,
            inbox: format!("_INBOX.{:x}", number()),
        };
        let hello = format!(
            "CONNECT {}\r\nSUB {}.* 1\r\nPING\r\n",
            json!({"verbose": false, "pedantic": false, "headers": true, "no_responders": true, "protocol": 1,
                   "lang": "rust", "version": "0"}),
            client.inbox
        );
        client.pipe.write_all(&[hello.as_bytes()]).await?;
        client.ready().await?;
        Ok(client)
    }

    /// Waits until the server has read everything so far.
    async fn ready(&mut self) -> io::Result<()> {
        loop {
            while let Some((message, length)) = wire::parse(self.pipe.input())? {
                self.pipe.take(length);
                if message == Message::Pong {
                    return Ok(());
                }
            }
            self.pipe.read_more().await?;
        }
    }

    /// Makes the bucket, as `nats object add` makes it.
    pub(crate) async fn make_bucket(&mut self) -> io::Result<()> {
        let stream = json!({
            "name": format!("OBJ_{BUCKET}"),
            "subjects": [format!("$O.{BUCKET}.C.>"), format!("$O.{BUCKET}.M.>")],
            "retention": "limits", "discard": "new", "storage": "file", "num_replicas": 1,
            "max_consumers": -1, "max_msgs": -1, "max_msgs_per_subject": -1, "max_bytes": -1, "max_age": 0, "max_msg_size": -1,
            "allow_rollup_hdrs": true, "allow_direct": true,
        });
        let subject = format!("$JS.API.STREAM.CREATE.OBJ_{BUCKET}");
        self.ask(&subject, &stream).await?;
        self.acknowledged().await
    }

    /// Puts an object, the SHA-256 of which is known already; returns the subject of its chunks when everything is
    /// acknowledged.
    pub(crate) async fn upload(
        &mut self,
        name: &str,
        content: &[u8],
        sha256: &[u8; 32],
    ) -> io::Result<String> {
        let id = format!("{:016x}", number());
        let subject = format!("$O.{BUCKET}.C.{id}");
        let publish = format!("PUB {subject} {}.c", self.inbox);
        let mut on_the_way = Vec::new();
        for chunk in content.chunks(CHUNK_BYTES) {
            let room = loop {
                match ROOM.try_acquire() {
                    Ok(room) if on_the_way.len() < MOST_OF_ONE => break room,
                    _ if on_the_way.is_empty() => {
                        break ROOM.acquire().await.map_err(io::Error::other)?;
                    }
                    _ => self.acknowledged().await?,
                }
                on_the_way.pop();
            };
            let head = format!("{publish} {}\r\n", chunk.len());
            self.pipe
                .write_all(&[head.as_bytes(), chunk, b"\r\n"])
                .await?;
            on_the_way.push(room);
        }
        while !on_the_way.is_empty() {
            self.acknowledged().await?;
            on_the_way.pop();
        }
        let described =
            wire::describe(BUCKET, name, &id, content, CHUNK_BYTES, sha256, &self.inbox);
        self.pipe.write_all(&[described.as_bytes()]).await?;
        self.acknowledged().await?;
        Ok(subject)
    }

    /// Reads an object's chunks, in the order in which they were stored.
    pub(crate) async fn read(&mut self, subject: &str, length: usize) -> io::Result<Vec<u8>> {
        let mut content = Vec::with_capacity(length);
        let mut after = 0;
        let api = format!("$JS.API.DIRECT.GET.OBJ_{BUCKET}");
        while content.len() < length {
            let wanted = json!({"seq": after + 1, "next_by_subj": subject});
            self.ask(&api, &wanted).await?;
            let take = |headers: &[u8], payload: &[u8]| {
                content.extend_from_slice(payload);
                wire::sequence(headers)
                    .ok_or_else(|| io::Error::other("a chunk of an object is missing"))
            };
            after = self.answer(take).await??;
        }
        Ok(content)
    }

    async fn ask(&mut self, subject: &str, body: &Value) -> io::Result<()> {
        let body = body.to_string();
        let request = format!(
            "PUB {subject} {}.r {}\r\n{body}\r\n",
            self.inbox,
            body.len()
        );
        self.pipe.write_all(&[request.as_bytes()]).await
    }

    /// Waits for the answer to something that was published, which must not be a refusal.
    async fn acknowledged(&mut self) -> io::Result<()> {
        let check = |headers: &[u8], payload: &[u8]| {
            // That nobody listens is said in headers.
            let refused =
                !headers.is_empty() || payload.windows(8).any(|part| part == b"\"error\":");
            let said = || String::from_utf8_lossy(payload).into_owned();
            refused.then(said)
        };
        match self.answer(check).await? {
            None => Ok(()),
            Some(said) => Err(io::Error::other(format!("NATS refused: {said}"))),
        }
    }

    /// Waits for the next message to the inbox; `read` gets its headers and its payload.
    async fn answer<T>(&mut self, read: impl FnOnce(&[u8], &[u8]) -> T) -> io::Result<T> {
        loop {
            let Some((message, length)) = wire::parse(self.pipe.input())? else {
                self.pipe.read_more().await?;
                continue;
            };
            if let Message::Data { headers, payload } = message {
                let input = self.pipe.input();
                let value = read(&input[headers], &input[payload]);
                self.pipe.take(length);
                return Ok(value);
            }
            self.pipe.take(length);
            if message == Message::Ping {
                self.pipe.write_all(&[b"PONG\r\n"]).await?;
            }
        }
    }
}
