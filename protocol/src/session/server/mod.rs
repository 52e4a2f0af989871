//! The gateway's side of a session: which messages are answered how, what is stored, when the socket is closed.
//!
//! A [`Session`] is fed with [`Input`] (frames from the socket and answers from the driver) and hands out [`Output`]
//! (messages to send and work for the driver). It does no I/O and reads no clock. The driver
//! - reads the socket only while [`Session::wants_input`], which is how a slow store slows the sender down,
//! - calls [`Session::tick`] at [`Session::deadline`],
//! - answers every piece of work exactly once.

mod inbound;
mod life;
mod outcome;
mod stream;
#[cfg(test)]
mod tests;

use crate::{
    Digest,
    error::Refusal,
    identity::Caller,
    ids::{FileId, SessionId, UploadId},
    message::{
        ClientInfo, CloseCode, Connected, ConnectedUser, ErrorMessage, GetHistory, Limits,
        RequestId, ServerMessage, Start, StreamId, Subscribe, Unsubscribe,
    },
    state::TransferStatus,
    topic::{Since, TopicState},
};
use bytes::Bytes;
use jiff::Timestamp;
use life::Life;
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};
use stream::{State, Stream};

/// Chunks of all streams received and not yet stored, at which reading pauses: bytes alone would let tiny chunks, each with
/// the overhead of a message, fill the memory.
const MAX_CHUNKS_IN_FLIGHT: usize = 1024;

/// A moment on both clocks: the driver's monotonic one and the calendar's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Time since any fixed origin; never goes back.
    pub elapsed: Duration,
    /// The calendar's time.
    pub wall: Timestamp,
}

/// What a session may do and how long it may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Advertised to the client in `connected`.
    pub limits: Limits,
    /// Payload size that `transfer-started` recommends, bytes.
    pub chunk_bytes: u64,
    /// Time between pings; silence for two is the end.
    pub heartbeat: Duration,
    /// Time within which a valid `connect` must come.
    pub connect_deadline: Duration,
    /// Largest message before `connected`, bytes.
    pub max_message_before_connected: usize,
    /// Received and not yet stored bytes of all streams together, at which reading pauses.
    pub session_window_bytes: u64,
    /// Requests being worked on, at which reading pauses.
    pub max_pending_requests: usize,
    /// How long before its expiry a token is announced to expire.
    pub token_warning: Duration,
}

/// Names one use of a stream number, since clients may use a number again: answers for an earlier use are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamUse {
    /// The client's number.
    pub stream: StreamId,
    /// Counts the uses in this session.
    pub serial: u64,
}

/// What a driver found a `connect` to be good for.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The session's new id.
    pub session_id: SessionId,
    /// Who connects.
    pub caller: Caller,
    /// When the token expires.
    pub expires_at: Timestamp,
    /// The topics that are always on.
    pub topics: Vec<TopicState>,
}

/// An upload that a driver opened, resumed, or found ended.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The upload.
    pub upload_id: UploadId,
    /// The file it is or becomes.
    pub file_id: FileId,
    /// The announced size, bytes.
    pub size: u64,
    /// Bytes held.
    pub offset: u64,
    /// How it stands.
    pub status: TransferStatus,
    /// When it expires if it is still open then.
    pub expires_at: Timestamp,
    /// What later requests are refused with, if it ended without becoming a file.
    pub ended: Option<Refusal>,
}

/// The file that a completed upload became.
#[derive(Clone, Debug)]
pub struct Completed {
    /// The upload.
    pub upload_id: UploadId,
    /// The file.
    pub file_id: FileId,
    /// Its size, bytes.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
}

/// What happens to a session.
#[derive(Debug)]
pub enum Input {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Bytes),
    /// Any other sign of life: a ping, a pong.
    Life,
    /// The answer to [`Output::Authenticate`].
    Authenticated(Result<Box<Admission>, Refusal>),
    /// The answer to [`Output::Start`].
    Started(StreamUse, Result<Box<Opened>, Refusal>),
    /// Bytes of a stream were stored, up to the given offset; or the store failed. Answers all [`Output::Store`] before it.
    Stored(StreamUse, Result<u64, Refusal>),
    /// The answer to [`Output::Complete`].
    Completed(CompleteRef, Result<Box<Completed>, Refusal>),
    /// The answer to [`Output::Abort`].
    Aborted(RequestId, UploadId, Result<(), Refusal>),
    /// The answer to a request that the driver works on by itself.
    Replied(Box<ServerMessage>),
    /// The answer to [`Output::Refresh`].
    Refreshed(RequestId, Result<Timestamp, Refusal>),
    /// Another stream, here or elsewhere, has taken this one's upload over.
    Superseded(StreamUse),
    /// The user has logged out.
    Revoked,
    /// The server is going to restart: finish what is begun, take nothing new.
    Drain {
        /// When the client should come back.
        retry_after: Duration,
    },
}

/// Which request to complete an upload an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompleteRef {
    /// The request.
    pub id: RequestId,
    /// The upload.
    pub upload_id: UploadId,
    /// The stream that holds it in this session, if one does.
    pub stream: Option<StreamUse>,
}

