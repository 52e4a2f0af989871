//! Whatever a client sends and whatever a driver answers: no panic, and never more in flight than allowed.

use super::{LIMITS, RULES, admission, moment};
use bytes::Bytes;
use jiff::Timestamp;
use proptest::{collection::vec, prelude::*, sample::select};
use protocol::{
    Digest, DigestAlgorithm, ErrorCode, FileId, Refusal, TransferStatus, UploadId,
    frame::Chunk,
    message::{AliveReply, ServerMessage},
    session::server::{CompleteRef, Completed, Input, Opened, Output, Session, StreamUse},
};
use std::time::Duration;
use uuid::Uuid;

/// Streams that inputs are about: few, so that they meet.
const STREAMS: std::ops::Range<u32> = 0..4;

#[derive(Debug)]
enum Happening {
    Input(Input),
    /// So many milliseconds pass.
    Wait(u64),
}

fn stream_use() -> impl Strategy<Value = StreamUse> {
    (STREAMS, 0_u64..12).prop_map(|(stream, serial)| StreamUse { stream, serial })
}

fn upload_id() -> impl Strategy<Value = UploadId> {
    (0_u128..4).prop_map(|number| UploadId(Uuid::from_u128(number)))
}

fn refusal() -> impl Strategy<Value = Refusal> {
    let expected = proptest::option::of(prop_oneof![0_u64..200, any::<u64>()]);
    (select(ErrorCode::ALL), expected).prop_map(|(code, expected)| Refusal {
        expected,
        ..Refusal::bare(code)
    })
}

fn answer<T: std::fmt::Debug + Clone + 'static>(
    good: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Result<T, Refusal>> {
    prop_oneof![3 => good.prop_map(Ok), 1 => refusal().prop_map(Err)].boxed()
}

