//! Requests that are not uploads, and messages that can't be read.

use super::rig::{Rig, upload};
use crate::{
    ErrorCode, Refusal, Topic,
    message::{ErrorMessage, ServerMessage, Unsubscribed},
    session::server::Input,
};
use serde_json::json;
use std::time::Duration;

#[test]
fn unreadable_messages_are_refused_with_the_id_that_could_be_read() {
    let cases = [
        ("no JSON", "{", "> error invalid-message"),
        ("no object", "[1]", "> error invalid-message"),
        ("no type", r#"{"id": 5}"#, "> error #5 invalid-message"),
        (
            "type is no text",
            r#"{"id": 5, "type": 3}"#,
            "> error #5 invalid-message",
        ),
        (
            "unknown type",
            r#"{"id": 5, "type": "hello"}"#,
            "> error #5 unknown-type",
        ),
        (
            "unknown type without id",
            r#"{"type": "write-chunk"}"#,
            "> error unknown-type",
        ),
        (
            "missing id",
            r#"{"type": "get-history"}"#,
            "> error invalid-message",
        ),
        (
            "id is no integer",
            r#"{"type": "get-history", "id": "5"}"#,
            "> error invalid-message",
        ),
        (
            "missing field",
            r#"{"type": "subscribe", "id": 5}"#,
            "> error #5 invalid-message",
        ),
        (
            "no such topic",
            r#"{"type": "subscribe", "id": 5, "topic": "user:me"}"#,
            "> error #5 invalid-message",
        ),
        (
            "neither stream nor upload",
            r#"{"type": "complete-upload", "id": 5}"#,
            "> error #5 invalid-message",
        ),
        (
            "bad digest",
            r#"{"type": "complete-upload", "id": 5, "stream": 2, "digest": "x"}"#,
            "> error #5 s2 invalid-message",
        ),
        (
            "stream out of range",
            r#"{"type": "complete-upload", "id": 5, "stream": 4294967296}"#,
            "> error #5 invalid-message",
        ),
        (
            "no such status",
            r#"{"type": "get-history", "id": 5, "status": "gone"}"#,
            "> error #5 invalid-message",
        ),
    ];
    for (case, text, error) in cases {
        let mut rig = Rig::connected();
        assert_eq!(rig.raw(text), [error], "{case}");
        assert!(!rig.session.is_closed(), "{case}");
    }
}

#[test]
fn a_text_larger_than_advertised_closes() {
    let text = |length: usize| format!(r#"{{"type":"x","y":"{}"}}"#, "z".repeat(length - 19));
    assert_eq!(Rig::connected().raw(&text(1000)), ["> error unknown-type"]);
    assert_eq!(Rig::connected().raw(&text(1001)), ["close 1009"]);
}

#[test]
fn unknown_fields_are_ignored() {
    let history =
        json!({"type": "get-history", "id": 5, "limit": 2, "flavour": {"of": ["the", "month"]}});
    assert_eq!(Rig::connected().text(history), ["history #5"]);
}

#[test]
fn requests_are_handed_to_the_driver_and_its_answers_passed_on() {
    let topic = Topic::Admin;
    let mut rig = Rig::connected();
    assert_eq!(
        rig.text(json!({"type": "get-history", "id": 5})),
        ["history #5"]
    );
    assert_eq!(
        rig.text(json!({"type": "subscribe", "id": 6, "topic": "admin"})),
        ["subscribe #6 admin"]
    );
    assert_eq!(
        rig.text(json!({"type": "unsubscribe", "id": 7, "topic": "admin"})),
        ["unsubscribe #7 admin"]
    );
    let unsubscribed = ServerMessage::Unsubscribed(Unsubscribed { id: 7, topic });
    let line = format!("> {}", unsubscribed.to_json());
    assert_eq!(
        rig.say(Input::Replied(Box::new(unsubscribed))),
        [line],
        "in any order"
    );
    let forbidden = ErrorMessage {
        id: Some(6),
        ..ErrorMessage::new(Refusal::bare(ErrorCode::Forbidden))
    };
    assert_eq!(
        rig.say(Input::Replied(Box::new(ServerMessage::Error(forbidden)))),
        ["> error #6 forbidden"]
    );
}

#[test]
fn alive_is_answered_with_the_time() {
    let mut rig = Rig::connected();
    rig.wait(Duration::from_secs(5));
    assert_eq!(
        rig.text(json!({"type": "alive", "id": 5})),
        ["> alive #Some(5) 1970-01-01T00:00:05Z"]
    );
    assert_eq!(
        rig.text(json!({"type": "alive"})),
        ["> alive #None 1970-01-01T00:00:05Z"]
    );
}

#[test]
fn there_are_no_rounds_to_acknowledge() {
    let acknowledge = json!({"type": "acknowledge", "id": 5, "round_id": "r", "state": "applied"});
    assert_eq!(Rig::connected().text(acknowledge), ["> error #5 not-found"]);
}

#[test]
fn requests_about_uploads_of_no_stream_name_them_in_the_reply() {
    let mut rig = Rig::connected();
    rig.text(json!({"type": "abort-upload", "id": 5, "upload_id": upload(8)}));
    assert_eq!(rig.aborted(5, 8), ["> aborted #5 u8"]);
}
