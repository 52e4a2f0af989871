//! Backpressure: the bounds at which the driver stops reading the socket, and draining.

use super::rig::{Rig, complete, refusal, rules, start, upload};
use crate::{
    ErrorCode,
    message::Limits,
    session::server::{Input, MAX_CHUNKS_IN_FLIGHT, Rules},
};
use serde_json::json;
use std::time::Duration;

#[test]
fn reading_pauses_when_a_stream_has_no_room_for_a_chunk() {
    let mut rig = Rig::uploading(100);
    for offset in [0, 10, 20] {
        assert!(rig.session.wants_input(), "{offset}");
        rig.chunk(1, offset, "0123456789");
    }
    assert!(
        rig.session.wants_input(),
        "30 of 40 in flight: one more fits"
    );
    rig.chunk(1, 30, "0");
    assert!(
        !rig.session.wants_input(),
        "31 of 40 in flight: ten more might not"
    );
    rig.stored(1, 1);
    assert!(rig.session.wants_input());
}

#[test]
fn reading_pauses_when_a_stream_that_is_being_opened_has_no_room() {
    let mut rig = Rig::connected();
    rig.text(start(2, 1, 40));
    for offset in [0, 10, 20, 30] {
        assert!(rig.session.wants_input(), "{offset}");
        assert_eq!(rig.chunk(1, offset, "0123456789"), [""; 0]);
    }
    assert!(!rig.session.wants_input());
    rig.started(1, Err(refusal(ErrorCode::QuotaExceeded)));
    assert!(rig.session.wants_input());
}

#[test]
fn reading_pauses_when_all_streams_together_have_no_room() {
    let mut rig = Rig::uploading(100);
    rig.open(3, 2, 100);
    for offset in [0, 10, 20] {
        rig.chunk(1, offset, "0123456789");
        assert!(rig.session.wants_input(), "{offset}");
        rig.chunk(2, offset, "0123456789");
    }
    assert_eq!(rig.session.in_flight(), 60);
    assert!(!rig.session.wants_input());
    rig.stored(2, 10);
    assert!(rig.session.wants_input());
    rig.chunk(2, 30, "0123456789");
    assert!(!rig.session.wants_input());
    rig.store_failed(1, refusal(ErrorCode::Unavailable));
    assert!(
        rig.session.wants_input(),
        "a failed store leaves nothing in flight"
    );
}

#[test]
fn dropped_and_repeated_chunks_take_no_room() {
    let mut rig = Rig::uploading(100);
    rig.chunk(1, 0, "0123456789");
    rig.damaged(1, 10, "0123456789");
    for _ in 0..20 {
        rig.chunk(1, 20, "0123456789");
        rig.chunk(1, 0, "0123456789");
        rig.damaged(1, 10, "0123456789");
    }
    assert_eq!(rig.session.in_flight(), 10);
    assert!(rig.session.wants_input());
}

#[test]
fn reading_pauses_at_so_many_pending_requests() {
    let mut rig = Rig::connected();
    for id in 0..5 {
        assert!(rig.session.wants_input());
        rig.text(json!({"type": "abort-upload", "id": id, "upload_id": upload(7)}));
    }
    assert!(!rig.session.wants_input());
    rig.aborted(3, 7);
    assert!(rig.session.wants_input());
}

#[test]
fn requests_behind_a_start_are_pending_too() {
    let mut rig = Rig::connected();
    rig.text(start(2, 1, 5));
    for id in 3..7 {
        assert!(rig.session.wants_input());
        rig.text(complete(id, 1));
    }
    assert!(!rig.session.wants_input());
    assert_eq!(
        rig.started(1, Err(refusal(ErrorCode::QuotaExceeded))).len(),
        5
    );
    assert!(rig.session.wants_input());
}

#[test]
fn tiny_chunks_are_bounded_by_their_number() {
    let limits = Limits {
        window_bytes: 1 << 20,
        max_file_bytes: 1 << 30,
        ..rules().limits
    };
    let mut rig = Rig::connected_with(Rules {
        limits,
        session_window_bytes: 1 << 20,
        ..rules()
    });
    rig.text(start(2, 1, 1 << 20));
    let half = MAX_CHUNKS_IN_FLIGHT as u64 / 2;
    for offset in 0..half {
        rig.chunk(1, offset, "x");
    }
    assert!(rig.session.wants_input());
    rig.opened(1, 1 << 20);
    for offset in half..2 * half {
        assert!(rig.session.wants_input());
        rig.chunk(1, offset, "x");
    }
    assert!(!rig.session.wants_input());
    rig.stored(1, half);
    assert!(rig.session.wants_input());
}

fn drain(rig: &mut Rig) -> Vec<String> {
    rig.say(Input::Drain {
        retry_after: Duration::from_millis(2500),
    })
}

#[test]
fn draining_an_idle_session_closes_at_once() {
    assert_eq!(
        drain(&mut Rig::connected()),
        ["> draining 2500", "close 1012"]
    );
    assert_eq!(
        drain(&mut Rig::uploading(10)),
        ["> draining 2500", "close 1012"],
        "an upload that waits for bytes is resumed later"
    );
    assert_eq!(
        drain(&mut Rig::fresh()),
        ["close 1012"],
        "nobody to tell yet"
    );
}

#[test]
fn draining_stores_and_acknowledges_what_has_come() {
    let mut rig = Rig::uploading(20);
    rig.chunk(1, 0, "01234");
    rig.chunk(1, 5, "56789");
    assert_eq!(drain(&mut rig), ["> draining 2500"]);
    assert!(!rig.session.wants_input(), "nothing new is read");
    assert_eq!(drain(&mut rig), [""; 0], "it is told once");
    assert_eq!(rig.stored(1, 5), [""; 0]);
    assert_eq!(rig.stored(1, 10), ["> acked s1 u1 10", "close 1012"]);
}

#[test]
fn draining_finishes_requests_under_way() {
    let mut rig = Rig::connected();
    rig.text(start(2, 1, 5));
    rig.chunk(1, 0, "01234");
    rig.text(complete(3, 1));
    rig.text(json!({"type": "get-history", "id": 4}));
    assert_eq!(drain(&mut rig), ["> draining 2500"]);
    assert_eq!(
        rig.opened(1, 5),
        ["> started #2 s1 u1 open at 0", "store s1 0+5"]
    );
    assert_eq!(rig.stored(1, 5), ["> acked s1 u1 5", "complete #3 s1 u1"]);
    assert_eq!(
        rig.completed(3, 5),
        ["release s1", "> completed #3 u1 5 cached"]
    );
    let history = crate::message::History {
        id: 4,
        files: Vec::new(),
        next_cursor: None,
    };
    let lines = rig.say(Input::Replied(Box::new(
        crate::message::ServerMessage::History(history),
    )));
    assert_eq!(lines.last().unwrap(), "close 1012");
}

#[test]
fn draining_with_a_failing_store_ends_too() {
    let mut rig = Rig::uploading(20);
    rig.chunk(1, 0, "01234");
    drain(&mut rig);
    let lines = rig.store_failed(1, refusal(ErrorCode::Unavailable).retry_after_ms(5));
    assert_eq!(
        lines,
        ["> error s1 u1 unavailable expected 0 after 5", "close 1012"]
    );
}
