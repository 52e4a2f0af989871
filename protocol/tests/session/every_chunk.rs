//! Every chunk handed to the store is acknowledged or failed exactly once, in whatever order the driver answers.

use super::{LIMITS, RULES, admission, moment};
use bytes::Bytes;
use jiff::Timestamp;
use proptest::{collection::vec, prelude::*, sample::select};
use protocol::{
    ErrorCode, FileId, Refusal, TransferStatus, UploadId,
    frame::Chunk,
    message::ServerMessage,
    session::server::{CompleteRef, Completed, Input, Opened, Output, Session, StreamUse},
};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};
use uuid::Uuid;

const SIZE: u64 = 150;

#[derive(Clone, Debug)]
enum Act {
    Start(u32),
    /// The chunk that continues the stream, or one so many bytes off, or a damaged one.
    Chunk {
        stream: u32,
        off: i64,
        len: usize,
        damaged: bool,
    },
    Complete(u32),
    Abort(u32),
    /// The driver answers one of the starts.
    Opens {
        pick: usize,
        good: bool,
    },
    /// The driver answers some of what one stream has to store.
    Stores {
        pick: usize,
        count: usize,
        fails: Option<ErrorCode>,
    },
    /// The driver answers one of the completions.
    Completes {
        pick: usize,
        fails: Option<ErrorCode>,
    },
    Supersede(u32),
}

fn act() -> impl Strategy<Value = Act> {
    let stream = 0_u32..3;
    let fails = || {
        let codes = vec![
            ErrorCode::Unavailable,
            ErrorCode::StorageFull,
            ErrorCode::TypeForbidden,
            ErrorCode::Superseded,
        ];
        proptest::option::weighted(0.2, select(codes))
    };
    let off = prop_oneof![12 => Just(0_i64), 1 => -40_i64..40];
    prop_oneof![
        3 => stream.clone().prop_map(Act::Start),
        20 => (stream.clone(), off, 1_usize..33, proptest::bool::weighted(0.05))
            .prop_map(|(stream, off, len, damaged)| Act::Chunk { stream, off, len, damaged }),
        2 => stream.clone().prop_map(Act::Complete),
        1 => stream.clone().prop_map(Act::Abort),
        5 => (0_usize..3, proptest::bool::weighted(0.9)).prop_map(|(pick, good)| Act::Opens { pick, good }),
        12 => (0_usize..3, 1_usize..5, fails()).prop_map(|(pick, count, fails)| Act::Stores { pick, count, fails }),
        2 => (0_usize..3, fails()).prop_map(|(pick, fails)| Act::Completes { pick, fails }),
        1 => stream.prop_map(Act::Supersede),
    ]
}

/// A driver that keeps books of every chunk.
struct Driver {
    session: Session,
    starts: Vec<StreamUse>,
    /// What each use of a stream has to store: begin and end of each chunk, in order.
    to_store: BTreeMap<StreamUse, VecDeque<(u64, u64)>>,
    completes: Vec<CompleteRef>,
    aborts: Vec<(i64, UploadId)>,
    /// The newest use of each stream.
    uses: BTreeMap<u32, StreamUse>,
    /// Chunks of each use that are neither acknowledged nor failed.
    unsettled: BTreeMap<StreamUse, VecDeque<(u64, u64)>>,
    /// What the driver has told to be stored of each use.
    told: BTreeMap<StreamUse, u64>,
    /// Where the sender of each stream stands.
    sent: BTreeMap<u32, u64>,
    settled: usize,
    accepted: usize,
}

