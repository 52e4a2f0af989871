//! A session with a scripted driver: each step returns all that the session does about it, one line per output.
//!
//! `> …` is a message to the client; anything else is work for the driver. Streams are `s1`, uploads `u1`, requests `#1`.

use crate::{
    ErrorCode, FileId, Refusal, SessionId, TenantId, TransferStatus, UploadId, UserId,
    digest::{Digest, DigestAlgorithm},
    frame::Chunk,
    identity::{Caller, Role},
    message::{ErrorMessage, Limits, RequestId, ServerMessage, Start, StreamId},
    session::server::{
        Admission, CompleteRef, Completed, Input, Moment, Opened, Output, Rules, Session, StreamUse,
    },
};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::{collections::HashMap, time::Duration};
use uuid::Uuid;

pub(super) const HEARTBEAT: Duration = Duration::from_secs(30);

/// Small limits, so that a few bytes reach them.
pub(super) fn rules() -> Rules {
    Rules {
        limits: Limits {
            max_chunk_bytes: 10,
            window_bytes: 40,
            max_file_bytes: 1 << 20,
            max_open_uploads: 3,
            max_message_bytes: 1000,
        },
        chunk_bytes: 10,
        heartbeat: HEARTBEAT,
        connect_deadline: Duration::from_secs(10),
        max_message_before_connected: 64 << 10,
        session_window_bytes: 60,
        max_pending_requests: 5,
        token_warning: Duration::from_secs(60),
    }
}

pub(super) fn upload(number: u128) -> UploadId {
    UploadId(Uuid::from_u128(number))
}

pub(super) fn refusal(code: ErrorCode) -> Refusal {
    Refusal::bare(code)
}

/// A code as an error shows it whose driver left open when to come back.
pub(super) fn shown(code: ErrorCode) -> String {
    let wait = if code.asks_to_wait() {
        " after 1000"
    } else {
        ""
    };
    format!("{code}{wait}")
}

pub(super) fn start(id: i64, stream: u32, size: u64) -> Value {
    json!({"type": "start-transfer", "id": id, "stream": stream, "name": "a.bin", "size": size})
}

pub(super) fn complete(id: i64, stream: u32) -> Value {
    json!({"type": "complete-upload", "id": id, "stream": stream})
}

pub(super) fn abort(id: i64, stream: u32) -> Value {
    json!({"type": "abort-upload", "id": id, "stream": stream})
}

/// An upload of stream `s` has the id `u<s>`; see [`Rig::opened`].
pub(super) fn opened(number: u128, size: u64) -> Opened {
    Opened {
        upload_id: upload(number),
        file_id: FileId(Uuid::from_u128(number)),
        size,
        offset: 0,
        status: TransferStatus::Open,
        expires_at: Timestamp::from_second(86_400).unwrap(),
        ended: None,
    }
}

pub(super) struct Rig {
    pub(super) session: Session,
    pub(super) now: Moment,
    uses: HashMap<StreamId, StreamUse>,
    completes: HashMap<RequestId, CompleteRef>,
}

impl Rig {
    /// A session whose socket was just opened.
    pub(super) fn fresh() -> Self {
        Self::with(rules())
    }

    pub(super) fn with(rules: Rules) -> Self {
        let now = Moment {
            elapsed: Duration::ZERO,
            wall: Timestamp::UNIX_EPOCH,
        };
        Self {
            session: Session::new(rules, now),
            now,
            uses: HashMap::new(),
            completes: HashMap::new(),
        }
    }

    /// A session that is connected, with a token that lives for a day.
    pub(super) fn connected() -> Self {
        Self::connected_with(rules())
    }

    pub(super) fn connected_with(rules: Rules) -> Self {
        let mut rig = Self::with(rules);
        assert_eq!(
            rig.text(json!({"type": "connect", "id": 1, "access_token": "t"})),
            ["authenticate t"]
        );
        assert_eq!(rig.admitted(Duration::from_hours(24)), ["> connected #1"]);
        rig
    }

    /// A session with one open upload of this size on stream 1.
    pub(super) fn uploading(size: u64) -> Self {
        let mut rig = Self::connected();
        rig.open(2, 1, size);
        rig
    }

    /// Starts an upload and lets the driver open it.
    pub(super) fn open(&mut self, id: i64, stream: u32, size: u64) {
        assert_eq!(
            self.text(start(id, stream, size)),
            [format!("start s{stream} of {size}")]
        );
        assert_eq!(
            self.opened(stream, size),
            [format!("> started #{id} s{stream} u{stream} open at 0")]
        );
    }

