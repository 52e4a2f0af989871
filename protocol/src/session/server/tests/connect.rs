//! From the upgrade to `connected`.

use super::rig::{Rig, refusal, shown, start};
use crate::{
    ErrorCode,
    message::{ServerMessage, StreamId},
    session::server::{Input, Output},
};
use serde_json::json;
use std::time::Duration;

const STREAM: StreamId = 1;

#[test]
fn connecting_verifies_the_token_and_answers_with_the_limits() {
    let mut rig = Rig::fresh();
    assert_eq!(
        rig.text(json!({"type": "connect", "id": 7, "access_token": "t"})),
        ["authenticate t"]
    );
    assert!(
        !rig.session.wants_input(),
        "nothing is read while the token is verified"
    );
    assert!(rig.session.caller().is_none());
    assert_eq!(rig.admitted(Duration::from_mins(15)), ["> connected #7"]);
    assert!(rig.session.wants_input());
    assert_eq!(rig.session.caller().unwrap().name, "ada");
}

#[test]
fn connected_says_who_and_what_is_allowed() {
    let mut rig = Rig::fresh();
    rig.text(json!({"type": "connect", "id": 7, "since": {"admin": {"epoch": "e", "offset": 3}}, "client": {"name": "x"}}));
    let admission = crate::session::server::Admission {
        session_id: crate::SessionId::new(),
        caller: crate::identity::Caller {
            user_id: crate::UserId::new(),
            name: "ada".to_owned(),
            role: crate::identity::Role::Admin,
            tenant: crate::TenantId::default(),
        },
        expires_at: rig.expiry(Duration::from_mins(15)),
        topics: Vec::new(),
    };
    rig.session.handle(
        Input::Authenticated(Ok(Box::new(admission.clone()))),
        rig.now,
    );
    let Some(Output::Send(message)) = rig.session.poll() else {
        panic!("connected is sent")
    };
    let ServerMessage::Connected(connected) = *message else {
        panic!("connected is sent")
    };
    assert_eq!(
        (connected.id, connected.session_id, connected.heartbeat_ms),
        (7, admission.session_id, 30_000)
    );
    assert_eq!(connected.user.id, admission.caller.user_id);
    assert_eq!(connected.limits, super::rig::rules().limits);
}

#[test]
fn a_token_of_the_upgrade_needs_none_in_connect() {
    let mut rig = Rig::fresh();
    assert_eq!(
        rig.text(json!({"type": "connect", "id": 1})),
        ["authenticate by upgrade"]
    );
}

#[test]
fn anything_but_connect_closes_first() {
    let cases: [(&str, &[u8], &str); 8] = [
        ("bad JSON", b"{", "close 4400"),
        ("no object", b"[]", "close 4400"),
        ("no type", b"{}", "close 4400"),
        (
            "unknown type",
            br#"{"type": "hello", "id": 1}"#,
            "close 4400",
        ),
        (
            "connect without an id",
            br#"{"type": "connect"}"#,
            "close 4400",
        ),
        ("a sign of life", br#"{"type": "alive"}"#, "close 4401"),
        (
            "a start",
            br#"{"type": "start-transfer", "id": 1, "stream": 1, "name": "a", "size": 1}"#,
            "close 4401",
        ),
        (
            "history",
            br#"{"type": "get-history", "id": 1}"#,
            "close 4401",
        ),
    ];
    for (case, text, close) in cases {
        let mut rig = Rig::fresh();
        assert_eq!(
            rig.raw(std::str::from_utf8(text).unwrap()),
            [close],
            "{case}"
        );
        assert!(
            rig.session.is_closed() && !rig.session.wants_input(),
            "{case}"
        );
        assert_eq!(
            rig.text(json!({"type": "connect", "id": 1})),
            [""; 0],
            "{case}: after the close nothing is heard"
        );
    }
}

#[test]
fn a_chunk_first_closes() {
    assert_eq!(Rig::fresh().chunk(STREAM, 0, "hello"), ["close 4401"]);
}

#[test]
fn nothing_is_taken_while_the_token_is_verified() {
    for message in [
        start(2, STREAM, 5).to_string(),
        json!({"type": "get-history", "id": 2}).to_string(),
    ] {
        let mut rig = Rig::fresh();
        rig.text(json!({"type": "connect", "id": 1}));
        assert_eq!(rig.raw(&message), ["close 4401"], "{message}");
    }
    let mut rig = Rig::fresh();
    rig.text(json!({"type": "connect", "id": 1}));
    assert_eq!(rig.chunk(STREAM, 0, "hello"), ["close 4401"]);
}

#[test]
fn ten_seconds_without_connect_close() {
    let mut rig = Rig::fresh();
    assert_eq!(rig.wait(Duration::from_secs(9)), [""; 0]);
    assert_eq!(rig.wait(Duration::from_mins(5)), ["10s close 4401"]);
}

#[test]
fn a_token_that_takes_too_long_to_verify_closes() {
    let mut rig = Rig::fresh();
    rig.text(json!({"type": "connect", "id": 1}));
    assert_eq!(rig.wait(Duration::from_secs(20)), ["10s close 4401"]);
    assert_eq!(
        rig.admitted(Duration::from_mins(15)),
        [""; 0],
        "an answer after the close changes nothing"
    );
}

#[test]
fn before_connected_64_kib_are_the_limit() {
    let connect = |length: usize| {
        let message = json!({"type": "connect", "id": 1, "padding": ""}).to_string();
        message.replace(
            r#""padding":"""#,
            &format!(r#""padding":"{}""#, "x".repeat(length - message.len())),
        )
    };
    let mut rig = Rig::fresh();
    assert_eq!(rig.raw(&connect(64 << 10)), ["authenticate by upgrade"]);
    let mut rig = Rig::fresh();
    assert_eq!(rig.raw(&connect((64 << 10) + 1)), ["close 1009"]);
    let mut rig = Rig::fresh();
    assert_eq!(rig.binary(vec![1; (64 << 10) + 1]), ["close 1009"]);
}

#[test]
fn a_refused_connect_is_told_why_and_closed() {
    let cases = [
        (ErrorCode::Unauthenticated, "close 4401"),
        (ErrorCode::Internal, "close 1011"),
        (ErrorCode::Forbidden, "close 4403"),
        (ErrorCode::Unavailable, "close 1013"),
        (ErrorCode::RateLimited, "close 4429"),
    ];
    for (code, close) in cases {
        let mut rig = Rig::fresh();
        rig.text(json!({"type": "connect", "id": 3, "access_token": "bad"}));
        let lines = rig.say(Input::Authenticated(Err(refusal(code))));
        assert_eq!(
            lines,
            [format!("> error #3 {}", shown(code)), close.to_owned()]
        );
    }
}

#[test]
fn a_second_connect_is_refused_and_harms_nothing() {
    let mut rig = Rig::uploading(5);
    assert_eq!(
        rig.text(json!({"type": "connect", "id": 9})),
        ["> error #9 invalid-message"]
    );
    assert_eq!(rig.chunk(STREAM, 0, "hello"), ["store s1 0+5"]);
}

#[test]
fn an_answer_nobody_waits_for_admits_nobody() {
    let mut rig = Rig::fresh();
    assert_eq!(rig.admitted(Duration::from_mins(15)), [""; 0]);
    assert!(rig.session.caller().is_none());
}
