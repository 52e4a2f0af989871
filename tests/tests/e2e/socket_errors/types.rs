//! Forbidden types, found by each of the three checks.

use super::Desk;
use serde_json::{Value, json};
use tests::{Socket, content};

/// The beginning of an ELF executable, of which a prefix is not recognised.
fn elf() -> Vec<u8> {
    let mut bytes = content::bytes(1, 300);
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    bytes
}

fn named(stream: u32, name: &str, content_type: Value, size: usize) -> Value {
    json!({"type": "start-transfer", "stream": stream, "name": name, "size": size, "content_type": content_type})
}

#[tokio::test]
async fn a_forbidden_name_or_declared_type_is_refused_at_the_start() {
    let mut desk = Desk::new().await;
    for (name, content_type) in [
        ("setup.exe", json!(null)),
        ("SETUP.EXE", json!("image/png")),
        ("setup.exe.", json!(null)),
        ("holiday.jpg", json!("application/x-msdownload")),
        ("holiday.jpg", json!("Application/X-MsDownload; charset=x")),
    ] {
        let start = named(1, name, content_type, 10);
        desk.socket.ask_refused(start, "type-forbidden").await;
        desk.socket.send_chunk(1, 0, b"0123456789").await;
        let complete = json!({"type": "complete-upload", "stream": 1});
        desk.socket.ask_refused(complete, "type-forbidden").await;
        desk.silence().await;
    }
    desk.nothing_left().await;
    // Names and types that only look alike are welcome.
    for (name, content_type) in [("exe", json!(null)), ("executive.txt", json!("text/plain"))] {
        let start = named(2, name, content_type, 10);
        assert_eq!(desk.socket.ask(start).await["type"], "transfer-started");
        desk.finish(2, b"0123456789", 0).await;
    }
}

#[tokio::test]
async fn first_bytes_of_a_forbidden_type_end_the_upload() {
    let mut desk = Desk::new().await;
    let windows = [b"MZ".as_slice(), &[0; 200]].concat();
    let script = b"#!/bin/sh\necho hello\n".to_vec();
    for data in [elf(), windows, script] {
        let start = named(1, "holiday.jpg", json!("image/jpeg"), data.len());
        let started = desk.socket.ask(start).await;
        assert_eq!(started["type"], "transfer-started", "{started}");
        desk.socket.send_chunk(1, 0, &data).await;
        let error = desk.socket.receive_refusal("type-forbidden").await;
        assert_eq!(
            (&error["stream"], &error["upload_id"]),
            (&json!(1), &started["upload_id"])
        );
        // What comes later is dropped, and completing tells the same.
        desk.socket.send_chunk(1, 0, &data).await;
        desk.silence().await;
        let complete = json!({"type": "complete-upload", "stream": 1});
        desk.socket.ask_refused(complete, "type-forbidden").await;
        let elsewhere = json!({"type": "complete-upload", "upload_id": started["upload_id"]});
        desk.socket.ask_refused(elsewhere, "type-forbidden").await;
        desk.ended(&started["upload_id"], "rejected").await;
    }
}

#[tokio::test]
async fn a_forbidden_type_is_found_in_a_file_sent_without_waiting() {
    let mut desk = Desk::new().await;
    let data = elf();
    let mut start = named(1, "holiday.jpg", json!(null), data.len());
    start["id"] = json!(1001);
    desk.socket.send(start).await;
    desk.socket.send_chunk(1, 0, &data).await;
    let complete = json!({"type": "complete-upload", "id": 1002, "stream": 1});
    desk.socket.send(complete).await;
    let answered = desk
        .socket
        .receive("the answer", |message| message["id"] == 1002);
    assert_eq!(answered.await["code"], "type-forbidden");
    let started = desk
        .socket
        .receive("the start", |message| message["id"] == 1001);
    let upload = started.await["upload_id"].clone();
    desk.ended(&upload, "rejected").await;
}

#[tokio::test]
async fn a_forbidden_type_is_found_byte_by_byte() {
    let mut desk = Desk::new().await;
    let data = elf();
    let upload = desk.open(1, &data).await;
    let mut acked = 0;
    let error = loop {
        desk.socket.send_chunk(1, acked, &data[acked..=acked]).await;
        let answer = desk.socket.receive("an answer", |message| {
            message["type"] == "error" || message["offset"] == acked + 1
        });
        match answer.await {
            error if error["type"] == "error" => break error,
            _ => acked += 1,
        }
    };
    assert_eq!(error["code"], "type-forbidden", "{error}");
    assert!(acked > 4, "the first four bytes alone are no executable");
    desk.ended(&upload, "rejected").await;
}

#[tokio::test]
async fn a_forbidden_type_is_found_across_a_reconnect() {
    let mut desk = Desk::new().await;
    let data = elf();
    let upload = desk.open(1, &data).await;
    desk.socket.send_chunk(1, 0, &data[..20]).await;
    desk.socket.acked(1, 20).await;
    std::mem::replace(&mut desk.socket, Socket::connect(&desk.ada).await).cut();
    let resumed = desk.socket.resume(5, &upload).await;
    assert_eq!(resumed["offset"], 20, "{resumed}");
    desk.socket.send_chunk(5, 20, &data[20..]).await;
    desk.socket.receive_refusal("type-forbidden").await;
    desk.ended(&upload, "rejected").await;
}
