//! A server that does what a test tells it, and shows the test what the client sends.

use client::{Builder, Client, Error, ServerUrl, Tokens};
use futures::{SinkExt, StreamExt};
use jiff::Timestamp;
use protocol::{
    Digest, DigestAlgorithm, ErrorCode, FileId, Refusal, SUBPROTOCOL, SessionId, Topic,
    TransferStatus, UploadId, UserId,
    event::{FileEvent, Notification},
    frame::Chunk,
    identity::{Owner, Role},
    message::{
        ChunkAcked, ClientMessage, CompleteUpload, Connect, Connected, ConnectedUser, ErrorMessage,
        Limits, RequestId, ServerMessage, Start, StartTransfer, TransferStarted, UploadCompleted,
    },
    topic::TopicState,
};
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        http::HeaderValue,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};
use uuid::Uuid;

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) const UPLOAD: UploadId = UploadId(Uuid::from_u128(0x11));
pub(crate) const FILE: FileId = FileId(Uuid::from_u128(0xf1));
pub(crate) const USER: UserId = UserId(Uuid::from_u128(0xa0));

pub(crate) const LIMITS: Limits = Limits {
    max_chunk_bytes: 1000,
    window_bytes: 4000,
    max_file_bytes: 1 << 30,
    max_open_uploads: 32,
    max_message_bytes: 1 << 20,
};

/// Waits for something that is to happen soon.
pub(crate) async fn soon<F: Future>(what: F) -> F::Output {
    timeout(DEADLINE, what).await.expect("it happens in time")
}

/// A server and its address.
pub(crate) struct Script {
    listener: TcpListener,
    pub(crate) url: ServerUrl,
}

impl Script {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        Self { listener, url }
    }

    /// A client of this server; it connects while the script goes on.
    pub(crate) fn client(&self) -> Builder {
        Client::builder(self.url.clone()).tokens(Numbered::default())
    }

    /// Connects a client and accepts it.
    pub(crate) async fn connected(&self) -> (Client, Peer) {
        self.connected_with(&[]).await
    }

    /// Connects a client and accepts it, with these topics.
    pub(crate) async fn connected_with(&self, topics: &[TopicState]) -> (Client, Peer) {
        let both = async { tokio::join!(self.client().connect(), self.welcome(topics)) };
        let (client, peer) = soon(both).await;
        (client.unwrap(), peer)
    }

    /// The next TCP connection.
    pub(crate) async fn accept(&self) -> TcpStream {
        soon(self.listener.accept()).await.unwrap().0
    }

    /// The next socket, before `connect`.
    pub(crate) async fn upgrade(&self) -> Peer {
        #[expect(clippy::result_large_err, reason = "the type is tungstenite's")]
        let echo = |request: &Request, mut response: Response| {
            assert_eq!(request.headers()["sec-websocket-protocol"], SUBPROTOCOL);
            assert_eq!(request.uri().path(), "/ws");
            response.headers_mut().insert(
                "sec-websocket-protocol",
                HeaderValue::from_static(SUBPROTOCOL),
            );
            Ok(response)
        };
        let stream = self.accept().await;
        let socket = soon(accept_hdr_async(stream, echo)).await.unwrap();
        Peer { socket, user: USER }
    }

    /// The next socket, with a session in it.
    pub(crate) async fn welcome(&self, topics: &[TopicState]) -> Peer {
        let mut peer = self.upgrade().await;
        let connect = peer.connect().await;
        peer.accept(connect.id, 30_000, topics).await;
        peer
    }

    /// Answers the next request by HTTP with this status, a body announced to have `length` bytes and what there is of it;
    /// returns the request's head.
    pub(crate) async fn http(&self, status: &str, length: usize, body: &[u8]) -> String {
        let mut stream = self.accept().await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(stream.read_u8()).await.unwrap());
        }
        let answer =
            format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        stream.shutdown().await.unwrap();
        String::from_utf8(head).unwrap().to_lowercase()
    }
}

