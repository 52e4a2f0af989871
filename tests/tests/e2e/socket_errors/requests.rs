//! Messages that can't be understood: an `error` that repeats whatever id could be read, and the session goes on.

use super::Desk;
use serde_json::{Value, json};
use tests::content;

/// Messages, the id that can be read of them, and the code of the error.
const UNREADABLE: [(&str, Option<i64>, &str); 27] = [
    ("{", None, "invalid-message"),
    ("", None, "invalid-message"),
    ("null", None, "invalid-message"),
    ("[1]", None, "invalid-message"),
    (r#"{"id":71}"#, Some(71), "invalid-message"),
    (r#"{"type":7,"id":71}"#, Some(71), "invalid-message"),
    (
        r#"{"type":"no-such-type","id":72}"#,
        Some(72),
        "unknown-type",
    ),
    (r#"{"type":"no-such-type"}"#, None, "unknown-type"),
    (
        r#"{"type":"write-chunk","id":72}"#,
        Some(72),
        "unknown-type",
    ),
    (
        r#"{"type":"complete-upload","id":73}"#,
        Some(73),
        "invalid-message",
    ),
    (
        r#"{"type":"complete-upload","stream":1}"#,
        None,
        "invalid-message",
    ),
    (
        r#"{"type":"complete-upload","id":"73","stream":1}"#,
        None,
        "invalid-message",
    ),
    (
        r#"{"type":"complete-upload","id":73,"upload_id":"x"}"#,
        Some(73),
        "invalid-message",
    ),
    (
        r#"{"type":"complete-upload","id":73,"stream":1,"digest":"x"}"#,
        Some(73),
        "invalid-message",
    ),
    (
        r#"{"type":"abort-upload","id":74}"#,
        Some(74),
        "invalid-message",
    ),
    (
        r#"{"type":"start-transfer","id":75,"stream":-1,"name":"a","size":1}"#,
        Some(75),
        "invalid-message",
    ),
    (
        r#"{"type":"start-transfer","id":75,"name":"a","size":1}"#,
        Some(75),
        "invalid-message",
    ),
    (r#"{"type":"get-history"}"#, None, "invalid-message"),
    (
        r#"{"type":"get-history","id":76,"status":"lost"}"#,
        Some(76),
        "invalid-message",
    ),
    (
        r#"{"type":"get-history","id":76,"limit":0}"#,
        Some(76),
        "invalid-message",
    ),
    (
        r#"{"type":"get-history","id":76,"limit":1001}"#,
        Some(76),
        "invalid-message",
    ),
    (
        r#"{"type":"get-history","id":76,"cursor":"x"}"#,
        Some(76),
        "invalid-message",
    ),
    (
        r#"{"type":"subscribe","id":77}"#,
        Some(77),
        "invalid-message",
    ),
    (r#"{"type":"refresh","id":78}"#, Some(78), "invalid-message"),
    (
        r#"{"type":"acknowledge","id":79,"round_id":"x","state":"lost"}"#,
        Some(79),
        "invalid-message",
    ),
    (
        r#"{"type":"acknowledge","id":79,"round_id":"x","state":"applied"}"#,
        Some(79),
        "not-found",
    ),
    (r#"{"type":"connect","id":80}"#, Some(80), "invalid-message"),
];

#[tokio::test]
async fn what_can_not_be_read_is_answered_and_the_session_goes_on() {
    let mut desk = Desk::new().await;
    let data = content::bytes(1, 3000);
    let upload = desk.open(1, &data).await;
    desk.socket.send_content(1, &data[..1000], 0).await;
    for (text, id, code) in UNREADABLE {
        desk.socket.send_text(text).await;
        let error = desk.socket.receive_error().await;
        assert_eq!(
            (&error["id"], &error["code"]),
            (&json!(id), &json!(code)),
            "{text}: {error}"
        );
        assert_eq!(error["retryable"], false, "{text}: {error}");
    }
    desk.silence().await;
    assert_eq!(desk.ada.upload(&upload).await["offset"], 1000);
    desk.finish(1, &data, 1000).await;
    assert_eq!(desk.ada.files().await.len(), 1);
}

#[tokio::test]
async fn unknown_fields_are_ignored_and_ids_are_the_clients_own() {
    let mut desk = Desk::new().await;
    for id in [0, -1, i64::MAX, i64::MIN, 7, 7] {
        desk.socket
            .send(json!({"type": "alive", "id": id, "mood": "fine"}))
            .await;
        let alive = desk
            .socket
            .receive("the reply", |message| message["id"] == id)
            .await;
        assert_eq!(alive["type"], "alive");
        assert!(alive["time"].is_string());
    }
    desk.socket.send(json!({"type": "alive"})).await;
    let alive = desk
        .socket
        .receive("the reply", |message| message["type"] == "alive")
        .await;
    assert_eq!(alive["id"], Value::Null);
    let history = json!({"type": "get-history", "user": null, "no_such_field": [1, {"a": 2}]});
    assert_eq!(desk.socket.ask(history).await["files"], json!([]));
}
