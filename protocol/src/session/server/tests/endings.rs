//! Completing and aborting uploads, in every state.

use super::rig::{Rig, abort, complete, refusal, start, upload};
use crate::{ErrorCode, session::server::Input};
use serde_json::json;

#[test]
fn complete_waits_for_the_last_bytes_to_be_stored() {
    let mut rig = Rig::uploading(5);
    rig.chunk(1, 0, "01234");
    assert_eq!(rig.text(complete(3, 1)), [""; 0]);
    assert_eq!(rig.stored(1, 5), ["> acked s1 u1 5", "complete #3 s1 u1"]);
}

#[test]
fn a_message_that_cannot_be_read_does_not_touch_the_stream_it_names() {
    let unreadable = [
        json!({"type": "complete-upload", "id": 9, "stream": 1, "digest": "md5:00"}),
        json!({"type": "no-such-type", "id": 9, "stream": 1}),
        json!({"type": "start-transfer", "id": 9, "stream": 1}),
    ];
    for message in unreadable {
        let mut rig = Rig::uploading(5);
        assert_eq!(rig.text(message.clone()).len(), 1);
        assert_eq!(
            rig.chunk(1, 0, "01234"),
            ["store s1 0+5"],
            "{message}: an open stream stays open"
        );
    }
    let mut rig = finished();
    rig.text(json!({"type": "complete-upload", "id": 9, "stream": 1, "digest": "md5:00"}));
    assert_eq!(
        rig.text(complete(4, 1)),
        ["complete #4 u1"],
        "a finished stream stays finished"
    );
}

/// A session in which stream 1 has become a file of 5 bytes.
fn finished() -> Rig {
    let mut rig = Rig::uploading(5);
    rig.chunk(1, 0, "01234");
    rig.stored(1, 5);
    rig.text(complete(3, 1));
    rig.completed(3, 5);
    rig
}

#[test]
fn repeating_complete_asks_again_what_the_file_became() {
    let mut rig = finished();
    assert_eq!(rig.text(complete(4, 1)), ["complete #4 u1"]);
    assert_eq!(rig.completed(4, 5), ["> completed #4 u1 5 cached"]);
    assert_eq!(
        rig.text(json!({"type": "complete-upload", "id": 5, "upload_id": upload(1)})),
        ["complete #5 u1"]
    );
    assert_eq!(
        rig.complete_failed(5, refusal(ErrorCode::NotFound)),
        ["> error #5 u1 not-found"]
    );
}

#[test]
fn chunks_of_a_finished_file_are_acknowledged_again() {
    let mut rig = finished();
    assert_eq!(rig.chunk(1, 0, "01234"), ["> acked s1 u1 5"]);
    assert_eq!(
        rig.chunk(1, 5, "5"),
        [""; 0],
        "what is not in it is dropped"
    );
}

#[test]
fn complete_with_bytes_missing_is_incomplete_and_the_upload_stays_open() {
    let mut rig = Rig::uploading(8);
    rig.chunk(1, 0, "01234");
    assert_eq!(
        rig.text(complete(3, 1)),
        ["> error #3 s1 u1 incomplete expected 5"]
    );
    assert_eq!(rig.chunk(1, 5, "567"), ["store s1 5+3"]);
    rig.stored(1, 8);
    assert_eq!(rig.text(complete(4, 1)), ["complete #4 s1 u1"]);
}

#[test]
fn complete_behind_a_damaged_chunk_is_incomplete() {
    let mut rig = Rig::connected();
    rig.text(start(2, 1, 5));
    rig.damaged(1, 0, "01234");
    rig.text(complete(3, 1));
    let expected = [
        "> started #2 s1 u1 open at 0",
        "> error s1 u1 checksum-mismatch expected 0",
        "> error #3 s1 u1 incomplete expected 0",
    ];
    assert_eq!(rig.opened(1, 5), expected);
}