fn text() -> impl Strategy<Value = String> {
    let message = prop_oneof![
        4 => (STREAMS, 0_u64..200).prop_map(|(stream, size)| format!(
            r#"{{"type":"start-transfer","id":1,"stream":{stream},"name":"a","size":{size}}}"#
        )),
        1 => (STREAMS, upload_id()).prop_map(|(stream, id)| format!(
            r#"{{"type":"start-transfer","id":1,"stream":{stream},"upload_id":"{id}"}}"#
        )),
        1 => STREAMS.prop_map(|stream| format!(r#"{{"type":"start-transfer","id":1,"stream":{stream}}}"#)),
        3 => STREAMS.prop_map(|stream| format!(r#"{{"type":"complete-upload","id":2,"stream":{stream}}}"#)),
        1 => upload_id().prop_map(|id| format!(r#"{{"type":"complete-upload","id":2,"upload_id":"{id}"}}"#)),
        1 => STREAMS.prop_map(|stream| format!(r#"{{"type":"abort-upload","id":3,"stream":{stream}}}"#)),
        1 => upload_id().prop_map(|id| format!(r#"{{"type":"abort-upload","id":3,"upload_id":"{id}"}}"#)),
        1 => select(vec![
            r#"{"type":"connect","id":4}"#,
            r#"{"type":"get-history","id":5}"#,
            r#"{"type":"subscribe","id":6,"topic":"admin"}"#,
            r#"{"type":"unsubscribe","id":7,"topic":"admin"}"#,
            r#"{"type":"refresh","id":8,"access_token":"t"}"#,
            r#"{"type":"acknowledge","id":9,"round_id":"r","state":"applied"}"#,
            r#"{"type":"alive"}"#,
        ]).prop_map(str::to_owned),
    ];
    let mangled = (text_of(), 0_usize..80).prop_map(|(text, at)| {
        text.chars()
            .filter(|c| *c != 'a')
            .take(at)
            .collect::<String>()
    });
    prop_oneof![8 => message, 1 => mangled, 1 => ".{0,40}"]
}

/// A deeply nested or otherwise odd JSON text.
fn text_of() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("[".repeat(300)),
        Just(
            r#"{"type":"start-transfer","id":1e400,"stream":-1,"name":null,"size":1.5}"#.to_owned()
        ),
        Just(
            r#"{"type":"complete-upload","id":9223372036854775808,"stream":{"stream":1}}"#
                .to_owned()
        ),
    ]
}

fn binary() -> impl Strategy<Value = Bytes> {
    let offset = prop_oneof![8 => 0_u64..200, 1 => any::<u64>()];
    let chunk = (STREAMS, offset, vec(any::<u8>(), 1..40), 0_u8..8).prop_map(
        |(stream, offset, payload, damage)| {
            let mut chunk = Chunk::new(stream, offset, payload.into());
            chunk.crc ^= u32::from(damage == 0);
            chunk.encode()
        },
    );
    prop_oneof![8 => chunk, 1 => vec(any::<u8>(), 0..60).prop_map(Bytes::from)]
}

fn opened() -> impl Strategy<Value = Box<Opened>> {
    let status = select(TransferStatus::ALL.to_vec());
    (
        upload_id(),
        0_u64..200,
        0_u64..200,
        status,
        proptest::option::of(refusal()),
    )
        .prop_map(|(upload_id, size, offset, status, ended)| {
            let offset = offset.min(size);
            Box::new(Opened {
                upload_id,
                file_id: FileId(upload_id.0),
                size,
                offset,
                status,
                expires_at: Timestamp::MAX,
                ended,
            })
        })
}

fn completed() -> impl Strategy<Value = Box<Completed>> {
    (upload_id(), any::<u64>()).prop_map(|(upload_id, size)| {
        let digest = Digest::new(DigestAlgorithm::Blake3, [1; 32]);
        Box::new(Completed {
            upload_id,
            file_id: FileId(upload_id.0),
            size,
            digest,
        })
    })
}

fn complete_ref() -> impl Strategy<Value = CompleteRef> {
    (upload_id(), proptest::option::of(stream_use())).prop_map(|(upload_id, stream)| CompleteRef {
        id: 2,
        upload_id,
        stream,
    })
}

fn happening() -> impl Strategy<Value = Happening> {
    let expiry = select(vec![Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX]);
    let input = prop_oneof![
        8 => text().prop_map(Input::Text),
        16 => binary().prop_map(Input::Binary),
        1 => Just(()).prop_map(|()| Input::Life),
        1 => answer(Just(())).prop_map(|answer| Input::Authenticated(answer.map(|()| admission()))),
        6 => (stream_use(), answer(opened())).prop_map(|(of, answer)| Input::Started(of, answer)),
        8 => (stream_use(), answer(prop_oneof![0_u64..200, any::<u64>()])).prop_map(|(of, answer)| Input::Stored(of, answer)),
        3 => (complete_ref(), answer(completed())).prop_map(|(of, answer)| Input::Completed(of, answer)),
        1 => (upload_id(), answer(Just(()))).prop_map(|(id, answer)| Input::Aborted(3, id, answer)),
        1 => Just(()).prop_map(|()| Input::Replied(Box::new(ServerMessage::Alive(AliveReply { id: None, time: Timestamp::MAX })))),
        1 => answer(expiry).prop_map(|answer| Input::Refreshed(8, answer)),
        1 => stream_use().prop_map(Input::Superseded),
    ];
    let ending = prop_oneof![
        Just(()).prop_map(|()| Input::Revoked),
        (0_u64..9).prop_map(|ms| Input::Drain {
            retry_after: Duration::from_millis(ms)
        })
    ];
    prop_oneof![
        80 => input.prop_map(Happening::Input),
        1 => ending.prop_map(Happening::Input),
        4 => (0_u64..20_000).prop_map(Happening::Wait),
    ]
}

/// Runs a session through all of it. A driver that is `patient` delivers frames only when the session wants them.
fn run(happenings: Vec<Happening>, connected: bool, patient: bool) {
    let mut now = Duration::ZERO;
    let mut session = Session::new(RULES, moment(now));
    if connected {
        session.handle(
            Input::Text(r#"{"type":"connect","id":0}"#.to_owned()),
            moment(now),
        );
        session.handle(Input::Authenticated(Ok(admission())), moment(now));
    }
    for happening in happenings {
        let was_closed = session.is_closed();
        match happening {
            Happening::Wait(ms) => {
                now += Duration::from_millis(ms);
                session.tick(moment(now));
            }
            Happening::Input(Input::Text(_) | Input::Binary(_))
                if patient && !session.wants_input() =>
            {
                continue;
            }
            Happening::Input(input) => session.handle(input, moment(now)),
        }
        let closes = std::iter::from_fn(|| session.poll()).fold(0, |closes, output| {
            assert_eq!(closes, 0, "nothing follows the close");
            closes + u32::from(matches!(output, Output::Close { .. }))
        });
        assert_eq!(
            closes == 1,
            session.is_closed() && !was_closed,
            "the close is said once, when it happens"
        );
        assert!(
            session.deadline(moment(now)) <= now + RULES.heartbeat,
            "the next deadline is near"
        );
        if patient {
            check_bounds(&session);
        }
    }
}

fn check_bounds(session: &Session) {
    assert!(
        session.in_flight() <= RULES.session_window_bytes,
        "{} bytes in flight",
        session.in_flight()
    );
    let by_stream: Vec<_> = STREAMS
        .map(|stream| session.stream_in_flight(stream))
        .collect();
    assert!(
        by_stream.iter().all(|bytes| *bytes <= LIMITS.window_bytes),
        "{by_stream:?} bytes in flight"
    );
    assert_eq!(by_stream.iter().sum::<u64>(), session.in_flight());
    assert!(session.open_uploads() <= LIMITS.max_open_uploads as usize);
}

proptest! {
    #![proptest_config(super::config())]

    #[test]
    fn no_input_panics(happenings in vec(happening(), 0..200), connected: bool) {
        run(happenings, connected, false);
    }

    #[test]
    fn what_is_in_flight_stays_within_the_windows(happenings in vec(happening(), 0..200)) {
        run(happenings, true, true);
    }

    #[test]
    fn no_bytes_panic_the_decoder(bytes in vec(any::<u8>(), 0..64)) {
        let bytes = Bytes::from(bytes);
        if let Ok(chunk) = Chunk::decode(bytes.clone()) {
            prop_assert_eq!(chunk.encode(), bytes);
        }
    }
}
