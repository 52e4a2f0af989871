//! The sender's rules, one by one.

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
fn a_reconnect_goes_on_where_the_server_says() {
    for (told, first) in [
        (60, Chunk(2, 60, 30)),
        (10, Chunk(2, 10, 30)),
        (90, Chunk(2, 90, 30)),
    ] {
        let mut bench = Bench::under_way(200);
        bench.run(T0);
        bench.acked(1, 60);
        bench.run(T0);
        bench.sender.disconnected();
        assert_eq!(bench.run(T0), [], "nothing is sent without a session");
        assert!(!bench.sender.is_open(1));
        bench.sender.connected(LIMITS);
        assert_eq!(bench.run(T0), [Started(2)]);
        bench.started(2, told, TransferStatus::Open);
        assert_eq!(bench.run(T0).first(), Some(&first));
    }
}

#[test]
fn a_small_file_is_not_sent_blindly_twice() {
    let mut bench = Bench::new(&[50]);
    bench.run(T0);
    bench.sender.connected(LIMITS);
    assert_eq!(bench.run(T0), [Started(2)]);
    bench.started(2, 50, TransferStatus::Open);
    assert_eq!(bench.run(T0), [Complete(ON_2)]);
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
fn it_goes_back_to_what_is_expected() {
    for code in [ErrorCode::OffsetMismatch, ErrorCode::ChecksumMismatch] {
        let mut bench = Bench::under_way(110);
        bench.run(T0);
        bench.acked(1, 30);
        bench.run(T0);
        let old_complete = bench.complete;
        assert!(bench.refused(None, Some(1), Refusal::bare(code).expecting(20)));
        assert_eq!(
            bench.run(T0),
            [
                Chunk(1, 20, 30),
                Chunk(1, 50, 30),
                Chunk(1, 80, 30),
                Complete(ON_1)
            ],
            "{code}"
        );
        let late = Refusal::bare(ErrorCode::Incomplete).expecting(20);
        assert!(
            !bench.refused(Some(old_complete), Some(1), late),
            "the answer to the old completion no longer counts"
        );
        assert_eq!(bench.run(T0), []);
    }
}

#[test]
fn an_incomplete_upload_is_completed_after_what_was_missing() {
    let mut bench = Bench::under_way(110);
    bench.run(T0);
    bench.acked(1, 90);
    assert_eq!(bench.run(T0), [Chunk(1, 90, 20), AskDigest, Complete(ON_1)]);
    bench.refused(
        Some(bench.complete),
        Some(1),
        Refusal::bare(ErrorCode::Incomplete).expecting(90),
    );
    assert_eq!(bench.run(T0), [Chunk(1, 90, 20), Complete(ON_1)]);
}

#[test]
fn it_waits_as_long_as_told() {
    let told = || Refusal::bare(ErrorCode::Unavailable).retry_after_ms(700);
    let at = |ms| Duration::from_millis(ms);

    let mut start = Bench::new(&[500]);
    start.run(T0);
    start.refused(Some(start.start), Some(1), told());
    assert_eq!(start.sender.next_timeout(), Some(at(700)));
    assert_eq!(start.run(at(699)), []);
    assert_eq!(
        start.run(at(700)),
        [Started(2)],
        "a refused start is made again on a stream of its own"
    );

    let mut chunk = Bench::under_way(200);
    chunk.run(T0);
    chunk.refused(None, Some(1), told().expecting(30));
    assert_eq!(chunk.run(at(699)), []);
    assert_eq!(
        chunk.run(at(700)).first(),
        Some(&Chunk(1, 30, 30)),
        "the stream goes on"
    );

    let mut unsure = Bench::under_way(200);
    unsure.run(T0);
    unsure.refused(None, Some(1), told());
    assert_eq!(
        unsure.run(at(700)),
        [Started(2)],
        "without `expected` the start tells where to go on"
    );

    let mut complete = Bench::under_way(110);
    complete.run(T0);
    complete.acked(1, 90);
    complete.run(T0);
    complete.refused(Some(complete.complete), Some(1), told());
    assert_eq!(complete.sender.next_timeout(), Some(at(700)));
    assert_eq!(complete.run(at(699)), []);
    assert_eq!(complete.run(at(700)), [Complete(ON_1)]);
    assert_eq!(complete.sender.next_timeout(), None);
}

#[test]
fn without_a_time_it_waits_ever_longer_and_gives_up_in_the_end() {
    let mut bench = Bench::new(&[500]);
    let (mut now, mut waits) = (T0, Vec::new());
    let outcome = loop {
        bench.run(now);
        let error = ErrorMessage {
            id: Some(bench.start),
            ..ErrorMessage::new(Refusal::bare(ErrorCode::Internal))
        };
        bench.sender.handle(&ServerMessage::Error(error), now);
        if let Some(outcome) = bench.outcome() {
            break outcome;
        }
        let next = bench.sender.next_timeout().unwrap();
        waits.push((next - now).as_millis());
        now = next;
    };
    assert_eq!(
        waits,
        [
            250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000, 30_000, 30_000
        ]
    );
    assert_eq!(
        outcome,
        Outcome::Refused {
            refusal: Refusal::bare(ErrorCode::Internal),
            already: false
        }
    );
}

#[test]
fn a_final_refusal_ends_the_file_and_its_late_replies_are_ignored() {
    let mut bench = Bench::new(&[50, 500]);
    bench.run(T0);
    let refusal = Refusal::new(ErrorCode::TypeForbidden, "no programs");
    let (first_start, first_complete) = (bench.start - 1, bench.complete);
    assert!(bench.refused(Some(first_start), Some(1), refusal.clone()));
    assert_eq!(
        bench.outcome(),
        Some(Outcome::Refused {
            refusal: refusal.clone(),
            already: false
        })
    );
    assert!(!bench.refused(Some(first_complete), Some(1), refusal));
    assert!(
        !bench.sender.is_open(1) && bench.sender.is_open(2),
        "the other file goes on"
    );
}

#[test]
fn a_forgotten_stream_is_started_anew() {
    let mut bench = Bench::under_way(200);
    bench.run(T0);
    bench.refused(None, Some(1), Refusal::bare(ErrorCode::NotFound));
    assert_eq!(bench.run(Duration::from_secs(1)), [Started(2)]);
    bench.refused(
        Some(bench.start),
        Some(2),
        Refusal::bare(ErrorCode::NotFound),
    );
    assert!(
        bench.outcome().is_some(),
        "a start that finds nothing is final"
    );
}

#[test]
fn a_takeover_ends_it_but_for_one_by_its_own_old_session() {
    let superseded = || Refusal::bare(ErrorCode::Superseded);
    let mut bench = Bench::under_way(200);
    bench.refused(None, Some(1), superseded());
    assert_eq!(
        bench.outcome(),
        Some(Outcome::Refused {
            refusal: superseded(),
            already: false
        })
    );

    let mut bench = Bench::under_way(200);
    bench.sender.connected(LIMITS);
    bench.run(T0);
    bench.refused(None, Some(2), superseded());
    assert_eq!(bench.run(Duration::from_secs(1)), [Started(3)]);
    bench.refused(None, Some(3), superseded());
    assert!(bench.outcome().is_some());
}

#[test]
fn what_ended_before_ends_with_the_same_outcome() {
    let mut bench = Bench::new(&[500]);
    bench.run(T0);
    bench.started(1, 500, TransferStatus::UploadedSuccessfully);
    assert_eq!(
        bench.run(T0),
        [Complete(UploadRef::Upload(UPLOAD))],
        "it asks for file and digest"
    );
    bench.completed();
    assert_eq!(
        bench.outcome(),
        Some(held(TransferStatus::UploadedSuccessfully, true))
    );

    let refusal = Refusal::new(ErrorCode::TypeForbidden, "no programs");
    for (status, reply, expected) in [
        (TransferStatus::Rejected, refusal.clone(), refusal),
        (
            TransferStatus::Expired,
            Refusal::bare(ErrorCode::NotFound),
            Refusal::bare(ErrorCode::Expired),
        ),
        (
            TransferStatus::Aborted,
            Refusal::bare(ErrorCode::Internal),
            Refusal::bare(ErrorCode::Aborted),
        ),
    ] {
        let mut bench = Bench::new(&[500]);
        bench.run(T0);
        bench.started(1, 0, status);
        bench.run(T0);
        bench.refused(Some(bench.complete), None, reply);
        assert_eq!(
            bench.outcome(),
            Some(Outcome::Refused {
                refusal: expected,
                already: true
            }),
            "{status}"
        );
    }
}

#[test]
fn an_outcome_found_after_a_lost_reply_is_its_own() {
    let mut bench = Bench::new(&[50]);
    bench.run(T0);
    bench.sender.connected(LIMITS);
    bench.run(T0);
    bench.started(2, 50, TransferStatus::Storing);
    bench.run(T0);
    bench.completed();
    assert_eq!(bench.outcome(), Some(held(TransferStatus::Storing, false)));
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
