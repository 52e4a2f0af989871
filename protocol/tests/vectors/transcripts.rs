//! `transcripts/*.json`: whole conversations, played against the server's state machine.
//!
//! The client's frames up to the next answer are fed in one go; then a driver that never fails answers until there is
//! nothing left to do. Texts for people are not compared.

use super::{frames::unhex, path, read_json};
use bytes::Bytes;
use jiff::Timestamp;
use protocol::{
    DigestAlgorithm, ErrorCode, Hasher, Refusal, TenantId, Topic, TransferStatus,
    identity::{Caller, Role},
    message::{Limits, ServerMessage, Start},
    session::server::{
        Admission, CompleteRef, Completed, Input, Moment, Opened, Output, Rules, Session, StreamUse,
    },
    topic::TopicState,
};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeSet, fs, time::Duration};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transcript {
    #[serde(rename = "about")]
    _about: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    from: Peer,
    text: Option<Value>,
    binary: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Peer {
    Client,
    Server,
}

const USER: &str = "01920b6e-7c00-7000-8000-000000000001";
const SESSION: &str = "01920b6e-7c00-7000-8000-000000000003";
const UPLOAD: &str = "01920b6e-7c00-7000-8000-000000000004";
const FILE: &str = "01920b6e-7c00-7000-8000-000000000005";

const RULES: Rules = Rules {
    limits: Limits {
        max_chunk_bytes: 256 << 10,
        window_bytes: 2 << 20,
        max_file_bytes: 10 << 30,
        max_open_uploads: 64,
        max_message_bytes: 260 << 10,
    },
    chunk_bytes: 256 << 10,
    heartbeat: Duration::from_secs(30),
    connect_deadline: Duration::from_secs(10),
    max_message_before_connected: 64 << 10,
    session_window_bytes: 8 << 20,
    max_pending_requests: 64,
    token_warning: Duration::from_secs(60),
};

const NOW: Moment = Moment {
    elapsed: Duration::ZERO,
    wall: Timestamp::UNIX_EPOCH,
};

/// A driver with one upload, which holds the first bytes of `hello world`.
struct Driver {
    session: Session,
    held: Vec<u8>,
}

impl Driver {
    fn new(held: &[u8]) -> Self {
        Self {
            session: Session::new(RULES, NOW),
            held: held.to_vec(),
        }
    }

    /// Works until there is nothing left to do; the messages sent meanwhile.
    fn work(&mut self) -> Vec<Value> {
        let mut sent = Vec::new();
        loop {
            let outputs: Vec<_> = std::iter::from_fn(|| self.session.poll()).collect();
            if outputs.is_empty() {
                return sent;
            }
            let mut stored: Option<StreamUse> = None;
            for output in outputs {
                match output {
                    Output::Send(message) => {
                        sent.push(serde_json::from_str(&message.to_json()).unwrap());
                    }
                    Output::Store {
                        of,
                        offset,
                        payload,
                        ..
                    } => {
                        assert_eq!(offset, self.held.len() as u64);
                        self.held.extend_from_slice(&payload);
                        stored = Some(of);
                    }
                    Output::Authenticate { .. } => self
                        .session
                        .handle(Input::Authenticated(Ok(admission())), NOW),
                    Output::Start(of, what) => self.start(of, &what),
                    Output::Complete { of, .. } => self.complete(of),
                    Output::Release(_) | Output::Reject(..) => {}
                    other => panic!("no transcript asks for {other:?}"),
                }
            }
            if let Some(of) = stored {
                self.session
                    .handle(Input::Stored(of, Ok(self.held.len() as u64)), NOW);
            }
        }
    }

    fn start(&mut self, of: StreamUse, what: &Start) {
        let Start::Open { meta, .. } = what else {
            panic!("no transcript resumes by id")
        };
        let opened = Opened {
            upload_id: UPLOAD.parse().unwrap(),
            file_id: FILE.parse().unwrap(),
            size: meta.size,
            offset: self.held.len() as u64,
            status: TransferStatus::Open,
            expires_at: "2026-11-22T02:00:00Z".parse().unwrap(),
            ended: None,
        };
        let forbidden = meta
            .name
            .rsplit_once('.')
            .is_some_and(|(_, extension)| extension == "exe");
        let answer = if forbidden {
            Err(Refusal::bare(ErrorCode::TypeForbidden))
        } else {
            Ok(Box::new(opened))
        };
        self.session.handle(Input::Started(of, answer), NOW);
    }

    fn complete(&mut self, of: CompleteRef) {
        let mut hasher = Hasher::new(DigestAlgorithm::Sha256);
        hasher.update(&self.held);
        let completed = Completed {
            upload_id: of.upload_id,
            file_id: FILE.parse().unwrap(),
            size: self.held.len() as u64,
            digest: hasher.finish(),
        };
        self.session
            .handle(Input::Completed(of, Ok(Box::new(completed))), NOW);
    }
}

fn admission() -> Box<Admission> {
    let user_id = USER.parse().unwrap();
    Box::new(Admission {
        session_id: SESSION.parse().unwrap(),
        caller: Caller {
            user_id,
            name: "ada".to_owned(),
            role: Role::User,
            tenant: TenantId::default(),
        },
        expires_at: Timestamp::MAX,
        topics: vec![TopicState {
            topic: Topic::User(user_id),
            epoch: "e1".to_owned(),
            offset: 0,
            recovered: false,
        }],
    })
}

/// Plays one transcript against a server that holds some bytes of its upload already.
fn play(name: &str, held: &[u8]) {
    let transcript: Transcript = read_json(&format!("transcripts/{name}.json"));
    let mut driver = Driver::new(held);
    for turn in transcript.steps.chunk_by(|one, next| one.from == next.from) {
        match turn[0].from {
            Peer::Client => turn
                .iter()
                .for_each(|step| driver.session.handle(input(step), NOW)),
            Peer::Server => {
                let said: Vec<_> = turn.iter().filter_map(expected).collect();
                let heard: Vec<_> = driver.work().into_iter().map(without_detail).collect();
                assert_eq!(heard, said, "{name}");
            }
        }
    }
    assert_eq!(
        driver.work(),
        [] as [Value; 0],
        "{name}: the transcript ends before the conversation does"
    );
}

fn input(step: &Step) -> Input {
    match (&step.text, &step.binary) {
        (Some(text), None) => Input::Text(text.to_string()),
        (None, Some(hex)) => Input::Binary(Bytes::from(unhex(hex))),
        _ => panic!("a step is a text or binary"),
    }
}

/// What the session is expected to send. Notifications are sent past it; they need only be readable.
fn expected(step: &Step) -> Option<Value> {
    let text = step.text.clone().expect("a server sends texts");
    let message =
        serde_json::from_value::<ServerMessage>(text.clone()).expect("a server's message");
    (!matches!(message, ServerMessage::Notification(_))).then_some(text)
}

fn without_detail(mut message: Value) -> Value {
    message
        .as_object_mut()
        .expect("a message is an object")
        .remove("detail");
    message
}

#[test]
fn pipelined_upload() {
    play("pipelined-upload", b"");
}

#[test]
fn resume() {
    play("resume", b"hello ");
}

#[test]
fn refused_start() {
    play("refused-start", b"");
}

#[test]
fn go_back_n() {
    play("go-back-n", b"");
}

#[test]
fn errors() {
    play("errors", b"");
}

#[test]
fn every_transcript_is_played() {
    let names = fs::read_dir(path("transcripts"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let played = [
        "errors.json",
        "go-back-n.json",
        "pipelined-upload.json",
        "refused-start.json",
        "resume.json",
    ];
    assert_eq!(
        names.collect::<BTreeSet<_>>(),
        played.map(str::to_owned).into()
    );
}