/// Tokens `token-0`, `token-1`, … each after the other was refused.
#[derive(Default)]
pub(crate) struct Numbered(AtomicU32);

#[async_trait::async_trait]
impl Tokens for Numbered {
    async fn access(&self) -> Result<String, Error> {
        Ok(format!("token-{}", self.0.load(Ordering::SeqCst)))
    }

    async fn refresh(&self, stale: &str) -> Result<String, Error> {
        assert_eq!(
            stale,
            format!("token-{}", self.0.load(Ordering::SeqCst)),
            "the present token is exchanged"
        );
        self.0.fetch_add(1, Ordering::SeqCst);
        self.access().await
    }
}

/// What a client sends.
#[derive(Debug, PartialEq)]
pub(crate) enum Got {
    Message(Box<ClientMessage>),
    Chunk(Chunk),
    Pong,
    Close,
}

/// The server's end of a socket.
pub(crate) struct Peer {
    pub(crate) socket: WebSocketStream<TcpStream>,
    user: UserId,
}

impl Peer {
    pub(crate) async fn got(&mut self) -> Got {
        match soon(self.socket.next()).await {
            Some(Ok(Message::Text(text))) => {
                Got::Message(Box::new(ClientMessage::parse(&text).unwrap()))
            }
            Some(Ok(Message::Binary(frame))) => {
                let chunk = Chunk::decode(frame).unwrap();
                assert!(chunk.is_intact());
                Got::Chunk(chunk)
            }
            Some(Ok(Message::Pong(_))) => Got::Pong,
            Some(Ok(Message::Close(_)) | Err(_)) | None => Got::Close,
            Some(Ok(other)) => panic!("unexpected {other:?}"),
        }
    }

    async fn message(&mut self) -> ClientMessage {
        match self.got().await {
            Got::Message(message) => *message,
            other => panic!("unexpected {other:?}"),
        }
    }

    pub(crate) async fn connect(&mut self) -> Connect {
        match self.message().await {
            ClientMessage::Connect(connect) => connect,
            other => panic!("unexpected {other:?}"),
        }
    }

    pub(crate) async fn start(&mut self) -> StartTransfer {
        match self.message().await {
            ClientMessage::StartTransfer(start) => start,
            other => panic!("unexpected {other:?}"),
        }
    }

    pub(crate) async fn complete(&mut self) -> CompleteUpload {
        match self.message().await {
            ClientMessage::CompleteUpload(complete) => complete,
            other => panic!("unexpected {other:?}"),
        }
    }

    pub(crate) async fn other(&mut self) -> ClientMessage {
        self.message().await
    }

    pub(crate) async fn chunk(&mut self) -> Chunk {
        match self.got().await {
            Got::Chunk(chunk) => chunk,
            other => panic!("unexpected {other:?}"),
        }
    }

    pub(crate) async fn say(&mut self, message: ServerMessage) {
        soon(self.socket.send(Message::text(message.to_json())))
            .await
            .unwrap();
    }

    /// Opens the session.
    pub(crate) async fn accept(&mut self, id: RequestId, heartbeat_ms: u64, topics: &[TopicState]) {
        let user = ConnectedUser {
            id: self.user,
            name: "anna".to_owned(),
            role: Role::User,
        };
        let session_id = SessionId::new();
        let connected = Connected {
            id,
            session_id,
            user,
            heartbeat_ms,
            limits: LIMITS,
            topics: topics.to_vec(),
        };
        self.say(ServerMessage::Connected(connected)).await;
    }

    pub(crate) async fn refuse(
        &mut self,
        id: Option<RequestId>,
        stream: Option<u32>,
        refusal: Refusal,
    ) {
        let error = ErrorMessage {
            id,
            stream,
            ..ErrorMessage::new(refusal)
        };
        self.say(ServerMessage::Error(error)).await;
    }