#[test]
fn complete_by_upload_id_is_the_same_as_by_stream() {
    let mut rig = Rig::uploading(5);
    rig.chunk(1, 0, "01234");
    rig.stored(1, 5);
    let by_id =
        |id: i64, number| json!({"type": "complete-upload", "id": id, "upload_id": upload(number)});
    assert_eq!(rig.text(by_id(3, 1)), ["complete #3 s1 u1"]);
    rig.completed(3, 5);
    assert_eq!(
        rig.text(by_id(4, 77)),
        ["complete #4 u77"],
        "an upload of another session is asked for"
    );
    assert_eq!(rig.completed(4, 5), ["> completed #4 u77 5 cached"]);
}

#[test]
fn complete_of_an_unknown_stream_is_not_found() {
    assert_eq!(
        Rig::connected().text(complete(2, 9)),
        ["> error #2 s9 not-found"]
    );
    assert_eq!(
        Rig::connected().text(abort(2, 9)),
        ["> error #2 s9 not-found"]
    );
}

#[test]
fn complete_while_completing_is_a_conflict_and_the_first_goes_on() {
    let mut rig = Rig::uploading(5);
    rig.chunk(1, 0, "01234");
    rig.text(complete(3, 1));
    assert_eq!(
        rig.text(complete(4, 1)),
        ["> error #4 s1 u1 conflict"],
        "before the bytes are stored"
    );
    rig.stored(1, 5);
    assert_eq!(
        rig.text(complete(5, 1)),
        ["> error #5 s1 u1 conflict"],
        "while the file is made"
    );
    assert_eq!(
        rig.completed(3, 5),
        ["release s1", "> completed #3 u1 5 cached"]
    );
}

#[test]
fn a_complete_that_failed_for_now_can_be_repeated() {
    let mut rig = Rig::uploading(5);
    rig.chunk(1, 0, "01234");
    rig.stored(1, 5);
    rig.text(complete(3, 1));
    let lines = rig.complete_failed(3, refusal(ErrorCode::Unavailable).retry_after_ms(50));
    assert_eq!(lines, ["> error #3 s1 u1 unavailable after 50"]);
    assert_eq!(rig.text(complete(4, 1)), ["complete #4 s1 u1"]);
    assert_eq!(
        rig.completed(4, 5),
        ["release s1", "> completed #4 u1 5 cached"]
    );
}

#[test]
fn a_complete_that_finds_bytes_lost_has_them_sent_again() {
    let mut rig = Rig::uploading(5);
    rig.chunk(1, 0, "01234");
    rig.stored(1, 5);
    rig.text(complete(3, 1));
    let lost = refusal(ErrorCode::Incomplete).expecting(2);
    assert_eq!(
        rig.complete_failed(3, lost),
        ["> error #3 s1 u1 incomplete expected 2"]
    );
    assert_eq!(rig.chunk(1, 2, "234"), ["store s1 2+3"]);
    rig.stored(1, 5);
    assert_eq!(rig.text(complete(4, 1)), ["complete #4 s1 u1"]);
}

#[test]
fn a_complete_that_failed_for_good_ends_the_upload() {
    let mut rig = Rig::uploading(5);
    rig.chunk(1, 0, "01234");
    rig.stored(1, 5);
    rig.text(complete(3, 1));
    assert_eq!(
        rig.complete_failed(3, refusal(ErrorCode::DigestMismatch)),
        ["> error #3 s1 u1 digest-mismatch", "release s1"]
    );
    assert_eq!(
        rig.text(complete(4, 1)),
        ["> error #4 s1 u1 digest-mismatch"]
    );
    assert_eq!(rig.chunk(1, 0, "01234"), [""; 0]);
}

#[test]
fn a_store_failure_refuses_the_complete_that_waits_for_it() {
    let mut rig = Rig::uploading(5);
    rig.chunk(1, 0, "01234");
    rig.text(complete(3, 1));
    let lines = rig.store_failed(1, refusal(ErrorCode::StorageFull).retry_after_ms(9));
    assert_eq!(lines, ["> error #3 s1 u1 storage-full expected 0 after 9"]);
    rig.chunk(1, 0, "01234");
    rig.text(complete(4, 1));
    let lines = rig.store_failed(1, refusal(ErrorCode::TypeForbidden));
    assert_eq!(
        lines,
        [
            "> error s1 u1 type-forbidden",
            "release s1",
            "> error #4 s1 u1 type-forbidden"
        ]
    );
}

