//! Stream numbers used again, uploads taken over, and what is remembered of the past.

use super::rig::{Rig, abort, complete, opened, refusal, start, upload};
use crate::{ErrorCode, session::server::Input};
use serde_json::json;

#[test]
fn a_stream_number_is_free_again_when_its_upload_is_over() {
    let mut rig = Rig::uploading(5);
    rig.chunk(1, 0, "01234");
    rig.stored(1, 5);
    rig.text(complete(3, 1));
    rig.completed(3, 5);
    assert_eq!(rig.text(start(4, 1, 9)), ["start s1 of 9"]);
    assert_eq!(
        rig.started(1, Ok(opened(2, 9))),
        ["> started #4 s1 u2 open at 0"]
    );
    assert_eq!(rig.chunk(1, 0, "abcde"), ["store s1 0+5"]);
}

#[test]
fn answers_for_an_earlier_use_of_the_number_are_ignored() {
    let mut rig = Rig::uploading(5);
    let old = rig.of(1);
    rig.chunk(1, 0, "01234");
    rig.text(abort(3, 1));
    rig.text(start(4, 1, 9));
    let late: [fn(_) -> Input; 4] = [
        |of| Input::Stored(of, Ok(5)),
        |of| Input::Stored(of, Err(refusal(ErrorCode::Expired))),
        |of| Input::Superseded(of),
        |of| Input::Started(of, Err(refusal(ErrorCode::Internal))),
    ];
    for input in late {
        assert_eq!(rig.say(input(old)), [""; 0]);
    }
    rig.started(1, Ok(opened(2, 9)));
    rig.chunk(1, 0, "abcde");
    for input in late {
        assert_eq!(rig.say(input(old)), [""; 0]);
    }
    assert_eq!(rig.session.in_flight(), 5);
    assert_eq!(rig.stored(1, 5), ["> acked s1 u2 5"]);
}

#[test]
fn a_superseded_stream_is_told_and_takes_nothing_more() {
    let mut rig = Rig::uploading(10);
    rig.chunk(1, 0, "01234");
    let superseded = Input::Superseded(rig.of(1));
    assert_eq!(
        rig.say(superseded),
        ["> error s1 u1 superseded", "release s1"]
    );
    assert_eq!(rig.session.in_flight(), 0);
    assert_eq!(rig.chunk(1, 5, "56789"), [""; 0]);
    assert_eq!(rig.text(complete(3, 1)), ["> error #3 s1 u1 superseded"]);
    assert_eq!(
        rig.say(Input::Superseded(rig.of(1))),
        [""; 0],
        "once is enough"
    );
}

#[test]
fn a_superseded_stream_refuses_the_complete_that_waits() {
    let mut rig = Rig::uploading(5);
    rig.chunk(1, 0, "01234");
    rig.text(complete(3, 1));
    let superseded = Input::Superseded(rig.of(1));
    assert_eq!(
        rig.say(superseded),
        [
            "> error s1 u1 superseded",
            "release s1",
            "> error #3 s1 u1 superseded"
        ]
    );
}

#[test]
fn a_stream_superseded_while_it_is_opened_is_refused_by_the_store() {
    let mut rig = Rig::connected();
    rig.text(start(2, 1, 5));
    rig.chunk(1, 0, "01234");
    let superseded = Input::Superseded(rig.of(1));
    assert_eq!(rig.say(superseded), [""; 0]);
    assert_eq!(rig.session.in_flight(), 5);
    assert_eq!(
        rig.opened(1, 5),
        ["> started #2 s1 u1 open at 0", "store s1 0+5"]
    );
    assert_eq!(
        rig.store_failed(1, refusal(ErrorCode::Superseded)),
        ["> error s1 u1 superseded", "release s1"]
    );
    assert_eq!(rig.session.in_flight(), 0);
}

#[test]
fn a_resume_in_the_same_session_takes_the_upload_along() {
    let mut rig = Rig::uploading(5);
    rig.text(json!({"type": "start-transfer", "id": 3, "stream": 2, "upload_id": upload(1)}));
    let superseded = Input::Superseded(rig.of(1));
    rig.started(2, Ok(opened(1, 5)));
    rig.chunk(2, 0, "01234");
    rig.stored(2, 5);
    let by_id = json!({"type": "complete-upload", "id": 4, "upload_id": upload(1)});
    assert_eq!(
        rig.text(by_id),
        ["complete #4 s2 u1"],
        "the newest holder is meant"
    );
    assert_eq!(
        rig.say(superseded),
        ["> error s1 u1 superseded", "release s1"]
    );
    assert_eq!(
        rig.completed(4, 5),
        ["release s2", "> completed #4 u1 5 cached"]
    );
}

#[test]
fn only_so_many_past_streams_are_remembered() {
    let mut rig = Rig::connected();
    for stream in 0..3000 {
        rig.text(start(2, stream, 5));
        rig.started(stream, Err(refusal(ErrorCode::TypeForbidden)));
    }
    assert_eq!(rig.session.streams.len(), 1024);
    assert_eq!(rig.session.over.len(), 1024);
    assert_eq!(
        rig.chunk(2999, 0, "x"),
        [""; 0],
        "the newest are remembered"
    );
    assert_eq!(
        rig.chunk(0, 0, "x"),
        ["> error s0 not-found"],
        "the oldest are not"
    );
}

#[test]
fn forgetting_the_past_of_a_number_leaves_its_present_alone() {
    let mut rig = Rig::connected();
    rig.text(start(2, 0, 5));
    rig.started(0, Err(refusal(ErrorCode::TypeForbidden)));
    rig.open(3, 0, 5);
    for stream in 1..2000 {
        rig.text(start(2, stream, 5));
        rig.started(stream, Err(refusal(ErrorCode::TypeForbidden)));
    }
    assert_eq!(rig.chunk(0, 0, "01234"), ["store s0 0+5"]);
    assert_eq!(rig.session.streams.len(), 1025);
}

#[test]
fn one_number_used_again_and_again_leaves_no_trail() {
    let mut rig = Rig::connected();
    for _ in 0..3000 {
        rig.text(start(2, 7, 5));
        rig.started(7, Err(refusal(ErrorCode::TypeForbidden)));
    }
    assert_eq!(rig.session.streams.len(), 1);
    assert!(rig.session.over.len() <= 1024);
}
