//! The sender's rules, one by one.

mod troubles;

use super::*;
use crate::{
    ErrorCode,
    digest::DigestAlgorithm,
    message::{ChunkAcked, ErrorMessage, ServerMessage, TransferStarted, UploadCompleted},
};
use jiff::Timestamp;
use uuid::Uuid;

const LIMITS: Limits = Limits {
    max_chunk_bytes: 40,
    window_bytes: 100,
    max_file_bytes: 1 << 40,
    max_open_uploads: 32,
    max_message_bytes: 1 << 20,
};
const T0: Duration = Duration::ZERO;
const UPLOAD: UploadId = UploadId(Uuid::from_u128(7));
const FILE: FileId = FileId(Uuid::from_u128(8));

/// One step of the sender's, in short.
#[derive(Debug, PartialEq)]
enum Did {
    Start(StreamId),
    Chunk(StreamId, u64, u64),
    Digest,
    Complete(UploadRef),
    Abort(UploadRef),
}
use Did::{Abort, Chunk, Complete, Digest as AskDigest, Start as Started};

/// A sender whose requests are remembered, to be answered.
struct Bench {
    sender: Sender,
    start: RequestId,
    complete: RequestId,
}

pub(super) fn meta(size: u64) -> FileMeta {
    FileMeta {
        name: "a.bin".to_owned(),
        size,
        content_type: None,
        digest: None,
        pool: None,
        captured_at: None,
        batch: None,
        title: None,
        description: None,
        tags: Vec::new(),
    }
}

fn digest() -> Digest {
    Digest::new(DigestAlgorithm::Sha256, [1; 32])
}

impl Bench {
    fn new(sizes: &[u64]) -> Self {
        let mut sender = Sender::new(8);
        for (n, size) in sizes.iter().enumerate() {
            let key = UploadKey(Uuid::from_u128(n as u128));
            sender.add(Outgoing {
                key,
                meta: meta(*size),
            });
        }
        sender.connected(LIMITS);
        Self {
            sender,
            start: 0,
            complete: 0,
        }
    }

    /// One file under way on stream 1, nothing of it sent.
    fn under_way(size: u64) -> Self {
        let mut bench = Self::new(&[size]);
        assert_eq!(bench.run(T0), [Started(1)]);
        bench.started(1, 0, TransferStatus::Open);
        bench
    }

    /// Everything the sender does at `now`.
    fn run(&mut self, now: Duration) -> Vec<Did> {
        let mut did = Vec::new();
        while let Some(output) = self.sender.poll_output(now) {
            did.push(match output {
                Output::Chunk(chunk) => Chunk(chunk.stream, chunk.offset, chunk.len),
                Output::Digest(id) => {
                    self.sender.set_digest(id, digest());
                    AskDigest
                }
                Output::Message(ClientMessage::StartTransfer(start)) => {
                    self.start = start.id;
                    Started(start.stream)
                }
                Output::Message(ClientMessage::CompleteUpload(complete)) => {
                    self.complete = complete.id;
                    Complete(complete.upload)
                }
                Output::Message(ClientMessage::AbortUpload(abort)) => Abort(abort.upload),
                Output::Message(other) => panic!("unexpected {other:?}"),
            });
        }
        did
    }

    fn hear(&mut self, message: &ServerMessage) -> bool {
        self.sender.handle(message, T0)
    }

    fn started(&mut self, stream: StreamId, offset: u64, status: TransferStatus) {
        let reply = TransferStarted {
            id: self.start,
            stream,
            upload_id: UPLOAD,
            offset,
            status,
            file_id: None,
            chunk_bytes: 30,
            expires_at: Timestamp::UNIX_EPOCH,
        };
        assert!(self.hear(&ServerMessage::TransferStarted(reply)));
    }

    fn acked(&mut self, stream: StreamId, offset: u64) {
        self.hear(&ServerMessage::ChunkAcked(ChunkAcked {
            stream,
            upload_id: UPLOAD,
            offset,
        }));
    }

    fn completed(&mut self) {
        let reply = UploadCompleted {
            id: self.complete,
            upload_id: UPLOAD,
            file_id: FILE,
            size: 1,
            digest: digest(),
            status: TransferStatus::Cached,
        };
        assert!(self.hear(&ServerMessage::UploadCompleted(reply)));
    }

    fn refused(
        &mut self,
        id: Option<RequestId>,
        stream: Option<StreamId>,
        refusal: Refusal,
    ) -> bool {
        let error = ErrorMessage {
            id,
            stream,
            ..ErrorMessage::new(refusal)
        };
        self.hear(&ServerMessage::Error(error))
    }

    fn outcome(&mut self) -> Option<Outcome> {
        std::iter::from_fn(|| self.sender.poll_event()).find_map(|event| match event {
            Event::Ended { outcome, .. } => Some(outcome),
            _ => None,
        })
    }
}

fn held(status: TransferStatus, already: bool) -> Outcome {
    Outcome::Held(Held {
        upload_id: UPLOAD,
        file_id: Some(FILE),
        digest: Some(digest()),
        status,
        already,
    })
}

const ON_1: UploadRef = UploadRef::Stream(1);
const ON_2: UploadRef = UploadRef::Stream(2);

