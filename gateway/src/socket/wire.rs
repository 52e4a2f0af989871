//! One WebSocket: frames in and out, a bounded queue for a slow reader, and a close that arrives.

use super::heard::Heard;
use futures::{Sink, Stream};
use protocol::message::CloseCode;
use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Bytes, Error, Message, Utf8Bytes,
        error::CapacityError,
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};

/// How long the server goes on reading after it has sent a close, so that the close arrives.
const LINGER: Duration = Duration::from_secs(2);

/// Bytes waiting in the queue above which the socket is not read: who does not read shall not make us answer.
const READ_BELOW: usize = 256 << 10;

/// What comes from the socket.
#[derive(Debug)]
pub(crate) enum Incoming {
    Text(Utf8Bytes),
    Binary(Bytes),
    /// A ping or a pong.
    Life,
    TooBig,
    /// What arrived is not WebSocket.
    Malformed,
    /// The other side closed, or the connection broke.
    Gone,
}

/// A WebSocket and what waits to be sent on it.
pub(crate) struct Wire<S> {
    socket: WebSocketStream<Heard<S>>,
    queue: VecDeque<Message>,
    queued_bytes: usize,
    needs_flush: bool,
    /// Since when something waits and nothing could be sent.
    stalled: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) async fn new(io: S, max_message: usize) -> Self {
        // Small buffers: a server with ten thousand idle sockets keeps ten thousand of them.
        let config = WebSocketConfig::default()
            .read_buffer_size(8 << 10)
            .write_buffer_size(8 << 10)
            .max_write_buffer_size(usize::MAX)
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message));
        let io = Heard::new(io);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        Self {
            socket,
            queue: VecDeque::new(),
            queued_bytes: 0,
            needs_flush: false,
            stalled: None,
        }
    }

    /// Queues a message; [`turn`](Self::turn) sends it.
    pub(crate) fn send(&mut self, message: Message) {
        self.queued_bytes += message.len();
        self.queue.push_back(message);
    }

    /// Bytes that wait because the client does not read.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// When the last byte came, of a message that may not be whole yet; at first, when the wire was made.
    pub(crate) fn heard_at(&self) -> Instant {
        self.socket.get_ref().at()
    }

    /// Whether so much waits for the client to read that it is not read itself.
    pub(crate) fn is_backed_up(&self) -> bool {
        self.queued_bytes >= READ_BELOW
    }

    /// For how long something has been waiting without anything being sent.
    pub(crate) fn stalled_for(&self) -> Duration {
        self.stalled.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Sends what is queued and, if asked to, waits for what comes. Without reading it never ends; it may be dropped at any time.
    pub(crate) async fn turn(&mut self, read: bool) -> Incoming {
        poll_fn(|cx| {
            if self.poll_send(cx).is_err() {
                return Poll::Ready(Incoming::Gone);
            }
            if read && !self.is_backed_up() {
                self.poll_read(cx)
            } else {
                Poll::Pending
            }
        })
        .await
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let mut socket = Pin::new(&mut self.socket);
        while !self.queue.is_empty() {
            let Poll::Ready(ready) = socket.as_mut().poll_ready(cx) else {
                self.stalled.get_or_insert_with(Instant::now);
                return Ok(());
            };
            ready?;
            if let Some(message) = self.queue.pop_front() {
                self.queued_bytes -= message.len();
                socket.as_mut().start_send(message)?;
                self.needs_flush = true;
            }
        }
        if self.needs_flush {
            match socket.poll_flush(cx) {
                Poll::Pending => {
                    self.stalled.get_or_insert_with(Instant::now);
                    return Ok(());
                }
                Poll::Ready(flushed) => flushed?,
            }
            self.needs_flush = false;
        }
        self.stalled = None;
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        let Poll::Ready(read) = Pin::new(&mut self.socket).poll_next(cx) else {
            return Poll::Pending;
        };
        Poll::Ready(match read {
            Some(Ok(Message::Text(text))) => Incoming::Text(text),
            Some(Ok(Message::Binary(bytes))) => Incoming::Binary(bytes),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                // tungstenite has queued the pong; the next flush sends it.
                self.needs_flush = true;
                Incoming::Life
            }
            Some(Err(Error::Capacity(CapacityError::MessageTooLong { .. }))) => Incoming::TooBig,
            Some(Err(Error::Protocol(_) | Error::Utf8(_))) => Incoming::Malformed,
            Some(Ok(Message::Close(_)) | Err(_)) | None => Incoming::Gone,
        })
    }

    /// Closes: sends what is queued and the close, then reads on for a while without looking, so that the close is not lost in a
    /// reset of the connection.
    pub(crate) async fn close(mut self, code: CloseCode, reason: &'static str) {
        self.send(Message::Close(Some(CloseFrame {
            code: code.code().into(),
            reason: reason.into(),
        })));
        let farewell = async {
            let sent = poll_fn(|cx| match self.poll_send(cx) {
                Ok(()) if self.queue.is_empty() && !self.needs_flush => Poll::Ready(true),
                Ok(()) => Poll::Pending,
                Err(_) => Poll::Ready(false),
            });
            if sent.await {
                let io = self.socket.get_mut();
                let _ = tokio::io::AsyncWriteExt::flush(io).await;
                let mut scratch = [0; 4096];
                while io.read(&mut scratch).await.is_ok_and(|read| read > 0) {}
            }
        };
        // Whoever has not taken the close by then will not.
        let _ = tokio::time::timeout(LINGER, farewell).await;
    }
}