    pub(crate) async fn started(
        &mut self,
        start: &StartTransfer,
        offset: u64,
        status: TransferStatus,
    ) {
        let started = TransferStarted {
            id: start.id,
            stream: start.stream,
            upload_id: UPLOAD,
            offset,
            status,
            file_id: Some(FILE),
            chunk_bytes: LIMITS.max_chunk_bytes,
            expires_at: Timestamp::MAX,
        };
        self.say(ServerMessage::TransferStarted(started)).await;
    }

    pub(crate) async fn acked(&mut self, stream: u32, offset: u64) {
        self.say(ServerMessage::ChunkAcked(ChunkAcked {
            stream,
            upload_id: UPLOAD,
            offset,
        }))
        .await;
    }

    pub(crate) async fn completed(&mut self, id: RequestId, content: &[u8]) {
        let completed = UploadCompleted {
            id,
            upload_id: UPLOAD,
            file_id: FILE,
            size: content.len() as u64,
            digest: sha256(content),
            status: TransferStatus::Cached,
        };
        self.say(ServerMessage::UploadCompleted(completed)).await;
    }

    pub(crate) async fn notify(&mut self, offset: u64, status: TransferStatus) {
        self.say(ServerMessage::Notification(notification(
            "e1", offset, status,
        )))
        .await;
    }

    /// Takes chunks from `from` to the end of `content`, acknowledging each, and the completion; answers that too.
    pub(crate) async fn take_rest(&mut self, stream: u32, from: usize, content: &[u8]) {
        let mut held = from;
        while held < content.len() {
            let chunk = self.chunk().await;
            assert_eq!(
                (chunk.stream, chunk.offset),
                (stream, held as u64),
                "chunks come in order"
            );
            let end = held + chunk.payload.len();
            assert_eq!(chunk.payload, content[held..end]);
            held = end;
            self.acked(stream, held as u64).await;
        }
        let complete = self.complete().await;
        assert_eq!(complete.digest, Some(sha256(content)));
        self.completed(complete.id, content).await;
    }

    pub(crate) async fn close(mut self, code: u16, reason: &str) {
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: reason.to_owned().into(),
        };
        // The client may be gone before it has answered.
        let _ = soon(self.socket.close(Some(frame))).await;
        while let Some(Ok(_)) = soon(self.socket.next()).await {}
    }

    /// Breaks the connection without a word.
    pub(crate) fn vanish(self) {
        drop(self);
    }
}

/// The key of a start that opens an upload.
pub(crate) fn key_of(start: &StartTransfer) -> protocol::UploadKey {
    match &start.what {
        Start::Open { key: Some(key), .. } => *key,
        other => panic!("unexpected {other:?}"),
    }
}

pub(crate) fn user_topic(offset: u64, recovered: bool) -> TopicState {
    TopicState {
        topic: Topic::User(USER),
        epoch: "e1".to_owned(),
        offset,
        recovered,
    }
}

pub(crate) fn notification(epoch: &str, offset: u64, status: TransferStatus) -> Notification {
    let event = FileEvent {
        upload_id: UPLOAD,
        file_id: FILE,
        name: "a".to_owned(),
        size: 1,
        digest: None,
        status,
        owner: Owner {
            id: USER,
            name: "anna".to_owned(),
        },
        pool: None,
        attempt: None,
        reason: (status == TransferStatus::UploadFailed).then(|| "the disk is broken".to_owned()),
    };
    Notification {
        topic: Topic::User(USER),
        epoch: epoch.to_owned(),
        offset,
        event: format!("file.{status}"),
        time: Timestamp::UNIX_EPOCH,
        data: serde_json::to_value(event).unwrap(),
    }
}

pub(crate) fn unavailable(ms: u64) -> Refusal {
    Refusal::bare(ErrorCode::Unavailable).retry_after_ms(ms)
}

pub(crate) fn sha256(content: &[u8]) -> Digest {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content);
    Digest::new(DigestAlgorithm::Sha256, digest.as_ref().try_into().unwrap())
}

pub(crate) fn content(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n % 251) as u8).collect()
}
