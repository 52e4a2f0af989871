//! A repeated `key`: always the same upload, never a second file.

use super::Desk;
use serde_json::{Value, json};
use tests::{Account, Socket, content};

const KEY: &str = "0b7e1c52-6f0e-4f5e-9d5c-2f1f6a0a7c11";

fn keyed(stream: u32, name: &str, size: usize) -> Value {
    json!({"type": "start-transfer", "stream": stream, "key": KEY, "name": name, "size": size, "tags": ["a"]})
}

#[tokio::test]
async fn the_same_key_is_the_same_upload_however_it_stands() {
    let mut desk = Desk::new().await;
    let data = content::bytes(1, 3000);
    let started = desk.socket.ask(keyed(1, "a.dat", 3000)).await;
    desk.socket.send_content(1, &data[..1000], 0).await;
    // A lost reply: the client starts again, here or on a new socket.
    let mut second = Socket::connect(&desk.ada).await;
    let again = second.ask(keyed(9, "a.dat", 3000)).await;
    assert_eq!(
        (
            &again["type"],
            &again["upload_id"],
            &again["file_id"],
            &again["offset"],
            &again["status"]
        ),
        (
            &json!("transfer-started"),
            &started["upload_id"],
            &started["file_id"],
            &json!(1000),
            &json!("open")
        ),
        "{again}"
    );
    desk.socket.receive_refusal("superseded").await;
    desk.socket = second;
    desk.finish(9, &data, 1000).await;
    desk.server.until_cached(&[]).await;
    // It is a file now: nothing is to be sent any more, and completing repeats the reply.
    let ended = desk.socket.ask(keyed(2, "a.dat", 3000)).await;
    assert_eq!(
        (&ended["upload_id"], &ended["offset"], &ended["status"]),
        (
            &started["upload_id"],
            &json!(3000),
            &json!("uploaded_successfully")
        ),
        "{ended}"
    );
    desk.finish(2, &data, 3000).await;
    desk.server.until_cached(&[]).await;
    assert_eq!(desk.ada.files().await.len(), 1);
}

#[tokio::test]
async fn the_same_key_with_other_metadata_is_a_conflict() {
    let mut desk = Desk::new().await;
    let data = content::bytes(2, 3000);
    let started = desk.socket.ask(keyed(1, "a.dat", 3000)).await;
    desk.socket.send_content(1, &data[..1000], 0).await;
    let mut tagged = keyed(2, "a.dat", 3000);
    tagged["tags"] = json!(["b"]);
    for other in [keyed(2, "b.dat", 3000), keyed(2, "a.dat", 3001), tagged] {
        desk.socket.ask_refused(other, "conflict").await;
    }
    let upload = desk.ada.upload(&started["upload_id"]).await;
    assert_eq!(
        (&upload["name"], &upload["offset"]),
        (&json!("a.dat"), &json!(1000))
    );
    desk.finish(1, &data, 1000).await;
    // After the end as well.
    desk.socket
        .ask_refused(keyed(3, "b.dat", 3000), "conflict")
        .await;
    assert_eq!(desk.ada.files().await.len(), 1);
}

#[tokio::test]
async fn a_key_tells_how_its_upload_ended() {
    let mut desk = Desk::new().await;
    let started = desk.socket.ask(keyed(1, "a.dat", 10)).await;
    desk.socket.send_chunk(1, 0, b"#!/bin/sh\n").await;
    desk.socket.receive_refusal("type-forbidden").await;
    let again = desk.socket.ask(keyed(2, "a.dat", 10)).await;
    assert_eq!(
        (&again["upload_id"], &again["status"]),
        (&started["upload_id"], &json!("rejected")),
        "{again}"
    );
    let complete = json!({"type": "complete-upload", "stream": 2});
    desk.socket.ask_refused(complete, "type-forbidden").await;
    desk.ended(&started["upload_id"], "rejected").await;
}

#[tokio::test]
async fn a_key_belongs_to_its_user() {
    let mut desk = Desk::new().await;
    let eve = Account::signup(&desk.server.url(), "eve").await;
    let mut theirs = Socket::connect(&eve).await;
    let mine = desk.socket.ask(keyed(1, "a.dat", 3000)).await;
    let other = theirs.ask(keyed(1, "b.dat", 50)).await;
    assert_eq!(other["type"], "transfer-started", "{other}");
    assert_ne!(mine["upload_id"], other["upload_id"]);
    let data = content::bytes(3, 3000);
    desk.finish(1, &data, 0).await;
    assert_eq!(eve.upload(&other["upload_id"]).await["status"], "open");
}

#[tokio::test]
async fn a_key_used_twice_at_once_makes_one_file() {
    let mut desk = Desk::new().await;
    let data = content::bytes(4, 3000);
    for (id, stream) in [(1001, 1), (1002, 2), (1003, 3)] {
        let mut start = keyed(stream, "a.dat", 3000);
        start["id"] = json!(id);
        desk.socket.send(start).await;
    }
    let mut uploads = Vec::new();
    for id in [1001, 1002, 1003] {
        let started = desk
            .socket
            .receive("a start", |message| message["id"] == id)
            .await;
        uploads.push(started["upload_id"].clone());
    }
    assert!(
        uploads.iter().all(|id| id == &uploads[0] && id.is_string()),
        "{uploads:?}"
    );
    let started = desk.socket.ask(keyed(4, "a.dat", 3000)).await;
    assert_eq!(started["upload_id"], uploads[0]);
    desk.finish(4, &data, 0).await;
    assert_eq!(desk.ada.files().await.len(), 1);
    desk.server.until_cached(&[]).await;
}