impl Driver {
    fn new() -> Self {
        let mut session = Session::new(RULES, moment(Duration::ZERO));
        session.handle(
            Input::Text(r#"{"type":"connect","id":0}"#.to_owned()),
            moment(Duration::ZERO),
        );
        session.handle(
            Input::Authenticated(Ok(admission())),
            moment(Duration::ZERO),
        );
        while session.poll().is_some() {}
        Self {
            session,
            starts: Vec::new(),
            to_store: BTreeMap::new(),
            completes: Vec::new(),
            aborts: Vec::new(),
            uses: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            told: BTreeMap::new(),
            sent: BTreeMap::new(),
            settled: 0,
            accepted: 0,
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Start(stream) => {
                let text = format!(
                    r#"{{"type":"start-transfer","id":1,"stream":{stream},"name":"a","size":{SIZE}}}"#
                );
                self.read(Input::Text(text));
            }
            Act::Chunk {
                stream,
                off,
                len,
                damaged,
            } => self.chunk(stream, off, len, damaged),
            Act::Complete(stream) => self.read(Input::Text(format!(
                r#"{{"type":"complete-upload","id":2,"stream":{stream}}}"#
            ))),
            Act::Abort(stream) => self.read(Input::Text(format!(
                r#"{{"type":"abort-upload","id":3,"stream":{stream}}}"#
            ))),
            Act::Opens { pick, good } => self.opens(pick, good),
            Act::Stores { pick, count, fails } => self.stores(pick, count, fails),
            Act::Completes { pick, fails } => self.finishes(pick, fails),
            Act::Supersede(stream) => {
                if let Some(of) = self.uses.get(&stream).copied() {
                    self.say(Input::Superseded(of));
                }
            }
        }
    }

    /// Delivers a frame, if the session wants one.
    fn read(&mut self, input: Input) {
        if self.session.wants_input() {
            self.say(input);
        }
    }

    fn chunk(&mut self, stream: u32, off: i64, len: usize, damaged: bool) {
        let sent = self.sent.entry(stream).or_default();
        let offset = sent.saturating_add_signed(off);
        let len = len
            .min(usize::try_from(SIZE.saturating_sub(offset)).unwrap_or(0))
            .min(LIMITS.max_chunk_bytes as usize);
        if len == 0 || !self.session.wants_input() {
            return;
        }
        if off == 0 {
            *sent += len as u64;
        }
        let mut chunk = Chunk::new(stream, offset, Bytes::from(vec![stream as u8; len]));
        chunk.crc ^= u32::from(damaged);
        self.say(Input::Binary(chunk.encode()));
    }

    fn opens(&mut self, pick: usize, good: bool) {
        if self.starts.is_empty() {
            return;
        }
        let of = self.starts.remove(pick % self.starts.len());
        let upload_id = UploadId(Uuid::from_u128(of.serial.into()));
        let opened = Opened {
            upload_id,
            file_id: FileId(upload_id.0),
            size: SIZE,
            offset: 0,
            status: TransferStatus::Open,
            expires_at: Timestamp::MAX,
            ended: None,
        };
        let answer = if good {
            Ok(Box::new(opened))
        } else {
            Err(Refusal::bare(ErrorCode::QuotaExceeded))
        };
        self.say(Input::Started(of, answer));
    }

    fn stores(&mut self, pick: usize, count: usize, fails: Option<ErrorCode>) {
        let streams: Vec<_> = self
            .to_store
            .iter()
            .filter(|(_, chunks)| !chunks.is_empty())
            .map(|(of, _)| *of)
            .collect();
        let Some(index) = pick.checked_rem(streams.len()) else {
            return;
        };
        let of = streams[index];
        let Some(chunks) = self.to_store.get_mut(&of) else {
            return;
        };
        if let Some(code) = fails {
            chunks.clear();
            return self.say(Input::Stored(of, Err(Refusal::bare(code))));
        }
        let count = count.min(chunks.len());
        let Some((_, end)) = chunks.drain(..count).next_back() else {
            return;
        };
        self.told.insert(of, end);
        self.say(Input::Stored(of, Ok(end)));
    }

    fn finishes(&mut self, pick: usize, fails: Option<ErrorCode>) {
        if self.completes.is_empty() {
            return;
        }
        let of = self.completes.remove(pick % self.completes.len());
        let digest = protocol::Digest::new(protocol::DigestAlgorithm::Sha256, [0; 32]);
        let completed = Completed {
            upload_id: of.upload_id,
            file_id: FileId(of.upload_id.0),
            size: SIZE,
            digest,
        };
        let answer = fails.map_or(Ok(Box::new(completed)), |code| Err(Refusal::bare(code)));
        self.say(Input::Completed(of, answer));
    }

    fn say(&mut self, input: Input) {
        self.session.handle(input, moment(Duration::ZERO));
        while let Some(output) = self.session.poll() {
            self.note(output);
        }
        let mut unstored = 0;
        for (of, chunks) in &self.unsettled {
            let told = self.told.get(of).copied().unwrap_or(0);
            let stored = chunks.partition_point(|(_, end)| *end <= told);
            let bytes = |chunks: std::collections::vec_deque::Iter<'_, (u64, u64)>| {
                chunks.map(|(begin, end)| end - begin).sum::<u64>()
            };
            let unacknowledged = bytes(chunks.range(..stored));
            assert!(
                unacknowledged == 0
                    || unacknowledged < LIMITS.window_bytes / 4 && stored < chunks.len(),
                "{unacknowledged} bytes are stored, and the client does not know"
            );
            unstored += bytes(chunks.range(stored..));
        }
        assert!(
            unstored <= self.session.in_flight(),
            "{unstored} bytes wait for an answer that will not come"
        );
    }