    /// Feeds one input and returns everything that the session does about it.
    pub(super) fn say(&mut self, input: Input) -> Vec<String> {
        self.session.handle(input, self.now);
        self.drain()
    }

    pub(super) fn drain(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(output) = self.session.poll() {
            match &output {
                Output::Start(of, _) => _ = self.uses.insert(of.stream, *of),
                Output::Complete { of, .. } => _ = self.completes.insert(of.id, *of),
                _ => {}
            }
            lines.push(show(&output));
        }
        lines
    }

    pub(super) fn text(&mut self, message: Value) -> Vec<String> {
        self.raw(&message.to_string())
    }

    pub(super) fn raw(&mut self, text: &str) -> Vec<String> {
        self.say(Input::Text(text.to_owned()))
    }

    pub(super) fn binary(&mut self, message: impl Into<Bytes>) -> Vec<String> {
        self.say(Input::Binary(message.into()))
    }

    pub(super) fn chunk(&mut self, stream: u32, offset: u64, payload: &'static str) -> Vec<String> {
        self.binary(Chunk::new(stream, offset, Bytes::from_static(payload.as_bytes())).encode())
    }

    /// A chunk whose payload was damaged on its way.
    pub(super) fn damaged(
        &mut self,
        stream: u32,
        offset: u64,
        payload: &'static str,
    ) -> Vec<String> {
        let mut chunk = Chunk::new(stream, offset, Bytes::from_static(payload.as_bytes()));
        chunk.crc ^= 1;
        self.binary(chunk.encode())
    }

    /// The last use of a stream number.
    pub(super) fn of(&self, stream: u32) -> StreamUse {
        self.uses[&stream]
    }

    pub(super) fn admitted(&mut self, token_lives: Duration) -> Vec<String> {
        let admission = Admission {
            session_id: SessionId(Uuid::nil()),
            caller: Caller {
                user_id: UserId(Uuid::nil()),
                name: "ada".to_owned(),
                role: Role::User,
                tenant: TenantId::default(),
            },
            expires_at: self.expiry(token_lives),
            topics: Vec::new(),
        };
        self.say(Input::Authenticated(Ok(Box::new(admission))))
    }

    pub(super) fn expiry(&self, token_lives: Duration) -> Timestamp {
        self.now.wall + SignedDuration::try_from(token_lives).unwrap()
    }

    pub(super) fn started(&mut self, stream: u32, answer: Result<Opened, Refusal>) -> Vec<String> {
        self.say(Input::Started(self.of(stream), answer.map(Box::new)))
    }

    pub(super) fn opened(&mut self, stream: u32, size: u64) -> Vec<String> {
        self.started(stream, Ok(opened(stream.into(), size)))
    }

    pub(super) fn stored(&mut self, stream: u32, offset: u64) -> Vec<String> {
        self.say(Input::Stored(self.of(stream), Ok(offset)))
    }

    pub(super) fn store_failed(&mut self, stream: u32, refusal: Refusal) -> Vec<String> {
        self.say(Input::Stored(self.of(stream), Err(refusal)))
    }

    pub(super) fn completed(&mut self, id: i64, size: u64) -> Vec<String> {
        let of = self.completes[&id];
        let completed = Completed {
            upload_id: of.upload_id,
            file_id: FileId(Uuid::nil()),
            size,
            digest: Digest::new(DigestAlgorithm::Sha256, [0; 32]),
        };
        self.say(Input::Completed(of, Ok(Box::new(completed))))
    }

    pub(super) fn complete_failed(&mut self, id: i64, refusal: Refusal) -> Vec<String> {
        self.say(Input::Completed(self.completes[&id], Err(refusal)))
    }

    pub(super) fn aborted(&mut self, id: i64, number: u128) -> Vec<String> {
        self.say(Input::Aborted(id, upload(number), Ok(())))
    }

    /// Lets time pass, ticking at each deadline; each line begins with the second it happened at.
    pub(super) fn wait(&mut self, time: Duration) -> Vec<String> {
        let until = self.now.elapsed + time;
        let mut lines = Vec::new();
        while !self.session.is_closed() && self.session.deadline(self.now) <= until {
            self.pass_until(self.session.deadline(self.now));
            self.session.tick(self.now);
            let second = self.now.elapsed.as_secs();
            lines.extend(
                self.drain()
                    .into_iter()
                    .map(|line| format!("{second}s {line}")),
            );
        }
        self.pass_until(until);
        lines
    }

