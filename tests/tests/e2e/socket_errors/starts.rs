//! Uploads that are refused before their first byte: what was sent behind them is dropped without a word.

use super::Desk;
use serde_json::{Value, json};
use tests::{content, until};

/// Sends a start with its chunk and its completion without waiting: both requests must be refused with the code.
async fn refused_pipelined(desk: &mut Desk, fields: Value, code: &str) -> Value {
    let mut start = json!({"type": "start-transfer", "id": 2001, "stream": 1});
    start
        .as_object_mut()
        .expect("an object")
        .extend(fields.as_object().expect("an object").clone());
    let described = start.to_string();
    desk.socket.send(start).await;
    desk.socket.send_chunk(1, 0, b"some bytes").await;
    let complete = json!({"type": "complete-upload", "id": 2002, "stream": 1});
    desk.socket.send(complete).await;
    let [started, completed] = [
        desk.socket.receive("an answer", |m| m["id"] == 2001).await,
        desk.socket.receive("an answer", |m| m["id"] == 2002).await,
    ];
    for answer in [&started, &completed] {
        assert_eq!(answer["type"], "error", "{described}: {answer}");
        assert_eq!(answer["code"], code, "{described}: {answer}");
        assert_eq!(answer["stream"], 1, "{described}: {answer}");
    }
    desk.silence().await;
    started
}

#[tokio::test]
async fn what_can_not_be_accepted_is_refused_at_the_start() {
    let mut desk = Desk::with(&[("SLUICE_UPLOADER__MAX_FILE_BYTES", "1 MiB")]).await;
    let long_name = "x".repeat(256);
    let bad_names = [
        "",
        ".",
        "..",
        "a/b",
        "/etc/passwd",
        "a\\b",
        "a\nb",
        "a\0b",
        &long_name,
    ];
    for name in bad_names {
        refused_pipelined(&mut desk, json!({"name": name, "size": 10}), "name-invalid").await;
    }
    let pool = "01920000-0000-7000-8000-000000000000";
    for (fields, code) in [
        (json!({"name": "a", "size": 0}), "empty-file"),
        (
            json!({"name": "a", "size": (1 << 20) + 1}),
            "file-too-large",
        ),
        (json!({"name": "a", "size": u64::MAX}), "file-too-large"),
        (json!({"name": "a", "size": 10, "pool": pool}), "not-found"),
        (
            json!({"name": "a", "size": 10, "tags": [""]}),
            "invalid-message",
        ),
        (
            json!({"name": "a", "size": 10, "title": "x".repeat(2000)}),
            "invalid-message",
        ),
        (json!({"name": "a"}), "invalid-message"),
        (json!({"size": 10}), "invalid-message"),
        (json!({"name": "a", "size": -1}), "invalid-message"),
        (json!({"name": "a", "size": 1.5}), "invalid-message"),
        (json!({"name": "a", "size": "10"}), "invalid-message"),
        (
            json!({"name": "a", "size": 10, "digest": "md5:00"}),
            "invalid-message",
        ),
        (
            json!({"name": "a", "size": 10, "digest": "sha256:00"}),
            "invalid-message",
        ),
        (
            json!({"name": "a", "size": 10, "key": "mine"}),
            "invalid-message",
        ),
        (
            json!({"name": "a", "size": 10, "captured_at": "yesterday"}),
            "invalid-message",
        ),
    ] {
        refused_pipelined(&mut desk, fields, code).await;
    }
    desk.nothing_left().await;
    // The stream is free for a better start.
    let data = content::bytes(1, 1 << 20);
    desk.open(1, &data).await;
    desk.finish(1, &data, 0).await;
}

#[tokio::test]
async fn a_user_gets_no_more_than_its_quota() {
    let mut desk = Desk::with(&[("SLUICE_UPLOADER__USER_QUOTA_BYTES", "10000")]).await;
    let data = content::bytes(2, 6000);
    desk.open(1, &data).await;
    desk.finish(1, &data, 0).await;
    let more = json!({"name": "b.dat", "size": 4001});
    refused_pipelined(&mut desk, more.clone(), "quota-exceeded").await;
    // An open upload counts as what it will be; aborted, it counts no more.
    let rest = content::bytes(3, 4000);
    let upload = desk.open(2, &rest).await;
    refused_pipelined(
        &mut desk,
        json!({"name": "c.dat", "size": 1}),
        "quota-exceeded",
    )
    .await;
    let aborted = desk
        .socket
        .ask(json!({"type": "abort-upload", "stream": 2}))
        .await;
    assert_eq!(aborted["upload_id"], upload, "{aborted}");
    desk.open(2, &rest).await;
    desk.finish(2, &rest, 0).await;
    assert_eq!(desk.ada.files().await.len(), 2);
    desk.server.until_cached(&[]).await;
}

#[tokio::test]
async fn a_server_at_its_bound_says_when_to_come_back_and_takes_the_file_then() {
    let mut desk = Desk::with(&[("SLUICE_CHUNKS__MAX_BYTES", "10000")]).await;
    let data = content::bytes(4, 6000);
    desk.open(7, &data).await;
    let refused = refused_pipelined(
        &mut desk,
        json!({"name": "b.dat", "size": 6000}),
        "unavailable",
    )
    .await;
    assert_eq!(refused["retryable"], true);
    assert!(
        refused["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0),
        "{refused}"
    );
    desk.finish(7, &data, 0).await;
    // There is room again as soon as the first file is stored.
    let other = content::bytes(5, 6000);
    until("the server to have room", async || {
        let started = desk.socket.start(8, "b.dat", other.len()).await;
        (started["type"] == "transfer-started").then_some(())
    })
    .await;
    desk.finish(8, &other, 0).await;
    desk.server.until_cached(&[]).await;
}

#[tokio::test]
async fn a_session_has_no_more_open_uploads_than_it_was_told() {
    let mut desk = Desk::with(&[("SLUICE_GATEWAY__MAX_OPEN_UPLOADS", "32")]).await;
    let data = content::bytes(6, 100);
    let mut uploads = Vec::new();
    for stream in 100..132 {
        uploads.push(desk.open(stream, &data).await);
    }
    refused_pipelined(
        &mut desk,
        json!({"name": "b", "size": 10}),
        "too-many-uploads",
    )
    .await;
    let resume = json!({"type": "start-transfer", "stream": 1, "upload_id": uploads[0]});
    desk.socket.ask_refused(resume, "too-many-uploads").await;
    // A resume that is refused takes nothing over.
    for stream in 100..132 {
        desk.finish(stream, &data, 0).await;
    }
    desk.open(1, &data).await;
    desk.finish(1, &data, 0).await;
    assert_eq!(desk.ada.files().await.len(), 33);
}

#[tokio::test]
async fn a_stream_number_in_use_is_a_conflict_and_harms_nothing() {
    let mut desk = Desk::new().await;
    let data = content::bytes(7, 3000);
    let upload = desk.open(1, &data).await;
    desk.socket.send_chunk(1, 0, &data[..1000]).await;
    desk.socket.acked(1, 1000).await;
    for again in [
        json!({"type": "start-transfer", "stream": 1, "name": "b.dat", "size": 5}),
        json!({"type": "start-transfer", "stream": 1, "upload_id": upload}),
    ] {
        desk.socket.ask_refused(again, "conflict").await;
    }
    assert_eq!(desk.ada.upload(&upload).await["offset"], 1000);
    desk.server.until_cached(&[&upload]).await;
    desk.finish(1, &data, 1000).await;
    assert_eq!(desk.ada.files().await.len(), 1);
}
