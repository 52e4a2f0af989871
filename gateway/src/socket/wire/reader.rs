//! What a client sends, frame by frame (RFC 6455, the server's side), put together to messages.
//!
//! The bytes of a large binary message go from the socket straight into a buffer of the [`Pool`] and are unmasked there. Between
//! messages nothing is held.

use super::{
    header::{Frame, Op},
    mask::unmask,
    message::{Body, Message, append, closing},
};
use crate::pool::{AHEAD, Pool, Room, SMALL};
use bytes::Bytes;
use std::{
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes read at once where nothing better is known.
const SCRATCH: usize = 4096;

/// How long a message may take to arrive in a buffer of the pool. Of a slower sender only what has arrived is held.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a client has sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Text(String),
    Binary(Bytes),
    Ping(Vec<u8>),
    Pong,
    /// It closes; to be answered with this code, if there is one.
    Close(Option<u16>),
}

/// Why nothing more can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    TooBig,
    /// It is not WebSocket.
    Malformed,
    /// The connection has ended.
    Gone,
}

/// Reads one socket.
pub(super) struct Reader<R> {
    io: R,
    pool: Pool,
    /// What was read beyond what it was read for.
    ahead: Bytes,
    frame: Option<Frame>,
    /// The payload of a control frame.
    control: Vec<u8>,
    /// The message that is being put together.
    message: Option<Message>,
    /// Waiting for room in memory.
    acquiring: Option<Pin<Box<dyn Future<Output = Room> + Send>>>,
    /// Whether the last large message took its time.
    is_slow: bool,
    read_at: Instant,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// A reader of `io`, from which `ahead` was read already.
    pub(super) fn new(io: R, ahead: Bytes, pool: Pool) -> Self {
        Self {
            io,
            pool,
            ahead,
            frame: None,
            control: Vec::new(),
            message: None,
            acquiring: None,
            is_slow: false,
            read_at: Instant::now(),
        }
    }

    pub(super) fn io(&mut self) -> &mut R {
        &mut self.io
    }

    /// When the last byte came, of a message that may not be whole yet; at first, when the reader was made.
    pub(super) fn read_at(&self) -> Instant {
        self.read_at
    }

    /// Whether it is not the client that is waited for, but room in memory.
    pub(super) fn waits_for_room(&self) -> bool {
        self.acquiring.is_some()
    }

    /// When a message that has begun to arrive is to be taken for a slow sender's.
    pub(super) fn patience_ends(&self) -> Option<Instant> {
        let message = self.message.as_ref()?;
        matches!(message.body, Body::Pooled(_)).then(|| message.begun + PATIENCE)
    }

    /// Frees the buffer of a message that arrives slowly: what is there goes to memory that grows with it.
    pub(super) fn let_go_if_slow(&mut self) {
        if let Some(message) = &mut self.message
            && let Body::Pooled(buffer) = &message.body
            && message.begun.elapsed() >= PATIENCE
        {
            message.body = Body::Plain(buffer.bytes().to_vec());
            self.is_slow = true;
        }
    }

