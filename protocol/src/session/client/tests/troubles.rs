//! What the sender makes of breaks, refusals and uploads that ended before.

use super::*;

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
fn a_digest_that_was_asked_for_in_vain_is_asked_for_again() {
    let mut bench = Bench::new(&[30]);
    let mut asked = || std::iter::from_fn(|| bench.sender.poll_output(T0)).last();
    assert!(matches!(asked(), Some(Output::Digest(_))));
    assert_eq!(asked(), None, "once per session");
    bench.sender.connected(LIMITS);
    assert_eq!(bench.run(T0), [Started(2)]);
    bench.started(2, 30, TransferStatus::Open);
    assert_eq!(bench.run(T0), [AskDigest, Complete(ON_2)]);
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
