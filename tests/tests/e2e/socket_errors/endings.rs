//! How uploads end: completed more than once, too early, with a wrong digest, with too many bytes, or given up.

use super::Desk;
use serde_json::{Value, json};
use tests::{Socket, content};

fn complete(stream: u32, digest: &str) -> Value {
    json!({"type": "complete-upload", "stream": stream, "digest": digest})
}

#[tokio::test]
async fn completing_too_early_says_what_is_missing_and_harms_nothing() {
    let mut desk = Desk::new().await;
    let data = content::bytes(1, 3000);
    let upload = desk.open(1, &data).await;
    let by_stream = json!({"type": "complete-upload", "stream": 1});
    let by_id = json!({"type": "complete-upload", "upload_id": upload});
    let mut elsewhere = Socket::connect(&desk.ada).await;
    for (before, held) in [(0, 0), (0, 1000), (1000, 2999)] {
        desk.socket.send_content(1, &data[..held], before).await;
        for request in [&by_stream, &by_id] {
            let error = desk.socket.ask_refused(request.clone(), "incomplete").await;
            assert_eq!(error["expected"], held);
        }
        let error = elsewhere.ask_refused(by_id.clone(), "incomplete").await;
        assert_eq!(error["expected"], held);
    }
    desk.finish(1, &data, 2999).await;
}

#[tokio::test]
async fn completing_again_repeats_the_reply_from_anywhere() {
    let mut desk = Desk::new().await;
    let data = content::bytes(2, 3000);
    let upload = desk.open(1, &data).await;
    desk.socket.send_content(1, &data, 0).await;
    // All bytes are held by a session that never completes: another one can.
    let by_id = json!({"type": "complete-upload", "upload_id": upload});
    let mut elsewhere = Socket::connect(&desk.ada).await;
    let first = elsewhere.ask(by_id.clone()).await;
    assert_eq!(
        (&first["type"], &first["status"], &first["size"]),
        (&json!("upload-completed"), &json!("cached"), &json!(3000)),
        "{first}"
    );
    let without_id = |mut reply: Value| {
        reply.as_object_mut().map(|reply| reply.remove("id"));
        reply
    };
    let first = without_id(first);
    for _ in 0..2 {
        assert_eq!(without_id(elsewhere.ask(by_id.clone()).await), first);
        assert_eq!(without_id(desk.socket.ask(by_id.clone()).await), first);
    }
    let digest = content::sha256(&data).to_string();
    let same = json!({"type": "complete-upload", "upload_id": upload, "digest": digest});
    assert_eq!(without_id(elsewhere.ask(same).await), first);
    let other = content::sha256(b"other").to_string();
    let other = json!({"type": "complete-upload", "upload_id": upload, "digest": other});
    elsewhere.ask_refused(other, "conflict").await;
    assert_eq!(desk.ada.files().await.len(), 1);
    let abort = json!({"type": "abort-upload", "upload_id": upload});
    elsewhere.ask_refused(abort, "conflict").await;
    assert!(desk.ada.content(first["file_id"].as_str().unwrap()).await == data);
}

#[tokio::test]
async fn a_wrong_digest_ends_the_upload() {
    let mut desk = Desk::new().await;
    let data = content::bytes(3, 3000);
    let wrong = content::sha256(b"something else").to_string();
    let right = content::sha256(&data).to_string();
    // Announced at the start, at the end, or right at the start and wrong at the end.
    for (at_start, at_end) in [
        (json!(wrong), json!(null)),
        (json!(null), json!(wrong)),
        (json!(right), json!(wrong)),
        (json!(wrong), json!(right)),
    ] {
        let start = json!({"type": "start-transfer", "stream": 1, "name": "a", "size": 3000, "digest": at_start});
        let started = desk.socket.ask(start).await;
        desk.socket.send_content(1, &data, 0).await;
        let request = json!({"type": "complete-upload", "stream": 1, "digest": at_end});
        desk.socket
            .ask_refused(request.clone(), "digest-mismatch")
            .await;
        desk.ended(&started["upload_id"], "rejected").await;
        // It stays so, whatever is tried.
        desk.socket.send_chunk(1, 0, &data).await;
        desk.silence().await;
        desk.socket.ask_refused(request, "digest-mismatch").await;
        let resumed = desk.socket.resume(2, &started["upload_id"]).await;
        assert_eq!(
            (&resumed["type"], &resumed["status"]),
            (&json!("transfer-started"), &json!("rejected")),
            "{resumed}"
        );
        desk.socket
            .ask_refused(complete(2, &right), "digest-mismatch")
            .await;
        desk.nothing_left().await;
    }
    desk.open(1, &data).await;
    desk.finish(1, &data, 0).await;
}