    /// The next message, of at most `limit` bytes, or control frame.
    pub(super) fn poll_next(
        &mut self,
        limit: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Heard, Fault>> {
        loop {
            if self.frame.is_none() && !self.begin_frame(limit)? {
                ready!(self.poll_ahead(cx))?;
                continue;
            }
            ready!(self.poll_place(cx));
            ready!(self.poll_payload(cx))?;
            if let Some(heard) = ready!(self.poll_end(cx))? {
                return Poll::Ready(Ok(heard));
            }
        }
    }

    /// Begins a frame if its header is here.
    fn begin_frame(&mut self, limit: usize) -> Result<bool, Fault> {
        let Some((frame, length)) = Frame::parse(&self.ahead, limit)? else {
            return Ok(false);
        };
        // Splitting lets go of the memory with the last byte, advancing would not.
        drop(self.ahead.split_to(length));
        match (frame.op, &self.message) {
            (Op::Continue, None) | (Op::Text | Op::Binary, Some(_)) => {
                return Err(Fault::Malformed);
            }
            (Op::Continue, Some(message)) if frame.left > limit - message.len().min(limit) => {
                return Err(Fault::TooBig);
            }
            (Op::Text, None) => self.message = Some(Message::text()),
            (Op::Binary, None) if frame.left <= SMALL || self.is_slow => {
                self.message = Some(Message::binary(Body::Plain(Vec::new())));
            }
            (Op::Binary, None) => {
                // What follows is not known yet: there may be a message of any size.
                let len = if frame.is_last { frame.left } else { limit };
                self.message = Some(Message::binary(Body::Unplaced(Pool::kind_for(len))));
            }
            (Op::Continue | Op::Ping | Op::Pong | Op::Close, _) => {}
        }
        self.frame = Some(frame);
        Ok(true)
    }

    /// Finds a place for a message that wants a buffer.
    fn poll_place(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(Message {
            body: Body::Unplaced(kind),
            ..
        }) = self.message
        else {
            return Poll::Ready(());
        };
        let room = ready!(self.poll_room(self.pool.size_of(kind), cx));
        if let Some(message) = &mut self.message {
            message.body = Body::Pooled(self.pool.buffer(kind, room));
            message.begun = Instant::now();
        }
        Poll::Ready(())
    }

    fn poll_room(&mut self, bytes: usize, cx: &mut Context<'_>) -> Poll<Room> {
        if self.acquiring.is_none() {
            if let Some(room) = self.pool.try_room(bytes) {
                return Poll::Ready(room);
            }
            self.acquiring = Some(Box::pin(self.pool.clone().room(bytes)));
        }
        let Some(acquiring) = &mut self.acquiring else {
            return Poll::Pending;
        };
        let room = ready!(acquiring.as_mut().poll(cx));
        self.acquiring = None;
        // Time in which the server does not read never counts as the client's silence.
        self.read_at = Instant::now();
        Poll::Ready(room)
    }

    /// Reads the rest of the frame's payload.
    fn poll_payload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        while let Some(frame) = &mut self.frame
            && frame.left > 0
        {
            if self.ahead.is_empty() {
                ready!(self.poll_more(cx))?;
                continue;
            }
            let piece = self.ahead.split_to(frame.left.min(self.ahead.len()));
            let placed = match (&mut self.message, frame.op.is_control()) {
                (Some(message), false) => message.body.append(&piece),
                _ => append(&mut self.control, &piece),
            };
            frame.key = unmask(placed, frame.key);
            frame.left -= piece.len();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads more of a frame: into the message's buffer if it has one, else ahead.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let (
            Some(frame),
            Some(Message {
                body: Body::Pooled(buffer),
                ..
            }),
        ) = (&mut self.frame, &mut self.message)
        else {
            return self.poll_ahead(cx);
        };
        if frame.op.is_control() {
            return self.poll_ahead(cx);
        }
        let mut room = ReadBuf::new(buffer.spare(frame.left + AHEAD));
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut room));
        let count = room.filled().len();
        if read.is_err() || count == 0 {
            return Poll::Ready(Err(Fault::Gone));
        }
        self.read_at = Instant::now();
        let own = count.min(frame.left);
        self.ahead = Bytes::copy_from_slice(&room.filled()[own..]);
        frame.key = unmask(buffer.fill(own), frame.key);
        frame.left -= own;
        Poll::Ready(Ok(()))
    }

    /// Reads what is there, if anything is.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        // On the stack: whoever waits for a client holds no memory for it.
        let mut scratch = [MaybeUninit::uninit(); SCRATCH];
        let mut scratch = ReadBuf::uninit(&mut scratch);
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut scratch));
        let fresh = scratch.filled();
        if read.is_err() || fresh.is_empty() {
            return Poll::Ready(Err(Fault::Gone));
        }
        self.read_at = Instant::now();
        self.ahead = if self.ahead.is_empty() {
            Bytes::copy_from_slice(fresh)
        } else {
            [&self.ahead, fresh].concat().into()
        };
        Poll::Ready(Ok(()))
    }

    /// Ends a frame; answers what has come with it, if it is the last one of it.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Heard>, Fault>> {
        let Some(frame) = &self.frame else {
            return Poll::Ready(Ok(None));
        };
        let heard = match (frame.op, &mut self.message) {
            (Op::Ping, _) => Some(Heard::Ping(std::mem::take(&mut self.control))),
            (Op::Pong, _) => Some(Heard::Pong),
            (Op::Close, _) => Some(closing(&self.control)?),
            (_, Some(message)) if !frame.is_last => {
                message.check_so_far()?;
                None
            }
            _ => ready!(self.poll_whole(cx))?,
        };
        self.frame = None;
        self.control = Vec::new();
        Poll::Ready(Ok(heard))
    }

    /// Answers the message that is whole, once there is room for it.
    fn poll_whole(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Heard>, Fault>> {
        let Some(message) = &self.message else {
            return Poll::Ready(Ok(None));
        };
        let (len, begun, is_text) = (message.len(), message.begun, message.is_text);
        let is_unaccounted = !is_text && matches!(message.body, Body::Plain(_));
        if len > SMALL && !self.waits_for_room() {
            self.is_slow = self.read_at.saturating_duration_since(begun) >= PATIENCE;
        }
        let room = match is_unaccounted {
            true => Some(ready!(self.poll_room(len, cx))),
            false => None,
        };
        let heard = self.message.take().map(|message| message.finish(room));
        Poll::Ready(heard.transpose())
    }
}

#[cfg(test)]
mod tests;