#[test]
fn abort_is_answered_in_every_state() {
    type Prepare = fn() -> Rig;
    let cases: [(&str, Prepare, &[&str]); 6] = [
        ("unknown", Rig::connected, &["> error #9 s1 not-found"]),
        ("open", || Rig::uploading(5), &["release s1", "abort #9 u1"]),
        (
            "storing, a complete waiting",
            || {
                let mut rig = Rig::uploading(5);
                rig.chunk(1, 0, "01234");
                rig.text(complete(3, 1));
                rig
            },
            &["release s1", "> error #3 s1 u1 aborted", "abort #9 u1"],
        ),
        (
            "being made a file",
            || {
                let mut rig = Rig::uploading(5);
                rig.chunk(1, 0, "01234");
                rig.stored(1, 5);
                rig.text(complete(3, 1));
                rig
            },
            &["abort #9 u1"],
        ),
        ("finished", finished, &["abort #9 u1"]),
        (
            "aborted",
            || {
                let mut rig = Rig::uploading(5);
                rig.text(abort(3, 1));
                rig
            },
            &["abort #9 u1"],
        ),
    ];
    for (case, prepare, expected) in cases {
        let mut rig = prepare();
        assert_eq!(rig.text(abort(9, 1)), expected, "{case}");
    }
}

#[test]
fn abort_behind_a_start_waits_for_it() {
    let mut rig = Rig::connected();
    rig.text(start(2, 1, 5));
    rig.chunk(1, 0, "01234");
    assert_eq!(rig.text(abort(3, 1)), [""; 0]);
    assert_eq!(rig.text(complete(4, 1)), [""; 0]);
    let expected = [
        "> started #2 s1 u1 open at 0",
        "store s1 0+5",
        "release s1",
        "abort #3 u1",
        "> error #4 s1 u1 aborted",
    ];
    assert_eq!(rig.opened(1, 5), expected);
    assert_eq!(rig.aborted(3, 1), ["> aborted #3 u1"]);
    assert_eq!(rig.session.in_flight(), 0);
}

#[test]
fn what_was_aborted_takes_nothing_more() {
    let mut rig = Rig::uploading(10);
    rig.chunk(1, 0, "01234");
    rig.text(abort(3, 1));
    assert_eq!(rig.stored(1, 5), [""; 0]);
    assert_eq!(rig.aborted(3, 1), ["> aborted #3 u1"]);
    assert_eq!(rig.chunk(1, 5, "56789"), [""; 0]);
    assert_eq!(rig.text(complete(4, 1)), ["> error #4 s1 u1 aborted"]);
}

#[test]
fn an_abort_that_came_too_late_does_not_hide_the_file() {
    let mut rig = Rig::uploading(5);
    rig.chunk(1, 0, "01234");
    rig.stored(1, 5);
    rig.text(complete(3, 1));
    rig.text(abort(4, 1));
    assert_eq!(
        rig.completed(3, 5),
        ["release s1", "> completed #3 u1 5 cached"]
    );
    let lines = rig.say(Input::Aborted(
        4,
        upload(1),
        Err(refusal(ErrorCode::Conflict)),
    ));
    assert_eq!(lines, ["> error #4 u1 conflict"]);
    assert_eq!(rig.text(complete(5, 1)), ["complete #5 u1"]);
}

#[test]
fn abort_by_upload_id() {
    let by_id =
        |id: i64, number| json!({"type": "abort-upload", "id": id, "upload_id": upload(number)});
    let mut rig = Rig::uploading(5);
    assert_eq!(rig.text(by_id(3, 1)), ["release s1", "abort #3 u1"]);
    assert_eq!(rig.text(by_id(4, 77)), ["abort #4 u77"]);
    assert_eq!(
        rig.say(Input::Aborted(
            4,
            upload(77),
            Err(refusal(ErrorCode::NotFound))
        )),
        ["> error #4 u77 not-found"]
    );
}
