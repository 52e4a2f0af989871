//! Opens a socket and says `connect`; frames go out through a task of its own, so that a server that reads slowly never
//! keeps the client from reading.

use super::{End, messages::parse};
use crate::{Error, ServerUrl, tls};
use bytes::Bytes;
use futures::{SinkExt, StreamExt, stream::SplitStream};
use protocol::{
    SUBPROTOCOL,
    message::{ClientMessage, Connect, Connected, ServerMessage},
};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self, Message,
        client::ClientRequestBuilder,
        http::{StatusCode, Uri},
        protocol::WebSocketConfig,
    },
};

/// Time for TCP, TLS and the upgrade.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);

/// Time from `connect` to `connected`.
const CONNECTED_DEADLINE: Duration = Duration::from_secs(20);

/// Time for the last frames when a session ends in order.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Frames between the session and the socket: one is written while the next is made.
const FRAMES: usize = 2;

/// Largest message accepted, bytes: a page of 1000 files with long descriptions fits.
const MAX_MESSAGE: usize = 16 << 20;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

type Stream = WebSocketStream<Box<dyn Io>>;

/// An open socket.
pub(super) struct Socket {
    incoming: SplitStream<Stream>,
    pub(super) frames: mpsc::Sender<Message>,
    writer: JoinHandle<()>,
}

/// What comes out of a socket.
pub(super) enum Incoming {
    /// A message.
    Message(Box<ServerMessage>),
    /// Anything else: it shows that the server lives.
    Life,
    /// Nothing follows.
    End(End),
}

impl Socket {
    /// Opens a socket and a session in it.
    pub(super) async fn open(
        server: &ServerUrl,
        connect: Connect,
    ) -> Result<(Self, Box<Connected>), End> {
        let lost = || End::Lost(format!("no answer within {} s", OPEN_DEADLINE.as_secs()));
        let stream = timeout(OPEN_DEADLINE, upgrade(server))
            .await
            .map_err(|_| lost())??;
        let (mut sink, incoming) = stream.split();
        let (frames, mut to_write) = mpsc::channel::<Message>(FRAMES);
        let writer = tokio::spawn(async move {
            while let Some(frame) = to_write.recv().await {
                if sink.send(frame).await.is_err() {
                    // The reading side sees why.
                    return;
                }
            }
        });
        let mut socket = Self {
            incoming,
            frames,
            writer,
        };
        let lost = || {
            End::Lost(format!(
                "no `connected` within {} s",
                CONNECTED_DEADLINE.as_secs()
            ))
        };
        let connected = timeout(CONNECTED_DEADLINE, socket.connect(connect))
            .await
            .map_err(|_| lost())??;
        Ok((socket, connected))
    }

    async fn connect(&mut self, connect: Connect) -> Result<Box<Connected>, End> {
        let id = connect.id;
        self.send(&ClientMessage::Connect(connect)).await;
        let mut refusal = None;
        loop {
            match self.next().await {
                Incoming::Message(message) => match *message {
                    ServerMessage::Connected(connected) if connected.id == id => {
                        return Ok(Box::new(connected));
                    }
                    // The close that follows says what to do about it.
                    ServerMessage::Error(error) if error.id == Some(id) => {
                        refusal = Some(error.refusal);
                    }
                    _ => {}
                },
                Incoming::Life => {}
                Incoming::End(End::Closed { code, reason, .. }) => {
                    let told = refusal.as_ref().and_then(|refusal| refusal.retry_after_ms);
                    return Err(End::Closed {
                        code,
                        reason: refusal.map_or(reason, |refusal| refusal.to_string()),
                        retry_after: told.map(Duration::from_millis),
                    });
                }
                Incoming::End(end) => return Err(end),
            }
        }
    }

    async fn send(&self, message: &ClientMessage) {
        // A writer that is gone shows on the reading side.
        let _ = self.frames.send(text(message)).await;
    }

    /// The next thing that comes in.
    pub(super) async fn next(&mut self) -> Incoming {
        match self.incoming.next().await {
            Some(Ok(Message::Text(text))) => parse(&text).map_or(Incoming::Life, |message| {
                Incoming::Message(Box::new(message))
            }),
            Some(Ok(Message::Close(Some(close)))) => {
                let (code, reason) = (close.code.into(), close.reason.to_string());
                Incoming::End(End::Closed {
                    code,
                    reason,
                    retry_after: None,
                })
            }
            Some(Ok(Message::Close(None))) | None => {
                Incoming::End(End::Lost("the connection was closed".to_owned()))
            }
            Some(Ok(_)) => Incoming::Life,
            Some(Err(error)) => Incoming::End(End::Lost(format!("the connection broke: {error}"))),
        }
    }

    /// Ends the session in order.
    pub(super) async fn close(mut self) {
        let farewell = async {
            let _ = self.frames.send(Message::Close(None)).await;
            while !matches!(self.next().await, Incoming::End(_)) {}
        };
        // A server that does not answer is left without a word.
        let _ = timeout(CLOSE_DEADLINE, farewell).await;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

/// A message as a text frame.
pub(super) fn text(message: &ClientMessage) -> Message {
    // Only maps with keys that are no strings can fail to serialise; no message has one.
    Message::text(serde_json::to_string(message).unwrap_or_default())
}

/// A chunk frame as a binary frame.
pub(super) fn binary(frame: Bytes) -> Message {
    Message::Binary(frame)
}

async fn upgrade(server: &ServerUrl) -> Result<Stream, End> {
    let incompatible = |reason: String| {
        End::Fatal(Error::Incompatible {
            server: server.to_string(),
            reason,
        })
    };
    let uri: Uri = server
        .socket()
        .as_str()
        .parse()
        .map_err(|error| incompatible(format!("{error}")))?;
    let request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
    let stream = dial(server)
        .await
        .map_err(|error| End::Lost(error.to_string()))?;
    let config = WebSocketConfig::default()
        .read_buffer_size(16 << 10)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    match client_async_with_config(request, stream, Some(config)).await {
        Ok((stream, _)) => Ok(stream),
        Err(tungstenite::Error::Http(response)) => match response.status() {
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Err(End::Lost(format!("the server answers {status}")))
            }
            status => Err(incompatible(format!(
                "it answers {status} where a Sluice server has its socket"
            ))),
        },
        Err(tungstenite::Error::Protocol(error)) if !is_network(&error) => {
            Err(incompatible(error.to_string()))
        }
        Err(error) => Err(End::Lost(error.to_string())),
    }
}

/// Whether it is rather the network's fault than the server's.
fn is_network(error: &tungstenite::error::ProtocolError) -> bool {
    use tungstenite::error::ProtocolError;
    matches!(
        error,
        ProtocolError::HandshakeIncomplete | ProtocolError::ResetWithoutClosingHandshake
    )
}

async fn dial(server: &ServerUrl) -> io::Result<Box<dyn Io>> {
    let (host, port) = server.host_and_port();
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    if !server.is_tls() {
        return Ok(Box::new(stream));
    }
    let config = tls::config().map_err(io::Error::other)?;
    let name =
        rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(&config));
    Ok(Box::new(connector.connect(name, stream).await?))
}
