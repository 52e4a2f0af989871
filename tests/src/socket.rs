//! A socket driven by hand, so that tests can say what no well-behaved client says.

use crate::{account::Account, wait::PATIENCE};
use bytes::Bytes;
use futures::{FutureExt, SinkExt, StreamExt};
use protocol::{ErrorCode, frame::Chunk};
use reqwest::{StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async,
    tungstenite::{self, ClientRequestBuilder, Message},
};

/// A WebSocket and what has come in on it and was not asked for yet.
pub struct Socket {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    unread: Vec<Value>,
    next_id: i64,
}

/// How a socket was closed: the code, and what came before that nobody asked for.
#[derive(Debug)]
pub struct Closed {
    /// The close code; none if the connection just ended.
    pub code: Option<u16>,
    /// Messages before the close.
    pub messages: Vec<Value>,
}

impl Socket {
    /// Opens a socket without saying anything on it.
    ///
    /// # Panics
    /// When the server refuses the upgrade.
    pub async fn open(url: &str) -> Self {
        let headers = [("sec-websocket-protocol", "sluice.v1")];
        let upgraded = Self::upgrade(&format!("{url}/ws"), &headers).await;
        upgraded.expect("the upgrade succeeds").0
    }

    /// Asks for the upgrade at `url`, its path included, with these headers beside those that every WebSocket client sends; answers also the headers of the
    /// reply.
    ///
    /// # Errors
    /// The status and the problem with which the server refuses.
    ///
    /// # Panics
    /// When there is no such server.
    pub async fn upgrade(
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<(Self, HeaderMap), (StatusCode, Value)> {
        let stream = TcpStream::connect(authority(url)).await;
        Self::upgrade_on(stream.expect("the server listens"), url, headers).await
    }

    /// Opens a socket for which this machine keeps no more than some KiB until the test reads it.
    ///
    /// # Panics
    /// When the server refuses the upgrade.
    pub async fn open_narrow(url: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket can be made");
        socket
            .set_recv_buffer_size(4096)
            .expect("the buffer can be set");
        let address: SocketAddr = authority(url).parse().expect("an address");
        let stream = socket.connect(address).await.expect("the server listens");
        let headers = [("sec-websocket-protocol", "sluice.v1")];
        let upgraded = Self::upgrade_on(stream, &format!("{url}/ws"), &headers).await;
        upgraded.expect("the upgrade succeeds").0
    }

    async fn upgrade_on(
        stream: TcpStream,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<(Self, HeaderMap), (StatusCode, Value)> {
        let address = url.replacen("http", "ws", 1);
        let mut request = ClientRequestBuilder::new(address.parse().expect("a URL"));
        for (name, value) in headers {
            request = request.with_header(*name, *value);
        }
        match client_async(request, MaybeTlsStream::Plain(stream)).await {
            Ok((socket, reply)) => {
                let socket = Self {
                    socket,
                    unread: Vec::new(),
                    next_id: 1,
                };
                Ok((socket, reply.headers().clone()))
            }
            Err(tungstenite::Error::Http(reply)) => {
                let body = reply.body().as_deref().unwrap_or_default();
                Err((
                    reply.status(),
                    serde_json::from_slice(body).unwrap_or_default(),
                ))
            }
            Err(error) => panic!("no answer to the upgrade: {error}"),
        }
    }

    /// Opens a socket and connects as `account`.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn connect(account: &Account) -> Self {
        Self::connect_since(account, Value::Null).await.0
    }

    /// As [`connect`](Self::connect), telling what was seen before; answers the `connected` too.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn connect_since(account: &Account, since: Value) -> (Self, Value) {
        let mut socket = Self::open(&account.url).await;
        let mut connect = json!({"type": "connect", "access_token": account.token()});
        if !since.is_null() {
            connect["since"] = since;
        }
        let connected = socket.ask(connect).await;
        assert_eq!(connected["type"], "connected", "{connected}");
        (socket, connected)
    }