/// What a session wants done.
#[derive(Debug)]
pub enum Output {
    /// Send this message.
    Send(Box<ServerMessage>),
    /// Send a ping.
    Ping,
    /// Close the socket; nothing follows.
    Close {
        /// Why, as a number.
        code: CloseCode,
        /// Why, in words.
        reason: &'static str,
    },
    /// Verify the token (the upgrade's if there is none here) and answer [`Input::Authenticated`].
    Authenticate {
        /// The token in the message.
        token: Option<String>,
        /// What the client has seen.
        since: Since,
        /// What the client is.
        client: ClientInfo,
    },
    /// Open or resume an upload and answer [`Input::Started`].
    Start(StreamUse, Start),
    /// Store bytes; offsets of one stream come in order, without gaps but after a failure. Answer [`Input::Stored`].
    Store {
        /// The stream.
        of: StreamUse,
        /// Where the payload begins.
        offset: u64,
        /// Bytes that fit their checksum.
        payload: Bytes,
        /// Their CRC-32C.
        crc: u32,
    },
    /// All bytes of the upload are stored: make it a file and answer [`Input::Completed`]. Without a stream, the session does not
    /// hold the upload; it may have ended, or its bytes may all be held.
    Complete {
        /// The request.
        of: CompleteRef,
        /// The digest that came with it.
        digest: Option<Digest>,
    },
    /// Give the upload up and answer [`Input::Aborted`].
    Abort(RequestId, UploadId),
    /// The upload is refused for its content; no answer.
    Reject(UploadId, Refusal),
    /// The stream is over: let go of what it holds; no answer.
    Release(StreamUse),
    /// Answer with [`Input::Replied`].
    History(GetHistory),
    /// Answer with [`Input::Replied`].
    Subscribe(Subscribe),
    /// Answer with [`Input::Replied`].
    Unsubscribe(Unsubscribe),
    /// Verify the token and answer [`Input::Refreshed`] with its expiry; another user's is `forbidden`.
    Refresh {
        /// The request.
        id: RequestId,
        /// The fresh token.
        token: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Waiting for `connect`.
    Fresh,
    /// Waiting for the driver to verify the token of this `connect`.
    Authenticating(RequestId),
    /// Open.
    Connected(Box<Caller>),
    /// Close is sent.
    Closed,
}

/// One session, from the upgrade to the close.
pub struct Session {
    rules: Rules,
    phase: Phase,
    life: Life,
    streams: HashMap<StreamId, Stream>,
    /// Those of them that are open or being opened.
    live: BTreeSet<StreamId>,
    /// Streams that are over and remembered only so that late chunks and requests get the right answer; oldest first.
    over: VecDeque<StreamUse>,
    next_serial: u64,
    pending_requests: usize,
    /// Received and not yet stored bytes of all streams.
    in_flight: u64,
    draining: bool,
    outputs: VecDeque<Output>,
}

impl Session {
    /// A session whose socket was opened at `now`.
    #[must_use]
    pub fn new(rules: Rules, now: Moment) -> Self {
        Self {
            rules,
            phase: Phase::Fresh,
            life: Life::new(&rules, now),
            streams: HashMap::new(),
            live: BTreeSet::new(),
            over: VecDeque::new(),
            next_serial: 0,
            pending_requests: 0,
            in_flight: 0,
            draining: false,
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input; what is to be done about it is then in [`poll`](Self::poll).
    pub fn handle(&mut self, input: Input, now: Moment) {
        if self.phase == Phase::Closed {
            return;
        }
        let read_before = self.wants_input();
        if matches!(input, Input::Text(_) | Input::Binary(_) | Input::Life) {
            self.life.heard(now);
        }
        match input {
            Input::Text(text) => self.on_text(&text, now),
            Input::Binary(message) => self.on_binary(message),
            Input::Life => {}
            other => self.on_answer(other, now),
        }
        self.finish_draining();
        if !read_before && self.wants_input() {
            // Time in which the server was not reading never counts as the client's silence.
            self.life.heard(now);
        }
    }

    /// Does what is due by the clock. Call it at [`deadline`](Self::deadline).
    pub fn tick(&mut self, now: Moment) {
        if self.phase == Phase::Closed {
            return;
        }
        if !self.wants_input() {
            self.life.heard(now);
        }
        let late =
            |(stream, ack_by): (StreamId, Duration)| (ack_by <= now.elapsed).then_some(stream);
        for stream in self.acks().filter_map(late).collect::<Vec<_>>() {
            self.acknowledge(stream, now);
        }
        match self.life.tick(now, self.is_connected()) {
            None => {}
            Some(life::Due::Ping) => self.outputs.push_back(Output::Ping),
            Some(life::Due::NotConnected) => {
                self.close(CloseCode::Unauthenticated, "no connect in time");
            }
            Some(life::Due::Silent) => self.close(CloseCode::Timeout, "no sign of life"),
            Some(life::Due::TokenExpiring(expires_at)) => {
                self.send(ServerMessage::TokenExpiring(
                    crate::message::TokenExpiring { expires_at },
                ));
            }
            Some(life::Due::TokenExpired) => {
                self.close(CloseCode::Unauthenticated, "the token has expired");
            }
        }
    }

    /// When [`tick`](Self::tick) is due next, on the monotonic clock.
    #[must_use]
    pub fn deadline(&self, now: Moment) -> Duration {
        let life = self.life.deadline(now, self.is_connected());
        self.acks()
            .map(|(_, ack_by)| ack_by)
            .fold(life, Duration::min)
    }

    /// The streams of which something is stored that the client was not told, and when it is to be at the latest.
    fn acks(&self) -> impl Iterator<Item = (StreamId, Duration)> {
        self.live.iter().filter_map(|stream| {
            let State::Open(open) = &self.streams.get(stream)?.state else {
                return None;
            };
            Some((*stream, open.ack_by()?))
        })
    }

    /// The next thing to do, if there is one.
    pub fn poll(&mut self) -> Option<Output> {
        let next = self.outputs.pop_front();
        if next.is_none() {
            // Sessions are idle most of the time, and then keep no memory for what is to be done.
            self.outputs = VecDeque::new();
        }
        next
    }

    /// Whether the driver should read the socket: not while verifying the token, while bytes or requests in flight are at
    /// their bound, while draining, or after the close.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        match self.phase {
            Phase::Fresh => true,
            Phase::Authenticating(_) | Phase::Closed => false,
            Phase::Connected(_) => {
                !self.draining
                    && self.pending_requests < self.rules.max_pending_requests
                    && self.has_room()
            }
        }
    }