#[tokio::test]
async fn a_digest_of_another_kind_is_refused_and_the_upload_goes_on() {
    let mut desk = Desk::new().await;
    let data = content::bytes(4, 3000);
    desk.open(1, &data).await;
    desk.socket.send_content(1, &data, 0).await;
    let blake3 = format!("blake3:{}", "0".repeat(64));
    desk.socket
        .ask_refused(complete(1, &blake3), "invalid-message")
        .await;
    desk.finish(1, &data, 3000).await;
}

#[tokio::test]
async fn more_bytes_than_announced_end_the_upload() {
    let mut desk = Desk::new().await;
    let data = content::bytes(5, 1500);
    // In one chunk, across the end, or when it is whole already.
    for before in [0, 600, 1000] {
        let upload = desk.open(1, &data[..1000]).await;
        desk.socket.send_content(1, &data[..before], 0).await;
        desk.socket.send_chunk(1, before, &data[before..]).await;
        let error = desk.socket.receive_refusal("size-exceeded").await;
        assert_eq!(
            (&error["stream"], &error["upload_id"]),
            (&json!(1), &upload)
        );
        desk.socket
            .send_chunk(1, before, &data[before..=before])
            .await;
        desk.silence().await;
        let request = json!({"type": "complete-upload", "stream": 1});
        desk.socket.ask_refused(request, "size-exceeded").await;
        desk.ended(&upload, "rejected").await;
        let by_id = json!({"type": "complete-upload", "upload_id": upload});
        desk.socket.ask_refused(by_id, "size-exceeded").await;
    }
}

#[tokio::test]
async fn an_aborted_upload_is_gone() {
    let mut desk = Desk::new().await;
    let data = content::bytes(6, 3000);
    let mut elsewhere = Socket::connect(&desk.ada).await;
    for by_stream in [true, false] {
        let upload = desk.open(1, &data).await;
        desk.socket.send_content(1, &data[..1000], 0).await;
        let by_id = json!({"type": "abort-upload", "upload_id": upload});
        let aborted = if by_stream {
            let request = json!({"type": "abort-upload", "stream": 1});
            desk.socket.ask(request).await
        } else {
            elsewhere.ask(by_id.clone()).await
        };
        assert_eq!(
            (&aborted["type"], &aborted["upload_id"]),
            (&json!("upload-aborted"), &upload),
            "{aborted}"
        );
        desk.ended(&upload, "aborted").await;
        // Repeating it repeats the reply.
        assert_eq!(elsewhere.ask(by_id).await["type"], "upload-aborted");
        let complete = json!({"type": "complete-upload", "upload_id": upload});
        elsewhere.ask_refused(complete, "aborted").await;
        let resumed = elsewhere.resume(1, &upload).await;
        assert_eq!(resumed["status"], "aborted", "{resumed}");
        elsewhere.send_chunk(1, 0, &data).await;
        let request = json!({"type": "complete-upload", "stream": 1});
        elsewhere.ask_refused(request.clone(), "aborted").await;
        // The stream that was sending learns it with its next chunk at the latest, and nothing of that is kept.
        desk.socket.send_chunk(1, 1000, &data[1000..2000]).await;
        if by_stream {
            desk.silence().await;
        } else {
            desk.socket.receive_refusal("aborted").await;
        }
        desk.socket.ask_refused(request, "aborted").await;
        desk.nothing_left().await;
    }
}

#[tokio::test]
async fn an_upload_that_is_not_finished_in_time_expires() {
    let settings = [
        ("SLUICE_UPLOADER__UPLOAD_LIFETIME", "1s"),
        ("SLUICE_UPLOADER__SWEEP_INTERVAL", "1s"),
    ];
    let mut desk = Desk::with(&settings).await;
    let data = content::bytes(8, 3000);
    let key = "0b7e1c52-6f0e-4f5e-9d5c-2f1f6a0a7c11";
    let start =
        json!({"type": "start-transfer", "stream": 1, "key": key, "name": "a", "size": 3000});
    let started = desk.socket.ask(start.clone()).await;
    desk.socket.send_content(1, &data[..1000], 0).await;
    desk.ended(&started["upload_id"], "expired").await;
    desk.socket.send_chunk(1, 1000, &data[1000..]).await;
    desk.socket.receive_refusal("expired").await;
    let complete = json!({"type": "complete-upload", "stream": 1});
    desk.socket.ask_refused(complete.clone(), "expired").await;
    // A resume and the same key tell the same.
    let resumed = desk.socket.resume(1, &started["upload_id"]).await;
    let again = desk.socket.ask(start).await;
    for reply in [&resumed, &again] {
        assert_eq!(
            (&reply["upload_id"], &reply["status"]),
            (&started["upload_id"], &json!("expired")),
            "{reply}"
        );
        desk.socket.ask_refused(complete.clone(), "expired").await;
    }
    desk.nothing_left().await;
}