#[test]
fn a_small_file_goes_out_in_one_go() {
    let mut bench = Bench::new(&[90]);
    let chunks = [Chunk(1, 0, 40), Chunk(1, 40, 40), Chunk(1, 80, 10)];
    let [a, b, c] = chunks;
    assert_eq!(
        bench.run(T0),
        [Started(1), a, b, c, AskDigest, Complete(ON_1)]
    );
    bench.started(1, 0, TransferStatus::Open);
    bench.acked(1, 90);
    bench.completed();
    assert_eq!(bench.outcome(), Some(held(TransferStatus::Cached, false)));
    assert!(bench.sender.is_idle());
}

#[test]
fn a_large_file_waits_for_its_start_and_keeps_to_the_window() {
    let mut bench = Bench::under_way(200);
    assert_eq!(
        bench.run(T0),
        [Chunk(1, 0, 30), Chunk(1, 30, 30), Chunk(1, 60, 30)]
    );
    bench.acked(1, 15);
    assert_eq!(bench.run(T0), [], "a chunk is not cut to fit the window");
    bench.acked(1, 60);
    assert_eq!(bench.run(T0), [Chunk(1, 90, 30), Chunk(1, 120, 30)]);
    bench.acked(1, 150);
    assert_eq!(
        bench.run(T0),
        [
            Chunk(1, 150, 30),
            Chunk(1, 180, 20),
            AskDigest,
            Complete(ON_1)
        ]
    );
    bench.acked(1, 40);
    assert_eq!(bench.run(T0), [], "an old acknowledgement changes nothing");
    bench.completed();
    assert_eq!(bench.outcome(), Some(held(TransferStatus::Cached, false)));
}

#[test]
fn an_announced_digest_is_not_asked_for() {
    let mut sender = Sender::new(1);
    let meta = FileMeta {
        digest: Some(digest()),
        ..meta(10)
    };
    sender.add(Outgoing {
        key: UploadKey(Uuid::nil()),
        meta,
    });
    sender.connected(LIMITS);
    let mut bench = Bench {
        sender,
        start: 0,
        complete: 0,
    };
    assert_eq!(bench.run(T0), [Started(1), Chunk(1, 0, 10), Complete(ON_1)]);
}

#[test]
fn files_take_turns() {
    let mut bench = Bench::new(&[500, 500]);
    assert_eq!(bench.run(T0), [Started(1), Started(2)]);
    let second = bench.start;
    bench.start = second - 1;
    bench.started(1, 0, TransferStatus::Open);
    bench.start = second;
    bench.started(2, 0, TransferStatus::Open);
    let order: Vec<_> = bench
        .run(T0)
        .iter()
        .map(|did| {
            if let Chunk(stream, ..) = did {
                *stream
            } else {
                0
            }
        })
        .collect();
    assert_eq!(order, [1, 2, 1, 2, 1, 2]);
}

#[test]
fn no_more_files_are_open_than_allowed() {
    let mut bench = Bench::new(&[500; 40]);
    assert_eq!(bench.run(T0).len(), 8, "the sender's own limit");
    bench.sender.connected(Limits {
        max_open_uploads: 3,
        ..LIMITS
    });
    assert_eq!(bench.run(T0).len(), 3, "the server's limit");
}

#[test]
fn draining_starts_nothing_further() {
    let mut bench = Bench::new(&[500, 50]);
    bench.sender.draining();
    assert_eq!(bench.run(T0), []);
    bench.sender.connected(LIMITS);
    assert_eq!(bench.run(T0).len(), 6, "the next session starts them");
}

#[test]
fn a_lost_bet_ends_pipelining_and_a_fresh_file_brings_it_back() {
    let mut bench = Bench::new(&[50]);
    bench.run(T0);
    bench.started(1, 50, TransferStatus::Open);
    bench.completed();
    bench.sender.add(Outgoing {
        key: UploadKey(Uuid::from_u128(50)),
        meta: meta(50),
    });
    assert_eq!(bench.run(T0), [Started(2)]);
    bench.started(2, 0, TransferStatus::Open);
    bench.run(T0);
    bench.completed();
    bench.sender.add(Outgoing {
        key: UploadKey(Uuid::from_u128(51)),
        meta: meta(10),
    });
    assert_eq!(
        bench.run(T0),
        [
            Started(3),
            Chunk(3, 0, 10),
            AskDigest,
            Complete(UploadRef::Stream(3))
        ]
    );
}

#[test]
fn a_pipelined_file_that_was_there_already_needs_no_further_question() {
    let mut bench = Bench::new(&[50]);
    bench.run(T0);
    bench.started(1, 50, TransferStatus::Cached);
    assert_eq!(bench.run(T0), []);
    bench.completed();
    assert_eq!(bench.outcome(), Some(held(TransferStatus::Cached, true)));
}

#[test]
fn cancelling_tells_the_server_what_it_may_know() {
    let mut bench = Bench::new(&[500]);
    bench.sender.cancel(TransferId(0));
    assert_eq!(bench.run(T0), [], "it was never started");
    assert_eq!(bench.outcome(), Some(Outcome::Cancelled));

    let mut bench = Bench::under_way(500);
    bench.run(T0);
    bench.sender.cancel(TransferId(0));
    assert_eq!(bench.run(T0), [Abort(ON_1)]);
    assert!(!bench.sender.is_open(1) && bench.sender.is_idle());
}

#[test]
fn messages_about_others_are_not_its_own() {
    let mut bench = Bench::under_way(500);
    assert!(!bench.refused(Some(999), Some(1), Refusal::bare(ErrorCode::NotFound)));
    assert!(!bench.refused(None, Some(9), Refusal::bare(ErrorCode::NotFound)));
    assert!(!bench.refused(None, None, Refusal::bare(ErrorCode::RateLimited)));
    assert!(bench.sender.is_open(1));
}