    fn pass_until(&mut self, elapsed: Duration) {
        let passed = elapsed.saturating_sub(self.now.elapsed);
        self.now.elapsed += passed;
        self.now.wall += SignedDuration::try_from(passed).unwrap();
    }
}

fn show(output: &Output) -> String {
    match output {
        Output::Send(message) => format!("> {}", show_message(message)),
        Output::Ping => "ping".to_owned(),
        Output::Close { code, .. } => format!("close {}", code.code()),
        Output::Authenticate { token, .. } => {
            format!("authenticate {}", token.as_deref().unwrap_or("by upgrade"))
        }
        Output::Start(of, Start::Open { meta, .. }) => {
            format!("start s{} of {}", of.stream, meta.size)
        }
        Output::Start(of, Start::Resume { upload_id }) => {
            format!("resume s{} {}", of.stream, show_upload(*upload_id))
        }
        Output::Store {
            of,
            offset,
            payload,
            ..
        } => format!("store s{} {offset}+{}", of.stream, payload.len()),
        Output::Complete {
            of:
                CompleteRef {
                    id,
                    upload_id,
                    stream,
                },
            ..
        } => match stream {
            Some(of) => format!("complete #{id} s{} {}", of.stream, show_upload(*upload_id)),
            None => format!("complete #{id} {}", show_upload(*upload_id)),
        },
        Output::Abort(id, upload_id) => format!("abort #{id} {}", show_upload(*upload_id)),
        Output::Reject(upload_id, refusal) => {
            format!("reject {} {}", show_upload(*upload_id), refusal.code)
        }
        Output::Release(of) => format!("release s{}", of.stream),
        Output::History(request) => format!("history #{}", request.id),
        Output::Subscribe(request) => format!("subscribe #{} {}", request.id, request.topic),
        Output::Unsubscribe(request) => format!("unsubscribe #{} {}", request.id, request.topic),
        Output::Refresh { id, token } => format!("refresh #{id} {token}"),
    }
}

fn show_message(message: &ServerMessage) -> String {
    match message {
        ServerMessage::Connected(connected) => format!("connected #{}", connected.id),
        ServerMessage::TransferStarted(started) => format!(
            "started #{} s{} {} {} at {}",
            started.id,
            started.stream,
            show_upload(started.upload_id),
            started.status,
            started.offset
        ),
        ServerMessage::ChunkAcked(acked) => format!(
            "acked s{} {} {}",
            acked.stream,
            show_upload(acked.upload_id),
            acked.offset
        ),
        ServerMessage::UploadCompleted(completed) => {
            format!(
                "completed #{} {} {} {}",
                completed.id,
                show_upload(completed.upload_id),
                completed.size,
                completed.status
            )
        }
        ServerMessage::UploadAborted(aborted) => {
            format!("aborted #{} {}", aborted.id, show_upload(aborted.upload_id))
        }
        ServerMessage::Refreshed(refreshed) => {
            format!("refreshed #{} {}", refreshed.id, refreshed.expires_at)
        }
        ServerMessage::Alive(alive) => format!("alive #{:?} {}", alive.id, alive.time),
        ServerMessage::TokenExpiring(expiring) => format!("token-expiring {}", expiring.expires_at),
        ServerMessage::Draining(draining) => format!("draining {}", draining.retry_after_ms),
        ServerMessage::Error(error) => show_error(error),
        other => other.to_json(),
    }
}

fn show_error(error: &ErrorMessage) -> String {
    let mut line = "error".to_owned();
    let mut add =
        |part: Option<String>| line.extend(part.iter().flat_map(|part| [" ", part.as_str()]));
    add(error.id.map(|id| format!("#{id}")));
    add(error.stream.map(|stream| format!("s{stream}")));
    add(error.upload_id.map(show_upload));
    add(Some(error.refusal.code.to_string()));
    add(error
        .refusal
        .expected
        .map(|offset| format!("expected {offset}")));
    add(error.refusal.retry_after_ms.map(|ms| format!("after {ms}")));
    line
}

fn show_upload(upload_id: UploadId) -> String {
    format!("u{}", upload_id.0.as_u128())
}