    /// Sends a message as it is.
    ///
    /// # Panics
    /// When the connection is broken.
    pub async fn send(&mut self, message: Value) {
        self.send_text(message.to_string()).await;
    }

    /// Sends a text frame.
    ///
    /// # Panics
    /// When the connection is broken.
    pub async fn send_text(&mut self, text: impl Into<String>) {
        self.socket
            .send(Message::Text(text.into().into()))
            .await
            .expect("the socket is open");
    }

    /// Sends a binary frame.
    ///
    /// # Panics
    /// When the connection is broken.
    pub async fn send_binary(&mut self, frame: impl Into<Bytes>) {
        self.socket
            .send(Message::Binary(frame.into()))
            .await
            .expect("the socket is open");
    }

    /// Sends a message if the connection can take it at once, without reading; answers whether it was taken.
    pub fn send_now(&mut self, message: impl Into<Message>) -> bool {
        self.flushed_now()
            && self
                .socket
                .feed(message.into())
                .now_or_never()
                .is_some_and(|fed| fed.is_ok())
    }

    /// Whether the connection has taken all that was sent. Nothing is read to find out.
    pub fn flushed_now(&mut self) -> bool {
        let flushed = self.socket.flush().now_or_never();
        flushed.is_some_and(|flushed| flushed.is_ok())
    }