    /// Whether one more chunk of the largest size, of any stream, stays within all bounds.
    fn has_room(&self) -> bool {
        let Limits {
            max_chunk_bytes: room,
            window_bytes,
            ..
        } = self.rules.limits;
        // Asked with every message, so it looks at open uploads only: of the others nothing is in flight.
        let live = || {
            self.live
                .iter()
                .filter_map(|stream| self.streams.get(stream))
        };
        self.in_flight + room <= self.rules.session_window_bytes
            && live().map(Stream::chunks_in_flight).sum::<usize>() < MAX_CHUNKS_IN_FLIGHT
            && live().all(|stream| stream.in_flight() + room <= window_bytes)
    }

    /// Largest message to accept now, bytes. One that is larger closes the session with 1009.
    #[must_use]
    pub fn max_message(&self) -> usize {
        match self.phase {
            Phase::Fresh | Phase::Authenticating(_) => self.rules.max_message_before_connected,
            _ => usize::try_from(self.rules.limits.max_message_bytes).unwrap_or(usize::MAX),
        }
    }

    /// Who is connected.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        match &self.phase {
            Phase::Connected(caller) => Some(caller),
            _ => None,
        }
    }

    /// Received and not yet stored bytes of all streams.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Received and not yet stored bytes of one stream.
    #[must_use]
    pub fn stream_in_flight(&self, stream: StreamId) -> u64 {
        self.streams.get(&stream).map_or(0, Stream::in_flight)
    }

    /// Uploads that are open or being opened.
    #[must_use]
    pub fn open_uploads(&self) -> usize {
        self.live.len()
    }

    /// Whether the socket is to be closed (or is).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected(_))
    }

    fn send(&mut self, message: ServerMessage) {
        self.outputs.push_back(Output::Send(Box::new(message)));
    }

    fn refuse(
        &mut self,
        id: Option<RequestId>,
        stream: Option<StreamId>,
        upload_id: Option<UploadId>,
        refusal: Refusal,
    ) {
        self.send(ServerMessage::Error(ErrorMessage {
            id,
            stream,
            upload_id,
            ..ErrorMessage::new(refusal)
        }));
    }

    /// Closes the socket: for the driver, when the wire itself is at fault (a message too big, a slow reader).
    pub fn close(&mut self, code: CloseCode, reason: &'static str) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.outputs.push_back(Output::Close { code, reason });
        }
    }

    fn admit(&mut self, id: RequestId, admission: Admission, now: Moment) {
        let Admission {
            session_id,
            caller,
            expires_at,
            topics,
        } = admission;
        self.life.connected(expires_at, now);
        let user = ConnectedUser {
            id: caller.user_id,
            name: caller.name.clone(),
            role: caller.role,
        };
        self.phase = Phase::Connected(Box::new(caller));
        self.send(ServerMessage::Connected(Connected {
            id,
            session_id,
            user,
            heartbeat_ms: u64::try_from(self.rules.heartbeat.as_millis()).unwrap_or(u64::MAX),
            limits: self.rules.limits,
            topics,
        }));
    }

    /// When draining: closes as soon as nothing that was begun is under way.
    fn finish_draining(&mut self) {
        if self.draining && self.in_flight == 0 && self.pending_requests == 0 {
            self.close(CloseCode::Restart, "the server restarts");
        }
    }
}
