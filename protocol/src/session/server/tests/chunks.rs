//! Order, damage and go-back-N of one stream's chunks.

use super::rig::{Rig, complete, refusal};
use crate::{ErrorCode, Refusal, session::server::Input};
use std::time::Duration;

#[test]
fn chunks_in_order_are_stored_and_acknowledged_cumulatively() {
    let mut rig = Rig::uploading(15);
    assert_eq!(rig.chunk(1, 0, "01234"), ["store s1 0+5"]);
    assert_eq!(rig.chunk(1, 5, "56789"), ["store s1 5+5"]);
    assert_eq!(rig.chunk(1, 10, "abcde"), ["store s1 10+5"]);
    assert_eq!(
        (rig.session.in_flight(), rig.session.stream_in_flight(1)),
        (15, 15)
    );
    assert_eq!(rig.stored(1, 10), ["> acked s1 u1 10"]);
    assert_eq!(
        (rig.session.in_flight(), rig.session.stream_in_flight(1)),
        (5, 5)
    );
    assert_eq!(rig.stored(1, 15), ["> acked s1 u1 15"]);
    assert_eq!(rig.session.in_flight(), 0);
}

#[test]
fn a_quarter_of_the_window_is_acknowledged_at_once_and_less_with_what_else_is_in_flight() {
    let mut rig = Rig::uploading(50);
    for offset in [0, 10, 20] {
        rig.chunk(1, offset, "0123456789");
    }
    assert_eq!(rig.stored(1, 9), [""; 0], "a quarter is 10");
    assert_eq!(rig.session.in_flight(), 21, "room is there at once");
    assert_eq!(rig.stored(1, 10), ["> acked s1 u1 10"]);
    assert_eq!(rig.stored(1, 15), [""; 0]);
    assert_eq!(rig.stored(1, 28), ["> acked s1 u1 28"]);
    assert_eq!(rig.stored(1, 30), ["> acked s1 u1 30"], "all that has come");
    rig.chunk(1, 30, "0123456789");
    rig.chunk(1, 40, "0123456789");
    assert_eq!(rig.stored(1, 35), [""; 0]);
    assert_eq!(
        rig.store_failed(1, refusal(ErrorCode::Unavailable)),
        ["> error s1 u1 unavailable expected 35 after 1000"],
        "an error tells as much"
    );
    rig.chunk(1, 35, "01234");
    rig.chunk(1, 40, "0123456789");
    assert_eq!(rig.stored(1, 40), [""; 0]);
    assert_eq!(rig.stored(1, 50), ["> acked s1 u1 50"], "the whole file");
}

#[test]
fn less_than_a_quarter_is_acknowledged_after_a_moment_however_much_comes_meanwhile() {
    let mut rig = Rig::uploading(100);
    for offset in [0, 10, 20] {
        rig.chunk(1, offset, "0123456789");
    }
    let millis = Duration::from_millis;
    assert_eq!(rig.stored(1, 3), [""; 0]);
    assert_eq!(rig.wait(millis(30)), [""; 0]);
    assert_eq!(rig.stored(1, 6), [""; 0]);
    assert_eq!(rig.wait(millis(9)), [""; 0]);
    assert_eq!(
        rig.wait(millis(1)),
        ["0s > acked s1 u1 6"],
        "the time of the first byte counts"
    );
    assert_eq!(rig.wait(millis(1000)), [""; 0], "there is nothing new");
    assert_eq!(rig.stored(1, 10), [""; 0]);
    rig.stored(1, 20);
    assert_eq!(rig.wait(millis(1000)), [""; 0], "told before");
}

#[test]
fn a_chunk_that_does_not_continue_the_upload_is_refused_with_the_offset_that_does() {
    let cases = [
        ("a gap", 6, "6"),
        ("a far gap", u64::MAX, "x"),
        ("an overlap", 3, "3456"),
        ("an overlap from the start", 0, "0123456"),
    ];
    for (case, offset, payload) in cases {
        let mut rig = Rig::uploading(20);
        rig.chunk(1, 0, "01234");
        assert_eq!(
            rig.chunk(1, offset, payload),
            ["> error s1 u1 offset-mismatch expected 5"],
            "{case}"
        );
        assert_eq!(
            rig.chunk(1, 5, "56789"),
            ["store s1 5+5"],
            "{case}: the upload goes on"
        );
    }
}

#[test]
fn a_damaged_chunk_is_refused_and_nothing_of_it_stored() {
    let mut rig = Rig::uploading(10);
    rig.chunk(1, 0, "01234");
    assert_eq!(
        rig.damaged(1, 5, "56789"),
        ["> error s1 u1 checksum-mismatch expected 5"]
    );
    assert_eq!(rig.session.in_flight(), 5);
    assert_eq!(
        rig.damaged(1, 5, "56789"),
        ["> error s1 u1 checksum-mismatch expected 5"],
        "each damaged repetition is told"
    );
    assert_eq!(rig.chunk(1, 5, "56789"), ["store s1 5+5"]);
}