    /// The next ping.
    ///
    /// # Panics
    /// When none comes in time.
    pub async fn receive_ping(&mut self) {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Ping(_))) => return,
                    Some(Ok(Message::Text(text))) => {
                        let message = serde_json::from_str(&text);
                        self.unread.push(message.expect("text frames are JSON"));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => panic!("the socket ended instead of a ping"),
                }
            }
        });
        waited.await.expect("a ping comes in time");
    }

    /// Sends a chunk with a right checksum.
    pub async fn send_chunk(&mut self, stream: u32, offset: usize, payload: &[u8]) {
        self.send_binary(
            Chunk::new(stream, offset as u64, Bytes::copy_from_slice(payload)).encode(),
        )
        .await;
    }

    /// Sends a request under a fresh id and waits for its reply.
    pub async fn ask(&mut self, mut request: Value) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        request["id"] = id.into();
        self.send(request).await;
        self.receive("a reply", |message| message["id"] == id).await
    }

    /// As [`ask`](Self::ask), of a request that must be refused with this code; answers the error.
    ///
    /// # Panics
    /// When it is not, or the error lacks what every error has.
    pub async fn ask_refused(&mut self, request: Value, code: &str) -> Value {
        let described = request.to_string();
        let reply = self.ask(request).await;
        check_error(&reply, code, &described);
        reply
    }

    /// The next `error` that answers no request; it must have this code.
    ///
    /// # Panics
    /// When it has another, or lacks what every error has.
    pub async fn receive_refusal(&mut self, code: &str) -> Value {
        let error = self.receive("an error", |message| {
            message["type"] == "error" && message.get("id").is_none()
        });
        let error = error.await;
        check_error(&error, code, "what was sent");
        error
    }

    /// Starts an upload of this name and size; answers the reply.
    pub async fn start(&mut self, stream: u32, name: &str, size: usize) -> Value {
        self.ask(json!({"type": "start-transfer", "stream": stream, "name": name, "size": size}))
            .await
    }

    /// Uploads a whole file and answers the `upload-completed`.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn upload(&mut self, stream: u32, name: &str, content: &[u8]) -> Value {
        let started = self.start(stream, name, content.len()).await;
        assert_eq!(started["type"], "transfer-started", "{started}");
        self.send_content(stream, content, 0).await;
        let completed = self.complete(stream).await;
        assert_eq!(completed["type"], "upload-completed", "{completed}");
        completed
    }

    /// Resumes an upload; answers the reply.
    pub async fn resume(&mut self, stream: u32, upload_id: &Value) -> Value {
        self.ask(json!({"type": "start-transfer", "stream": stream, "upload_id": upload_id}))
            .await
    }

    /// Completes an upload; answers the reply.
    pub async fn complete(&mut self, stream: u32) -> Value {
        self.ask(json!({"type": "complete-upload", "stream": stream}))
            .await
    }

    /// Waits until every byte of the stream before `offset` is acknowledged.
    pub async fn acked(&mut self, stream: u32, offset: usize) {
        self.receive("an acknowledgement", |message| {
            message["type"] == "chunk-acked"
                && message["stream"] == stream
                && message["offset"] == offset
        })
        .await;
    }

    /// Sends a content from `offset` on, in chunks, each after the one before was acknowledged.
    pub async fn send_content(&mut self, stream: u32, content: &[u8], offset: usize) {
        let mut at = offset;
        while at < content.len() {
            let end = content.len().min(at + (128 << 10));
            self.send_chunk(stream, at, &content[at..end]).await;
            self.acked(stream, end).await;
            at = end;
        }
    }

    /// The next message that `wanted` accepts; others are kept for later.
    ///
    /// # Panics
    /// When it does not come in time, or the socket closes.
    pub async fn receive(&mut self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        if let Some(found) = self.unread.iter().position(&mut wanted) {
            return self.unread.remove(found);
        }
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                match self.next().await {
                    Ok(message) if wanted(&message) => return message,
                    Ok(message) => self.unread.push(message),
                    Err(code) => panic!(
                        "the socket closed with {code:?} instead of {what}; unread: {:?}",
                        self.unread
                    ),
                }
            }
        });
        match waited.await {
            Ok(message) => message,
            Err(_) => panic!("waited in vain for {what}; unread: {:?}", self.unread),
        }
    }

    /// The next `error` message.
    pub async fn receive_error(&mut self) -> Value {
        self.receive("an error", |message| message["type"] == "error")
            .await
    }

    /// The next notification.
    pub async fn receive_notification(&mut self) -> Value {
        self.receive("a notification", |message| {
            message["type"] == "notification"
        })
        .await
    }

    /// Everything that came in until a round trip from here: what the server had to say to what was sent before.
    pub async fn settle(&mut self) -> Vec<Value> {
        let alive = self.ask(json!({"type": "alive"})).await;
        assert_eq!(alive["type"], "alive");
        std::mem::take(&mut self.unread)
    }

    /// Waits for the server to close the socket, and ends the connection then.
    ///
    /// # Panics
    /// When it does not in time.
    pub async fn closed(&mut self) -> Closed {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                match self.next().await {
                    Ok(message) => self.unread.push(message),
                    Err(code) => return code,
                }
            }
        });
        let code = waited.await.expect("the server closes the socket in time");
        // An error means that the server has ended the connection already.
        let _ = self.socket.get_mut().shutdown().await;
        Closed {
            code,
            messages: std::mem::take(&mut self.unread),
        }
    }

    /// Cuts the connection without a word.
    pub fn cut(self) {
        drop(self);
    }

    async fn next(&mut self) -> Result<Value, Option<u16>> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    return Ok(serde_json::from_str(&text).expect("text frames are JSON"));
                }
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }
}

/// What every `error` message says.
fn check_error(message: &Value, code: &str, of: &str) {
    assert_eq!(message["type"], "error", "{of} was answered: {message}");
    assert_eq!(message["code"], code, "{of} was answered: {message}");
    let known: ErrorCode = code.parse().expect("the code is one of ours");
    assert_eq!(message["retryable"], known.is_retryable(), "{message}");
    assert!(
        message["title"]
            .as_str()
            .is_some_and(|title| !title.is_empty()),
        "{message}"
    );
}

fn authority(url: &str) -> &str {
    let rest = url.trim_start_matches("http://");
    rest.split('/').next().unwrap_or(rest)
}
