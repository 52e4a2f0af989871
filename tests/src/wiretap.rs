//! A proxy before a server that hears what is said on its sockets.

use bytes::{Buf, Bytes, BytesMut};
use protocol::frame::Chunk;
use serde_json::Value;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

/// The proxy. Its connections end with it.
pub struct Wiretap {
    address: SocketAddr,
    heard: mpsc::UnboundedReceiver<Heard>,
    _connections: JoinSet<()>,
}

/// A message that passed. It was heard before its receiver got it.
#[derive(Debug)]
pub struct Heard {
    /// The connection, numbered from 0 as they were opened.
    pub connection: u64,
    /// What was said.
    pub said: Said,
}

/// What was said, and by whom.
#[derive(Debug)]
pub enum Said {
    /// A message of the server.
    Server(Value),
    /// A message of the client.
    Client(Value),
    /// A chunk of the client's.
    Chunk(Chunk),
}

impl Wiretap {
    /// Listens before the server at `server`, which need not run all the time.
    ///
    /// # Panics
    /// When there is no port to listen at.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let (sender, heard) = mpsc::unbounded_channel();
        let mut connections = JoinSet::new();
        connections.spawn(accept(listener, server, sender));
        Self {
            address,
            heard,
            _connections: connections,
        }
    }

    /// The address as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next message, in the order in which they passed.
    pub async fn next(&mut self) -> Heard {
        self.heard.recv().await.expect("the proxy runs")
    }

    /// The next message, if one has passed already.
    pub fn next_now(&mut self) -> Option<Heard> {
        self.heard.try_recv().ok()
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, heard: mpsc::UnboundedSender<Heard>) {
    let mut connections = JoinSet::new();
    for connection in 0.. {
        let (client, _) = listener.accept().await.expect("the proxy can accept");
        connections.spawn(pass(connection, client, server, heard.clone()));
        while let Some(ended) = connections.try_join_next() {
            ended.expect("what is said can be understood");
        }
    }
}

/// Passes on what both sides say. When either is gone, so is the connection.
async fn pass(
    connection: u64,
    client: TcpStream,
    server: SocketAddr,
    heard: mpsc::UnboundedSender<Heard>,
) {
    // A server that does not run refuses; then so does the proxy, by closing.
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let ear = |from_server| Ear {
        connection,
        from_server,
        heard: heard.clone(),
        upgraded: false,
        unread: BytesMut::new(),
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = forward(from_client, to_server, ear(false)) => {}
        () = forward(from_server, to_client, ear(true)) => {}
    }
}

async fn forward(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut ear: Ear) {
    let mut bytes = BytesMut::with_capacity(64 << 10);
    while matches!(from.read_buf(&mut bytes).await, Ok(1..)) {
        let bytes = bytes.split();
        ear.hear(&bytes);
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Reads one direction of a connection.
struct Ear {
    connection: u64,
    from_server: bool,
    heard: mpsc::UnboundedSender<Heard>,
    /// Whether what follows is WebSocket.
    upgraded: bool,
    unread: BytesMut,
}

impl Ear {
    fn hear(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        if !self.upgraded {
            let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") else {
                return;
            };
            let head = String::from_utf8_lossy(&self.unread[..end]).to_ascii_lowercase();
            if !head.contains("upgrade: websocket") {
                // Plain HTTP, of no interest.
                self.unread.clear();
                return;
            }
            self.unread.advance(end + 4);
            self.upgraded = true;
        }
        while let Some((opcode, payload)) = next_frame(&mut self.unread) {
            let json = || serde_json::from_slice(&payload).expect("text frames are JSON");
            let said = match (opcode, self.from_server) {
                (1, true) => Said::Server(json()),
                (1, false) => Said::Client(json()),
                (2, false) => Said::Chunk(Chunk::decode(payload).expect("a chunk")),
                _ => continue,
            };
            // A test that is over listens no more.
            let _ = self.heard.send(Heard {
                connection: self.connection,
                said,
            });
        }
    }
}

/// Takes one whole frame (RFC 6455, 5.2). Neither the server nor the client splits messages.
fn next_frame(bytes: &mut BytesMut) -> Option<(u8, Bytes)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    assert!(first & 0x80 != 0, "a message in several frames");
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let masked = second & 0x80 != 0;
    let head = 2 + extended + if masked { 4 } else { 0 };
    if bytes.len() < head {
        return None;
    }
    let len = match extended {
        0 => usize::from(second & 0x7f),
        _ => bytes[2..2 + extended]
            .iter()
            .fold(0, |len, byte| len << 8 | usize::from(*byte)),
    };
    if bytes.len() < head + len {
        return None;
    }
    let mut frame = bytes.split_to(head + len);
    let mut payload = frame.split_off(head);
    if masked {
        let mask = &frame[head - 4..];
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
    }
    Some((first & 0x0f, payload.freeze()))
}
