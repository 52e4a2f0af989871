//! Runs one session: moves frames between the wire and the session's state machine, and has the work done that it asks for.

use super::{
    event::{Connected, Event},
    frames,
    mailbox::Mailbox,
    wire::{Incoming, Wire},
    work::Work,
    writer::{Order, Orders, Writer},
};
use crate::{
    Gateway,
    registry::Place,
    topics::{Cursor, OwnEar},
    uploads::Started,
};
use jiff::Timestamp;
use protocol::{
    Refusal, SessionId,
    message::{CloseCode, ServerMessage},
    session::server::{Input, Moment, Output, Session, StreamUse},
};
use rand::RngExt;
use service_kit::lifecycle::Shutdown;
use std::{
    collections::HashMap,
    future::poll_fn,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};
use storage::chunks::Piece;
use tokio::io::{AsyncRead, AsyncWrite};

/// A session's driver. Everything that takes time is done elsewhere and comes back as an [`Event`].
pub(super) struct Driver<R, W> {
    gateway: Arc<Gateway>,
    wire: Wire<R, W>,
    session: Session,
    opened: Instant,
    /// The latest sign of life that a deadline has found.
    heard: Duration,
    work: Work,
    mailbox: Mailbox,
    /// The session's place among those of its user, once connected.
    place: Option<Place>,
    /// Hears what is told, and sends it.
    ear: OwnEar,
    /// Topics that are heard from when the client has been told so.
    fresh: Vec<Cursor>,
    writers: HashMap<StreamUse, Orders>,
}