#[test]
fn after_an_error_chunks_beyond_the_expected_offset_are_dropped_silently() {
    let mut rig = Rig::uploading(30);
    assert_eq!(
        rig.damaged(1, 0, "01234"),
        ["> error s1 u1 checksum-mismatch expected 0"]
    );
    assert_eq!(rig.chunk(1, 5, "56789"), [""; 0]);
    assert_eq!(rig.damaged(1, 10, "abcde"), [""; 0]);
    assert_eq!(rig.chunk(1, 0, "01234"), ["store s1 0+5"]);
    assert_eq!(
        rig.chunk(1, 10, "abcde"),
        ["> error s1 u1 offset-mismatch expected 5"],
        "a new error is told again"
    );
    assert_eq!(rig.chunk(1, 15, "fghij"), [""; 0]);
    assert_eq!(
        rig.chunk(1, 3, "3456"),
        ["> error s1 u1 offset-mismatch expected 5"],
        "an overlap is not beyond"
    );
}

#[test]
fn a_chunk_wholly_before_the_expected_offset_is_acknowledged_again() {
    let mut rig = Rig::uploading(20);
    rig.chunk(1, 0, "01234");
    assert_eq!(
        rig.chunk(1, 0, "01234"),
        ["> acked s1 u1 0"],
        "only what is stored is acknowledged"
    );
    rig.stored(1, 5);
    rig.chunk(1, 5, "56789");
    assert_eq!(rig.chunk(1, 0, "01234"), ["> acked s1 u1 5"]);
    assert_eq!(rig.chunk(1, 2, "2"), ["> acked s1 u1 5"]);
    assert_eq!(
        rig.damaged(1, 0, "01234"),
        ["> acked s1 u1 5"],
        "its bytes are not looked at"
    );
    assert_eq!(rig.session.in_flight(), 5);
}

#[test]
fn a_byte_too_many_ends_the_upload() {
    let mut rig = Rig::uploading(7);
    rig.chunk(1, 0, "01234");
    assert_eq!(
        rig.chunk(1, 5, "567"),
        [
            "> error s1 u1 size-exceeded",
            "release s1",
            "reject u1 size-exceeded"
        ]
    );
    assert_eq!(
        (rig.session.in_flight(), rig.session.open_uploads()),
        (0, 0)
    );
    assert_eq!(rig.chunk(1, 5, "56"), [""; 0], "later chunks are dropped");
    assert_eq!(
        rig.stored(1, 5),
        [""; 0],
        "the store's answer comes too late"
    );
    assert_eq!(rig.text(complete(3, 1)), ["> error #3 s1 u1 size-exceeded"]);
}

#[test]
fn a_damaged_byte_too_many_may_be_the_damage() {
    let mut rig = Rig::uploading(7);
    rig.chunk(1, 0, "01234");
    assert_eq!(
        rig.damaged(1, 5, "567"),
        ["> error s1 u1 checksum-mismatch expected 5"]
    );
    assert_eq!(rig.chunk(1, 5, "56"), ["store s1 5+2"]);
}

#[test]
fn a_byte_too_many_while_the_file_is_made_is_refused_alone() {
    let mut rig = Rig::uploading(5);
    rig.chunk(1, 0, "01234");
    rig.stored(1, 5);
    assert_eq!(rig.text(complete(3, 1)), ["complete #3 s1 u1"]);
    assert_eq!(rig.chunk(1, 5, "5"), ["> error s1 u1 size-exceeded"]);
    assert_eq!(
        rig.completed(3, 5),
        ["release s1", "> completed #3 u1 5 cached"]
    );
}

#[test]
fn binary_messages_that_are_no_chunks_are_refused_and_harm_nothing() {
    let header = |kind: u8, reserved: u8| {
        [
            kind, 0, reserved, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ]
    };
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("empty", vec![], "> error invalid-message"),
        ("too short", vec![1, 0, 0], "> error invalid-message"),
        (
            "too short but for the stream",
            header(1, 0)[..12].to_vec(),
            "> error s1 u1 invalid-message",
        ),
        (
            "no payload",
            header(1, 0).to_vec(),
            "> error s1 u1 invalid-message",
        ),
        (
            "another kind",
            [&header(2, 0)[..], b"x"].concat(),
            "> error invalid-message",
        ),
        (
            "a reserved bit",
            [&header(1, 1)[..], b"x"].concat(),
            "> error s1 u1 invalid-message",
        ),
    ];
    for (case, message, error) in cases {
        let mut rig = Rig::uploading(10);
        assert_eq!(rig.binary(message), [error], "{case}");
        assert_eq!(
            rig.chunk(1, 0, "01234"),
            ["store s1 0+5"],
            "{case}: the upload goes on"
        );
    }
}

