//! One WebSocket: messages in, frames out, and a close that arrives.

mod header;
mod mask;
mod message;
mod reader;

use super::{frames, outlet::Outlet};
use crate::pool::Pool;
use bytes::Bytes;
use protocol::message::CloseCode;
use reader::{Fault, Heard, Reader};
use std::{
    future::poll_fn,
    sync::Arc,
    task::{Poll, ready},
    time::{Duration, Instant},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// How long the server goes on reading after it has sent a close, so that the close arrives.
const LINGER: Duration = Duration::from_secs(2);

/// Bytes waiting in the queue above which the socket is not read: who does not read shall not make us answer.
const READ_BELOW: usize = 256 << 10;

/// What comes from the socket.
#[derive(Debug)]
pub(crate) enum Incoming {
    Text(String),
    Binary(Bytes),
    /// A ping or a pong.
    Life,
    TooBig,
    /// What arrived is not WebSocket.
    Malformed,
    /// The other side closed, or the connection broke.
    Gone,
}

/// A WebSocket: the half that reads, and what others may send on as well.
pub(crate) struct Wire<R, W> {
    reader: Reader<R>,
    outlet: Arc<Outlet<W>>,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin + Send> Wire<R, W> {
    /// A wire over both halves of a connection, from which `ahead` was read already.
    pub(crate) fn new(read: R, write: W, ahead: Bytes, pool: Pool) -> Self {
        Self {
            reader: Reader::new(read, ahead, pool),
            outlet: Arc::new(Outlet::new(write)),
        }
    }

    /// What others may send on.
    pub(crate) fn outlet(&self) -> Arc<Outlet<W>> {
        self.outlet.clone()
    }

    /// Queues a frame; [`turn`](Self::turn) sends it.
    pub(crate) fn send(&mut self, frame: Bytes) {
        self.outlet.push(frame);
    }

    /// Bytes that wait because the client does not read.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.outlet.queued_bytes()
    }

    /// Bytes that wait beside the largest frame: a long answer to a client that reads is no sign of a slow one.
    pub(crate) fn backlog(&self) -> usize {
        self.outlet.backlog()
    }

    /// When the last byte came, of a message that may not be whole yet; at first, when the wire was made.
    pub(crate) fn heard_at(&self) -> Instant {
        self.reader.read_at()
    }

    /// Whether it is for the server's sake that the socket is not read: so much waits for the client to read that it is not read
    /// itself, or there is no room for what it sends.
    pub(crate) fn is_held_up(&self) -> bool {
        self.is_backed_up() || self.reader.waits_for_room()
    }

    fn is_backed_up(&self) -> bool {
        self.queued_bytes() >= READ_BELOW
    }

    /// For how long something has been waiting without anything being sent.
    pub(crate) fn stalled_for(&self) -> Duration {
        self.outlet.stalled_for()
    }

    /// When [`tick`](Self::tick) is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.reader.patience_ends()
    }

    /// Does what is due by the clock.
    pub(crate) fn tick(&mut self) {
        self.reader.let_go_if_slow();
    }

    /// Sends what is queued and waits for what comes, if it may be read: a message of at most so many bytes. Without reading it
    /// never ends; it may be dropped at any time.
    pub(crate) async fn turn(&mut self, limit: Option<usize>) -> Incoming {
        poll_fn(|cx| {
            if let Poll::Ready(Err(_)) = self.outlet.poll_send(cx) {
                return Poll::Ready(Incoming::Gone);
            }
            match limit {
                Some(limit) if !self.is_backed_up() => {
                    let heard = ready!(self.reader.poll_next(limit, cx));
                    Poll::Ready(self.take(heard))
                }
                _ => Poll::Pending,
            }
        })
        .await
    }

    fn take(&mut self, heard: Result<Heard, Fault>) -> Incoming {
        match heard {
            Ok(Heard::Text(text)) => Incoming::Text(text),
            Ok(Heard::Binary(message)) => Incoming::Binary(message),
            Ok(Heard::Pong) => Incoming::Life,
            Ok(Heard::Ping(payload)) => {
                self.send(frames::pong(&payload));
                Incoming::Life
            }
            Ok(Heard::Close(code)) => {
                // Nothing may follow the answer to the close.
                self.outlet.finish_with(frames::close(code, ""));
                Incoming::Gone
            }
            Err(Fault::TooBig) => Incoming::TooBig,
            Err(Fault::Malformed) => Incoming::Malformed,
            Err(Fault::Gone) => Incoming::Gone,
        }
    }

    /// Leaves a client that is gone: if it has said so, it gets the answer that its closing handshake waits for.
    pub(crate) async fn leave(self) {
        self.outlet.end();
        let sent = poll_fn(|cx| self.outlet.poll_send(cx));
        // Whoever has not taken the answer by then will not.
        let _ = tokio::time::timeout(LINGER, sent).await;
    }

    /// Closes: sends what is queued, the close and the end of the stream, which a client waits for before it ends its own. Then
    /// reads on for a while without looking, so that the close is not lost in a reset of the connection.
    pub(crate) async fn close(mut self, code: CloseCode, reason: &'static str) {
        self.outlet.end();
        self.send(frames::close(Some(code.code()), reason));
        let farewell = async {
            if poll_fn(|cx| self.outlet.poll_send(cx)).await.is_ok() {
                let _ = poll_fn(|cx| self.outlet.poll_shutdown(cx)).await;
                let mut scratch = [0; 4096];
                let io = self.reader.io();
                while io.read(&mut scratch).await.is_ok_and(|read| read > 0) {}
            }
        };
        // Whoever has not taken the close by then will not.
        let _ = tokio::time::timeout(LINGER, Box::pin(farewell)).await;
    }
}

#[cfg(test)]
mod tests;