/// How a session ends.
enum End {
    /// The client is gone.
    Gone,
    /// The server closes.
    Close(CloseCode, &'static str),
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin + Send + 'static> Driver<R, W> {
    /// A driver of a fresh socket; `token` came with the upgrade.
    pub(super) fn new(
        gateway: Arc<Gateway>,
        wire: Wire<R, W>,
        id: SessionId,
        token: Option<String>,
    ) -> Self {
        let mailbox = Mailbox::new();
        let bound = gateway.config.slow_reader_bytes.as_usize();
        let ear = gateway.topics.ear(wire.outlet(), bound, mailbox.feed());
        let opened = Instant::now();
        Self {
            wire,
            session: Session::new(
                gateway.rules,
                Moment {
                    elapsed: Duration::ZERO,
                    wall: Timestamp::now(),
                },
            ),
            opened,
            heard: Duration::ZERO,
            work: Work::new(gateway.clone(), id, token, mailbox.feed(), ear.clone()),
            mailbox,
            place: None,
            ear,
            fresh: Vec::new(),
            writers: HashMap::new(),
            gateway,
        }
    }

    /// Runs the session to its end. The driver stays where it is: a future that held it would have room for it twice.
    pub(super) async fn run(mut self: Box<Self>, shutdown: &Shutdown) {
        self.refuse_bad_upgrade_token();
        let end = self.go(shutdown).await;
        let Self {
            wire,
            writers,
            place,
            ear,
            ..
        } = *self;
        // Lets go of uploads, topics and the place before the farewell, which may take its time.
        drop((writers, ear, place));
        match end {
            End::Gone => Box::pin(wire.leave()).await,
            End::Close(code, reason) => {
                metrics::counter!("sluice_session_closes_total", "code" => code.code().to_string())
                    .increment(1);
                tracing::debug!(code = code.code(), reason, "closing the socket");
                Box::pin(wire.close(code, reason)).await;
            }
        }
    }

    async fn go(&mut self, shutdown: &Shutdown) -> End {
        let mut draining = false;
        let mut alarm = pin!(tokio::time::sleep_until(self.deadline().into()));
        loop {
            if let Some(end) = self.carry_out() {
                return end;
            }
            let deadline = self.deadline().into();
            // Most often it moves away, with every message; then the alarm is set anew when it rings.
            if deadline < alarm.deadline() {
                alarm.as_mut().reset(deadline);
            }
            let limit = self.wants_input().then(|| self.session.max_message());
            tokio::select! {
                () = shutdown.abort().cancelled() => return End::Close(CloseCode::GoingAway, "the server stops"),
                () = shutdown.draining().cancelled(), if !draining => {
                    draining = true;
                    self.drain();
                }
                event = poll_fn(|cx| self.mailbox.poll_next(cx)) => self.on_event(event),
                incoming = self.wire.turn(limit) => match incoming {
                    Incoming::Gone => return End::Gone,
                    Incoming::TooBig => return End::Close(CloseCode::MessageTooBig, "the message is too big"),
                    Incoming::Malformed => return End::Close(CloseCode::Malformed, "this is not WebSocket"),
                    Incoming::Text(text) => self.handle(Input::Text(text)),
                    Incoming::Binary(message) => self.handle(Input::Binary(message)),
                    Incoming::Life => self.handle(Input::Life),
                },
                () = &mut alarm => {
                    self.on_alarm();
                    alarm.as_mut().reset(self.deadline().into());
                }
            }
        }
    }

    /// When something is due by the clock.
    fn deadline(&self) -> Instant {
        let of_session = self.opened + self.session.deadline(self.now());
        let of_wire = self.wire.deadline();
        of_wire.map_or(of_session, |of_wire| of_wire.min(of_session))
    }

    fn now(&self) -> Moment {
        Moment {
            elapsed: self.opened.elapsed(),
            wall: Timestamp::now(),
        }
    }

    /// Whether there is room for more input. Whether the wire is held up is left to the wire, which sees it change.
    fn wants_input(&self) -> bool {
        self.session.wants_input()
    }

    /// Does what is due by the clock. The bytes of a message that is still on its way are signs of life, too; and who is not
    /// read can't give any.
    fn on_alarm(&mut self) {
        self.wire.tick();
        let now = self.now();
        if now.elapsed < self.session.deadline(now) {
            return;
        }
        let heard = if self.wants_input() && !self.wire.is_held_up() {
            self.wire.heard_at().saturating_duration_since(self.opened)
        } else {
            now.elapsed
        };
        // Never back: the last byte may have come long before the time in which nothing was read.
        self.heard = self.heard.max(heard);
        let heard = Moment {
            elapsed: self.heard,
            ..now
        };
        self.session.handle(Input::Life, heard);
        self.session.tick(now);
    }

    fn handle(&mut self, input: Input) {
        let now = self.now();
        self.session.handle(input, now);
    }

    /// A bad token in the upgrade closes at once; a good one waits for `connect`.
    fn refuse_bad_upgrade_token(&self) {
        let Some(token) = self.work.upgrade_token() else {
            return;
        };
        let (gateway, feed) = (self.gateway.clone(), self.mailbox.feed());
        tokio::spawn(async move {
            if let Err(refusal) = gateway.tokens.verify(&token).await
                && refusal.code == protocol::ErrorCode::Unauthenticated
            {
                // The session may be gone already.
                let _ = feed.send(Event::BadToken);
            }
        });
    }

    fn drain(&mut self) {
        // Spread out, so that a restarted server is not met by all of its clients at once.
        let spread = self.gateway.config.drain_spread.duration();
        let retry_after = spread.mul_f64(rand::rng().random_range(0.1..=1.0));
        self.handle(Input::Drain { retry_after });
    }

    /// Does what the session has asked for since.
    fn carry_out(&mut self) -> Option<End> {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(message) => self.send(&message),
                Output::Ping => self.wire.send(frames::ping()),
                Output::Close { code, reason } => return Some(End::Close(code, reason)),
                Output::Store {
                    of,
                    offset,
                    payload,
                    crc,
                } => {
                    let piece = Piece::verified(payload, crc);
                    self.order(of, Order::Store { offset, piece });
                }
                Output::Complete { of, digest } => match of.stream {
                    Some(stream) => self.order(stream, Order::Complete { of, digest }),
                    None => self.work.complete(self.session.caller(), of, digest),
                },
                Output::Release(of) => self.release(of),
                other => self.work.start(self.session.caller(), other),
            }
        }
        // What is heard comes behind the message that says so.
        for cursor in std::mem::take(&mut self.fresh) {
            self.ear.begin(cursor);
        }
        let bound = self.gateway.config.slow_reader_bytes.as_usize();
        if self.wire.queued_bytes() > bound && self.wire.backlog() > bound {
            return Some(End::Close(
                CloseCode::SlowConsumer,
                "the client reads too slowly",
            ));
        }
        if self.wire.stalled_for() > self.gateway.config.heartbeat.duration() * 2 {
            return Some(End::Close(
                CloseCode::SlowConsumer,
                "the client does not read",
            ));
        }
        self.read_gaps();
        None
    }

    fn send(&mut self, message: &ServerMessage) {
        self.send_text(&message.to_json());
    }

    fn send_text(&mut self, text: &str) {
        self.wire.send(frames::text(text));
    }

    fn release(&mut self, of: StreamUse) {
        self.writers.remove(&of);
        if self.writers.is_empty() {
            // Most sessions are idle most of the time.
            self.writers = HashMap::new();
        }
    }

    fn order(&mut self, of: StreamUse, order: Order) {
        if let Some(writer) = self.writers.get(&of) {
            writer.give(order);
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Input(input) => self.handle(input),
            Event::BadToken => self
                .session
                .close(CloseCode::Unauthenticated, "no valid token"),
            Event::Connected(connected) => self.on_connected(*connected),
            Event::Started(of, started) => self.on_started(of, *started),
            Event::Subscribed(cursor, reply) => {
                self.fresh.push(cursor);
                self.handle(Input::Replied(reply));
            }
            Event::Behind => self.ear.heeded(),
            Event::Refreshed(id, answer) => {
                if let (Ok(verified), Some(place)) = (&answer, &self.place) {
                    place.refreshed(verified.generation);
                }
                self.handle(Input::Refreshed(
                    id,
                    answer.map(|verified| verified.expires_at),
                ));
            }
            Event::Read(log, page) => match *page {
                Ok(page) => self.ear.read(&log, page),
                Err(error) => {
                    tracing::warn!(%error, "missed notifications can't be read now; the next comparison of heads tries again");
                    self.ear.reading_failed(&log);
                }
            },
        }
    }

    fn on_connected(&mut self, connected: Connected) {
        let Connected {
            admission,
            place,
            cursors,
        } = connected;
        self.place = Some(place);
        self.handle(Input::Authenticated(Ok(admission)));
        // `connected` is said first, then comes what was missed.
        if let Some(caller) = self.session.caller() {
            tracing::Span::current().record("user_id", tracing::field::display(caller.user_id));
        }
        self.fresh = cursors;
    }

    fn on_started(&mut self, of: StreamUse, started: Result<Started, Refusal>) {
        let answer = started.map(|started| {
            let opened = Box::new(started.opened());
            if let (Some(hold), Some(caller)) = (started.hold, self.session.caller()) {
                let upload = started.upload;
                let held = self.gateway.holders.take(
                    upload.upload_id,
                    hold.generation,
                    of,
                    self.mailbox.feed(),
                );
                let uploads = self.gateway.uploads.clone();
                let writer = Writer {
                    uploads,
                    caller: caller.clone(),
                    upload,
                    hold,
                    held,
                    of,
                    feed: self.mailbox.feed(),
                };
                self.writers.insert(of, writer.spawn());
            }
            opened
        });
        self.handle(Input::Started(of, answer));
    }

    /// Has the log read where something was missed, unless the client has enough to read already.
    fn read_gaps(&mut self) {
        if self.wire.queued_bytes() > self.gateway.config.slow_reader_bytes.as_usize() / 2 {
            return;
        }
        let Some(caller) = self.session.caller() else {
            return;
        };
        for gap in self.ear.gaps() {
            self.work.read_log(caller, gap);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

    fn size_of_answer<A, F>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    /// Ten thousand sessions that do nothing are the rule, not the exception.
    #[test]
    fn an_idle_session_takes_little_memory() {
        type Tcp = Driver<OwnedReadHalf, OwnedWriteHalf>;
        let shutdown: &'static Shutdown = Box::leak(Box::default());
        let driver = size_of::<Tcp>();
        let future = size_of_answer(|driver: Box<Tcp>| driver.run(shutdown));
        assert!(driver <= 1024, "the driver takes {driver} bytes");
        assert!(future <= 512, "its future takes {future} bytes");
    }
}
