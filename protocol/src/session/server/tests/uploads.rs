//! Starting uploads, pipelined or not, and resuming them.

use super::rig::{Rig, abort, complete, opened, refusal, shown, start, upload};
use crate::{ErrorCode, TransferStatus, session::server::Opened};
use serde_json::json;

#[test]
fn a_small_file_is_sent_without_waiting() {
    let mut rig = Rig::connected();
    assert_eq!(rig.text(start(2, 1, 8)), ["start s1 of 8"]);
    assert_eq!(rig.chunk(1, 0, "01234"), [""; 0]);
    assert_eq!(rig.chunk(1, 5, "567"), [""; 0]);
    assert_eq!(rig.text(complete(3, 1)), [""; 0]);
    assert_eq!(
        (rig.session.in_flight(), rig.session.stream_in_flight(1)),
        (8, 8)
    );
    assert_eq!(
        rig.opened(1, 8),
        [
            "> started #2 s1 u1 open at 0",
            "store s1 0+5",
            "store s1 5+3"
        ]
    );
    assert_eq!(rig.stored(1, 5), [""; 0], "the rest is on its way");
    assert_eq!(rig.stored(1, 8), ["> acked s1 u1 8", "complete #3 s1 u1"]);
    assert_eq!(
        rig.completed(3, 8),
        ["release s1", "> completed #3 u1 8 cached"]
    );
    assert_eq!(
        (rig.session.in_flight(), rig.session.open_uploads()),
        (0, 0)
    );
}

#[test]
fn a_refused_start_has_its_chunks_dropped_and_its_complete_refused_alike() {
    for code in [
        ErrorCode::TypeForbidden,
        ErrorCode::EmptyFile,
        ErrorCode::QuotaExceeded,
        ErrorCode::Unavailable,
    ] {
        let mut rig = Rig::connected();
        rig.text(start(2, 1, 5));
        rig.chunk(1, 0, "01234");
        rig.text(complete(3, 1));
        let lines = rig.started(1, Err(refusal(code)));
        assert_eq!(
            lines,
            [
                format!("> error #2 s1 {}", shown(code)),
                format!("> error #3 s1 {}", shown(code))
            ]
        );
        assert_eq!(
            (rig.session.in_flight(), rig.session.open_uploads()),
            (0, 0)
        );
        assert_eq!(rig.chunk(1, 5, "late"), [""; 0]);
        assert_eq!(
            rig.text(complete(4, 1)),
            [format!("> error #4 s1 {}", shown(code))]
        );
        assert_eq!(rig.text(abort(5, 1)), ["> error #5 s1 not-found"]);
    }
}

#[test]
fn a_start_that_cannot_be_read_is_a_refused_start() {
    let cases = [
        (
            "no size",
            json!({"type": "start-transfer", "id": 2, "stream": 1, "name": "a"}),
        ),
        (
            "no name",
            json!({"type": "start-transfer", "id": 2, "stream": 1, "size": 5}),
        ),
        (
            "bad key",
            json!({"type": "start-transfer", "id": 2, "stream": 1, "name": "a", "size": 5, "key": "no uuid"}),
        ),
        (
            "negative size",
            json!({"type": "start-transfer", "id": 2, "stream": 1, "name": "a", "size": -1}),
        ),
    ];
    for (case, message) in cases {
        let mut rig = Rig::connected();
        assert_eq!(
            rig.text(message),
            ["> error #2 s1 invalid-message"],
            "{case}"
        );
        assert_eq!(rig.chunk(1, 0, "01234"), [""; 0], "{case}");
        assert_eq!(
            rig.text(complete(3, 1)),
            ["> error #3 s1 invalid-message"],
            "{case}"
        );
    }
}

#[test]
fn too_many_uploads_are_refused_and_their_chunks_dropped() {
    let mut rig = Rig::connected();
    for stream in 1..=3 {
        rig.text(start(stream.into(), stream, 5));
    }
    assert_eq!(rig.text(start(4, 4, 5)), ["> error #4 s4 too-many-uploads"]);
    assert_eq!(rig.chunk(4, 0, "01234"), [""; 0]);
    assert_eq!(rig.text(complete(5, 4)), ["> error #5 s4 too-many-uploads"]);
    rig.started(1, Err(refusal(ErrorCode::QuotaExceeded)));
    assert_eq!(
        rig.text(start(6, 4, 5)),
        ["start s4 of 5"],
        "there is room again"
    );
}

#[test]
fn a_start_on_a_live_stream_is_a_conflict() {
    let mut rig = Rig::connected();
    rig.text(start(2, 1, 5));
    assert_eq!(
        rig.text(start(3, 1, 5)),
        ["> error #3 s1 conflict"],
        "while it is being opened"
    );
    rig.opened(1, 5);
    assert_eq!(
        rig.text(start(4, 1, 5)),
        ["> error #4 s1 conflict"],
        "while it is open"
    );
    assert_eq!(rig.chunk(1, 0, "01234"), ["store s1 0+5"]);
}

#[test]
fn resuming_goes_on_where_the_server_says() {
    let mut rig = Rig::connected();
    let resume = json!({"type": "start-transfer", "id": 2, "stream": 1, "upload_id": upload(5), "name": "ignored"});
    assert_eq!(rig.text(resume), ["resume s1 u5"]);
    assert_eq!(
        rig.started(
            1,
            Ok(Opened {
                offset: 6,
                ..opened(5, 10)
            })
        ),
        ["> started #2 s1 u5 open at 6"]
    );
    assert_eq!(rig.chunk(1, 0, "01234"), ["> acked s1 u5 6"]);
    assert_eq!(rig.chunk(1, 6, "6789"), ["store s1 6+4"]);
}

#[test]
fn a_resume_with_all_bytes_held_completes_at_once() {
    let mut rig = Rig::connected();
    rig.text(start(2, 1, 5));
    rig.started(
        1,
        Ok(Opened {
            offset: 5,
            ..opened(1, 5)
        }),
    );
    assert_eq!(rig.text(complete(3, 1)), ["complete #3 s1 u1"]);
}

#[test]
fn starting_what_has_ended_tells_how() {
    let stored = Opened {
        offset: 5,
        status: TransferStatus::UploadedSuccessfully,
        ..opened(1, 5)
    };
    let mut rig = Rig::connected();
    rig.text(start(2, 1, 5));
    rig.chunk(1, 0, "01234");
    rig.text(complete(3, 1));
    let expected = [
        "> started #2 s1 u1 uploaded_successfully at 5",
        "> acked s1 u1 5",
        "complete #3 u1",
    ];
    assert_eq!(rig.started(1, Ok(stored)), expected);

    let rejected = Opened {
        status: TransferStatus::Rejected,
        ended: Some(refusal(ErrorCode::DigestMismatch)),
        ..opened(1, 5)
    };
    let mut rig = Rig::connected();
    rig.text(start(2, 1, 5));
    rig.chunk(1, 0, "01234");
    rig.text(complete(3, 1));
    assert_eq!(
        rig.started(1, Ok(rejected)),
        [
            "> started #2 s1 u1 rejected at 0",
            "> error #3 s1 u1 digest-mismatch"
        ]
    );
}
