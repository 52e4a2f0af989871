//! A connected session: moves frames between the socket, the sender and the files.

use super::{
    Command, End, State,
    socket::{Incoming, Socket, binary, text},
};
use crate::{Error, Tokens, UploadError};
use bytes::Bytes;
use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{FuturesOrdered, FuturesUnordered},
};
use protocol::{
    Digest, ErrorCode, UploadId,
    event::{FileEvent, Notification},
    message::{ClientMessage, Connected, Refresh, ServerMessage},
    session::client::{ChunkRef, Output, TransferId},
    topic::TopicState,
    upload::UploadView,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_tungstenite::tungstenite::Message;

/// Messages and chunks being prepared: with the frames of the socket, the bound of the bytes in memory.
const AHEAD: usize = 4;

/// Questions for the status of uploads under way at once.
const LOOKUPS: usize = 4;

/// A heartbeat faster than this is a mistake of the server's, and no reason to reconnect all the time.
const SHORTEST_HEARTBEAT_MS: u64 = 50;

/// Time to read what the server said before it stopped reading.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What is to be sent, in order.
enum Step {
    Message(Message),
    Chunk(ChunkRef, Result<Bytes, UploadError>),
}

type Digested = (TransferId, Result<Digest, UploadError>);
type LookedUp = (UploadId, Result<UploadView, Error>);

/// A session from `connected` to its end.
pub(super) struct Live<'a> {
    state: &'a mut State,
    socket: Option<Socket>,
    frames: mpsc::Sender<Message>,
    steps: FuturesOrdered<BoxFuture<'static, Step>>,
    /// What is ready to be sent next.
    frame: Option<Message>,
    digests: FuturesUnordered<BoxFuture<'static, Digested>>,
    lookups: FuturesUnordered<BoxFuture<'static, LookedUp>>,
    tokens: Arc<dyn Tokens>,
    token: String,
    fresh_token: Option<BoxFuture<'static, Result<String, Error>>>,
    /// Silence after which the connection counts as lost.
    silence: Duration,
    heard_at: Instant,
    /// When writing failed.
    broken_at: Option<Instant>,
}

impl<'a> Live<'a> {
    pub(super) fn new(
        state: &'a mut State,
        socket: Socket,
        connected: &Connected,
        tokens: Arc<dyn Tokens>,
        token: String,
    ) -> Self {
        let since = state.hub().since();
        state.sender.connected(connected.limits);
        let mut live = Self {
            frames: socket.frames.clone(),
            socket: Some(socket),
            steps: FuturesOrdered::new(),
            frame: None,
            digests: FuturesUnordered::new(),
            lookups: FuturesUnordered::new(),
            tokens,
            token,
            fresh_token: None,
            silence: Duration::from_millis(connected.heartbeat_ms.max(SHORTEST_HEARTBEAT_MS)) * 2,
            heard_at: Instant::now(),
            broken_at: None,
            state,
        };
        connected.topics.iter().for_each(|topic| live.topic(topic));
        for message in live
            .state
            .requests
            .resubscribe(&mut live.state.sender, &since)
        {
            live.say(&message);
        }
        live
    }

    /// Runs until the connection ends. Returns the token in use then, too.
    pub(super) async fn run(&mut self, commands: &mut mpsc::Receiver<Command>) -> (End, String) {
        let end = loop {
            self.fill();
            if let Err(end) = self.turn(commands).await {
                break end;
            }
        };
        if let (End::Fatal(_), Some(socket)) = (&end, self.socket.take()) {
            socket.close().await;
        }
        (end, std::mem::take(&mut self.token))
    }

    /// Waits for one thing to happen and does what it calls for.
    async fn turn(&mut self, commands: &mut mpsc::Receiver<Command>) -> Result<(), End> {
        let wake_at = self.wake_at();
        let Some(socket) = &mut self.socket else {
            return Err(End::Fatal(Error::Closed));
        };
        let frames = self.frames.clone();
        let can_write = self.frame.is_some() && self.broken_at.is_none();
        let fresh_token = async { self.fresh_token.as_mut()?.await.into() };
        tokio::select! {
            incoming = socket.next() => self.incoming(incoming)?,
            Some(step) = self.steps.next(), if self.frame.is_none() => self.prepared(step),
            permit = frames.reserve(), if can_write => match (permit, self.frame.take()) {
                (Ok(permit), Some(frame)) => permit.send(frame),
                // What the server said before it went is still to be read.
                _ => self.broken_at = Some(Instant::now()),
            },
            command = commands.recv() => self.state.command(command)?,
            Some((id, digest)) = self.digests.next() => self.digested(id, digest),
            Some((upload, answer)) = self.lookups.next() => self.state.uploads.looked_up(upload, answer),
            Some(token) = fresh_token => self.refreshed(token),
            () = sleep_until(wake_at) => self.wake()?,
        }
        Ok(())
    }

    /// Lets the sender say what to do, as far as there is room.
    fn fill(&mut self) {
        // First of all, since an upload that ended may give way to a new one.
        self.state.drain_events();
        while self.steps.len() < AHEAD {
            if let Some(message) = self.state.requests.next(&mut self.state.sender) {
                self.say(&message);
                continue;
            }
            let now = self.state.now();
            match self.state.sender.poll_output(now) {
                Some(Output::Message(message)) => self.say(&message),
                Some(Output::Chunk(chunk)) => self.read(chunk),
                Some(Output::Digest(id)) => self.hash(id),
                None => break,
            }
        }
        self.state.drain_events();
    }