#[test]
fn a_chunk_of_a_stream_that_was_never_opened_is_not_found() {
    let mut rig = Rig::uploading(10);
    assert_eq!(rig.chunk(2, 0, "01234"), ["> error s2 not-found"]);
}

#[test]
fn a_chunk_larger_than_advertised_closes() {
    assert_eq!(
        Rig::uploading(20).chunk(1, 0, "0123456789"),
        ["store s1 0+10"]
    );
    assert_eq!(
        Rig::uploading(20).chunk(1, 0, "0123456789a"),
        ["close 1009"]
    );
    assert_eq!(Rig::uploading(20).binary(vec![1; 1001]), ["close 1009"]);
}

#[test]
fn a_store_that_fails_for_now_has_everything_in_flight_sent_again() {
    let cases = [
        ErrorCode::Unavailable,
        ErrorCode::StorageFull,
        ErrorCode::RateLimited,
    ];
    for code in cases {
        let mut rig = Rig::uploading(20);
        rig.chunk(1, 0, "01234");
        rig.stored(1, 5);
        rig.chunk(1, 5, "56789");
        rig.chunk(1, 10, "abcde");
        let lines = rig.store_failed(1, refusal(code).retry_after_ms(700));
        assert_eq!(
            lines,
            [format!("> error s1 u1 {code} expected 5 after 700")]
        );
        assert_eq!(rig.session.in_flight(), 0);
        assert_eq!(
            rig.chunk(1, 15, "fghij"),
            [""; 0],
            "{code}: what was on its way is dropped silently"
        );
        assert_eq!(rig.chunk(1, 5, "56789"), ["store s1 5+5"]);
        assert_eq!(rig.stored(1, 10), ["> acked s1 u1 10"]);
    }
}

#[test]
fn a_store_that_lost_bytes_has_them_sent_again() {
    let mut rig = Rig::uploading(20);
    rig.chunk(1, 0, "01234");
    rig.stored(1, 5);
    rig.chunk(1, 5, "56789");
    let lost = refusal(ErrorCode::Unavailable)
        .expecting(2)
        .retry_after_ms(10);
    assert_eq!(
        rig.store_failed(1, lost),
        ["> error s1 u1 unavailable expected 2 after 10"]
    );
    assert_eq!(rig.chunk(1, 2, "234"), ["store s1 2+3"]);
    assert_eq!(rig.stored(1, 5), ["> acked s1 u1 5"]);
}

#[test]
fn a_store_cannot_claim_more_than_was_acknowledged_by_failing() {
    let mut rig = Rig::uploading(20);
    rig.chunk(1, 0, "01234");
    let odd = refusal(ErrorCode::Unavailable).expecting(4);
    assert_eq!(
        rig.store_failed(1, odd),
        ["> error s1 u1 unavailable expected 0 after 1000"]
    );
}

#[test]
fn a_store_cannot_acknowledge_what_was_never_sent() {
    let mut rig = Rig::uploading(20);
    rig.chunk(1, 0, "01234");
    assert_eq!(rig.stored(1, 400), ["> acked s1 u1 5"]);
    assert_eq!(rig.stored(1, 2), ["> acked s1 u1 5"]);
    assert_eq!(rig.session.in_flight(), 0);
}

#[test]
fn a_store_that_refuses_for_good_ends_the_upload() {
    let codes = [
        ErrorCode::TypeForbidden,
        ErrorCode::Expired,
        ErrorCode::Superseded,
        ErrorCode::Aborted,
    ];
    for code in codes {
        let mut rig = Rig::uploading(20);
        rig.chunk(1, 0, "01234");
        assert_eq!(
            rig.store_failed(1, refusal(code)),
            [format!("> error s1 u1 {code}"), "release s1".to_owned()]
        );
        assert_eq!(
            (rig.session.in_flight(), rig.session.open_uploads()),
            (0, 0)
        );
        assert_eq!(rig.chunk(1, 5, "56789"), [""; 0]);
        assert_eq!(
            rig.text(complete(3, 1)),
            [format!("> error #3 s1 u1 {code}")]
        );
    }
}

#[test]
fn streams_do_not_disturb_one_another() {
    let mut rig = Rig::uploading(10);
    rig.open(3, 2, 10);
    rig.chunk(1, 0, "01234");
    rig.chunk(2, 0, "abcde");
    rig.damaged(1, 5, "56789");
    assert_eq!(rig.chunk(2, 5, "fghij"), ["store s2 5+5"]);
    assert_eq!(
        rig.say(Input::Stored(
            rig.of(2),
            Err(Refusal::bare(ErrorCode::Expired))
        )),
        ["> error s2 u2 expired", "release s2"]
    );
    assert_eq!(rig.session.in_flight(), 5);
    assert_eq!(rig.stored(1, 5), ["> acked s1 u1 5"]);
}