    fn note(&mut self, output: Output) {
        match output {
            Output::Start(of, _) => {
                self.starts.push(of);
                self.uses.insert(of.stream, of);
                self.sent.insert(of.stream, 0);
            }
            Output::Store {
                of,
                offset,
                payload,
                ..
            } => {
                let chunk = (offset, offset + payload.len() as u64);
                let unsettled = self.unsettled.entry(of).or_default();
                let follows = unsettled
                    .back()
                    .map_or(self.told.get(&of).copied().unwrap_or(0), |(_, end)| *end);
                assert_eq!(offset, follows, "chunks are stored in order, each once");
                unsettled.push_back(chunk);
                self.to_store.entry(of).or_default().push_back(chunk);
                self.accepted += 1;
            }
            Output::Complete { of, .. } => self.completes.push(of),
            Output::Abort(id, upload_id) => self.aborts.push((id, upload_id)),
            Output::Release(of) => {
                self.settled += self.unsettled.remove(&of).map_or(0, |chunks| chunks.len());
                self.to_store.remove(&of);
            }
            Output::Send(message) => self.hear(*message),
            Output::Reject(..) => {}
            other => panic!("nothing asked for {other:?}"),
        }
    }

    /// What the client learns of its chunks.
    fn hear(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::ChunkAcked(acked) => {
                let of = self.uses[&acked.stream];
                assert!(
                    acked.offset <= self.told.get(&of).copied().unwrap_or(0),
                    "what is not stored is not acknowledged"
                );
                let unsettled = self.unsettled.entry(of).or_default();
                let count = unsettled.partition_point(|(_, end)| *end <= acked.offset);
                unsettled.drain(..count);
                self.settled += count;
            }
            ServerMessage::Error(error) => {
                let Some((stream, expected)) = error.stream.zip(error.refusal.expected) else {
                    return;
                };
                self.sent.insert(stream, expected);
                if matches!(
                    error.refusal.code,
                    ErrorCode::Unavailable | ErrorCode::StorageFull
                ) {
                    let failed = self
                        .unsettled
                        .remove(&self.uses[&stream])
                        .unwrap_or_default();
                    assert!(
                        failed
                            .iter()
                            .all(|(begin, end)| *begin >= expected || *end <= expected),
                        "what is failed is sent again, and what is stored is not"
                    );
                    self.settled += failed.len();
                }
            }
            _ => {}
        }
    }

    /// Answers everything that is left to answer.
    fn settle(&mut self) {
        while !self.starts.is_empty() {
            self.opens(0, true);
        }
        while self.to_store.values().any(|chunks| !chunks.is_empty()) {
            self.stores(0, 100, None);
        }
        while !self.completes.is_empty() {
            self.finishes(0, None);
        }
        for (id, upload_id) in std::mem::take(&mut self.aborts) {
            self.say(Input::Aborted(id, upload_id, Ok(())));
        }
    }
}

proptest! {
    #![proptest_config(super::config())]

    #[test]
    fn every_stored_chunk_is_settled_exactly_once(acts in vec(act(), 0..200)) {
        let mut driver = Driver::new();
        for act in acts {
            driver.act(act);
        }
        driver.settle();
        prop_assert_eq!(driver.session.in_flight(), 0);
        prop_assert!(driver.session.wants_input());
        prop_assert_eq!(driver.settled, driver.accepted);
    }
}