    fn say(&mut self, message: &ClientMessage) {
        let frame = text(message);
        self.steps.push_back(async { Step::Message(frame) }.boxed());
    }

    fn read(&mut self, chunk: ChunkRef) {
        let Some(reader) = self.state.uploads.reader(chunk.transfer) else {
            return;
        };
        let frame = tokio::task::spawn_blocking(move || {
            reader.frame(chunk.stream, chunk.offset, chunk.len)
        });
        let step = frame
            .map(move |frame| Step::Chunk(chunk, frame.unwrap_or(Err(UploadError::Cancelled))));
        self.steps.push_back(step.boxed());
    }

    fn hash(&mut self, id: TransferId) {
        let Some(reader) = self.state.uploads.reader(id) else {
            return;
        };
        let digest = tokio::task::spawn_blocking(move || reader.digest());
        self.digests.push(
            digest
                .map(move |digest| (id, digest.unwrap_or(Err(UploadError::Cancelled))))
                .boxed(),
        );
    }

    /// The next step is ready to be sent, unless its upload has moved on meanwhile.
    fn prepared(&mut self, step: Step) {
        match step {
            Step::Message(message) => self.frame = Some(message),
            Step::Chunk(chunk, _) if !self.state.sender.is_open(chunk.stream) => {}
            Step::Chunk(_, Ok(frame)) => self.frame = Some(binary(frame)),
            Step::Chunk(chunk, Err(error)) => {
                self.state
                    .uploads
                    .fail(&mut self.state.sender, chunk.transfer, error);
            }
        }
    }

    fn digested(&mut self, id: TransferId, digest: Result<Digest, UploadError>) {
        match digest {
            Ok(digest) => self.state.sender.set_digest(id, digest),
            Err(error) => self.state.uploads.fail(&mut self.state.sender, id, error),
        }
    }

    fn incoming(&mut self, incoming: Incoming) -> Result<(), End> {
        self.heard_at = Instant::now();
        match incoming {
            Incoming::Message(message) => self.message(&message),
            Incoming::Life => {}
            Incoming::End(end) => return Err(end),
        }
        Ok(())
    }

    fn message(&mut self, message: &ServerMessage) {
        let now = self.state.now();
        if self.state.sender.handle(message, now) {
            return;
        }
        match message {
            ServerMessage::Notification(notification) => self.notification(notification),
            ServerMessage::Subscribed(subscribed) => self.topic(&subscribed.state),
            ServerMessage::Unsubscribed(unsubscribed) => {
                self.state.hub().forget(unsubscribed.topic);
            }
            ServerMessage::TokenExpiring(_) => self.refresh_token(),
            ServerMessage::Draining(draining) => {
                self.state.sender.draining();
                self.state.retry_after = Some(Duration::from_millis(draining.retry_after_ms));
            }
            ServerMessage::Error(error) if error.id.is_none() && error.stream.is_none() => {
                tracing::debug!(refusal = %error.refusal, "the server reports an error");
                if error.refusal.code == ErrorCode::RateLimited {
                    self.state.retry_after =
                        error.refusal.retry_after_ms.map(Duration::from_millis);
                }
            }
            _ => {}
        }
        self.state.requests.hear(message);
    }

    fn topic(&mut self, state: &TopicState) {
        let missed = self.state.hub().topic(state);
        if missed {
            self.state.uploads.unsure();
        }
    }

    fn notification(&mut self, notification: &Notification) {
        let new = self.state.hub().notification(notification);
        if new
            && notification.event.starts_with("file.")
            && let Ok(event) = serde_json::from_value::<FileEvent>(notification.data.clone())
        {
            self.state.uploads.file_event(&event);
        }
    }

    fn refresh_token(&mut self) {
        if self.fresh_token.is_none() {
            let (tokens, stale) = (self.tokens.clone(), self.token.clone());
            self.fresh_token = Some(async move { tokens.refresh(&stale).await }.boxed());
        }
    }

    fn refreshed(&mut self, token: Result<String, Error>) {
        self.fresh_token = None;
        match token {
            Ok(token) => {
                self.token.clone_from(&token);
                let id = self.state.sender.next_request_id();
                self.say(&ClientMessage::Refresh(Refresh {
                    id,
                    access_token: token,
                }));
            }
            // The server closes the session when the old one expires; that is when it counts.
            Err(error) => tracing::debug!(%error, "can't get a fresh token"),
        }
    }

    /// When something is due without anything happening.
    fn wake_at(&self) -> Instant {
        let sender = self
            .state
            .sender
            .next_timeout()
            .map(|timeout| self.state.origin + timeout);
        let lookup = self
            .state
            .uploads
            .next_lookup_at()
            .filter(|_| self.lookups.len() < LOOKUPS);
        let last_words = self.broken_at.map(|at| at + LAST_WORDS);
        [sender, lookup, last_words]
            .into_iter()
            .flatten()
            .fold(self.heard_at + self.silence, Instant::min)
    }

    fn wake(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if now >= self.heard_at + self.silence {
            return Err(End::Lost(format!(
                "nothing heard for {} s",
                self.silence.as_secs_f32()
            )));
        }
        if self.broken_at.is_some_and(|at| now >= at + LAST_WORDS) {
            return Err(End::Lost("the connection broke".to_owned()));
        }
        while self.lookups.len() < LOOKUPS
            && let Some(upload) = self.state.uploads.next_lookup(now)
        {
            let api = self.state.api.clone();
            self.lookups
                .push(async move { (upload, api.upload(upload).await) }.boxed());
        }
        Ok(())
    }
}
