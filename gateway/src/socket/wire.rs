//! One WebSocket: frames in and out, a bounded queue for a slow reader, and a close that arrives.

use super::timed::Timed;
use futures::{Sink, Stream};
use protocol::message::CloseCode;
use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Bytes, Error, Message, Utf8Bytes,
        error::{CapacityError, ProtocolError},
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
    socket: WebSocketStream<Timed<S>>,
    queue: VecDeque<Message>,
    queued_bytes: usize,
    needs_flush: bool,
    /// Since when something waits.
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
        let io = Timed::new(io);
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

    /// Bytes that wait beside the largest message: a long answer to a client that reads is no sign of a slow one.
    pub(crate) fn backlog(&self) -> usize {
        let largest = self.queue.iter().map(Message::len).max();
        self.queued_bytes - largest.unwrap_or(0)
    }

    /// When the last byte came, of a message that may not be whole yet; at first, when the wire was made.
    pub(crate) fn heard_at(&self) -> Instant {
        self.socket.get_ref().read_at()
    }

    /// Whether so much waits for the client to read that it is not read itself.
    pub(crate) fn is_backed_up(&self) -> bool {
        self.queued_bytes >= READ_BELOW
    }

    /// For how long something has been waiting without anything being sent.
    pub(crate) fn stalled_for(&self) -> Duration {
        let written = self.socket.get_ref().written_at();
        self.stalled
            .map_or(Duration::ZERO, |since| since.max(written).elapsed())
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
            // The connection broke in the middle of a frame, or without a close.
            Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => {
                Incoming::Gone
            }
            Some(Err(Error::Protocol(_) | Error::Utf8(_))) => Incoming::Malformed,
            Some(Ok(Message::Close(_))) => {
                // Nothing may follow tungstenite's answer to the close.
                self.queue.clear();
                self.needs_flush = true;
                Incoming::Gone
            }
            Some(Err(_)) | None => Incoming::Gone,
        })
    }

    /// Leaves a client that is gone: if it has said so, it gets the answer that its closing handshake waits for.
    pub(crate) async fn leave(mut self) {
        let answered = poll_fn(|cx| match self.poll_send(cx) {
            Ok(()) if self.needs_flush => Poll::Pending,
            _ => Poll::Ready(()),
        });
        // Whoever has not taken the answer by then will not.
        let _ = tokio::time::timeout(LINGER, answered).await;
    }

    /// Closes: sends what is queued, the close and the end of the stream, which a client waits for before it ends its own. Then
    /// reads on for a while without looking, so that the close is not lost in a reset of the connection.
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
                let _ = io.shutdown().await;
                let mut scratch = [0; 4096];
                while io.read(&mut scratch).await.is_ok_and(|read| read > 0) {}
            }
        };
        // Whoever has not taken the close by then will not.
        let _ = tokio::time::timeout(LINGER, farewell).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{SinkExt, StreamExt};
    use tokio::io::DuplexStream;

    /// A wire and its client; the line between them holds `room` bytes.
    async fn connected(room: usize) -> (Wire<DuplexStream>, WebSocketStream<DuplexStream>) {
        let (ours, theirs) = tokio::io::duplex(room);
        let client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        (Wire::new(ours, 1 << 16).await, client)
    }

    #[tokio::test]
    async fn a_client_that_closes_is_answered() {
        let (mut wire, mut client) = connected(1024).await;
        wire.send(Message::text("late"));
        client.send(Message::Close(None)).await.unwrap();
        assert!(matches!(wire.turn(true).await, Incoming::Gone));
        wire.leave().await;
        let mut last = None;
        while let Some(Ok(message)) = client.next().await {
            last = Some(message);
        }
        assert!(matches!(last, Some(Message::Close(_))), "{last:?}");
    }

    #[tokio::test]
    async fn a_client_that_reads_slowly_has_not_stalled() {
        let (mut wire, mut client) = connected(64).await;
        for _ in 0..100 {
            wire.send(Message::text("x".repeat(1000)));
        }
        let waits_since = async |wire: &mut Wire<_>| {
            assert!(futures::poll!(std::pin::pin!(wire.turn(false))).is_pending());
            let written = wire.socket.get_ref().written_at();
            wire.stalled
                .expect("more waits than the line holds")
                .max(written)
        };
        let before = waits_since(&mut wire).await;
        assert!(
            futures::poll!(client.next()).is_pending(),
            "it takes what is on the line"
        );
        let after = waits_since(&mut wire).await;
        assert!(after > before, "something was sent meanwhile");
    }

    #[tokio::test]
    async fn a_close_is_followed_by_the_end_of_the_stream() {
        let (wire, mut client) = connected(1024).await;
        let closing = tokio::spawn(wire.close(CloseCode::Restart, "the server restarts"));
        let farewell = async {
            assert!(matches!(client.next().await, Some(Ok(Message::Close(_)))));
            assert!(client.next().await.is_none());
        };
        tokio::time::timeout(LINGER / 2, farewell)
            .await
            .expect("the client need not wait until the server gives up reading");
        drop(client);
        closing.await.unwrap();
    }

    #[tokio::test]
    async fn a_long_answer_alone_is_no_backlog() {
        let (mut wire, _client) = connected(64).await;
        for (len, backlog) in [(10, 0), (1 << 24, 10), (20, 30)] {
            wire.send(Message::text("x".repeat(len)));
            assert_eq!(wire.backlog(), backlog);
        }
    }

    #[tokio::test]
    async fn a_wire_that_was_backed_up_reads_again_once_the_client_does() {
        let (mut wire, mut client) = connected(1 << 10).await;
        wire.send(Message::text("x".repeat(READ_BELOW)));
        assert!(wire.is_backed_up());
        let client = async {
            client.next().await.unwrap().unwrap();
            client.send(Message::text("here")).await.unwrap();
            client
        };
        let (incoming, _client) = tokio::join!(wire.turn(true), client);
        assert!(matches!(incoming, Incoming::Text(text) if text.as_str() == "here"));
    }
}
