//! A chunk cache that fails for now, or has lost what it held: the client is told when and where to go on.

use serde_json::{Value, json};
use storage::{chunks::ChunkError, faults::ChunkCall};
use tests::{Account, FaultyCache, Socket, content};

fn unreachable() -> ChunkError {
    ChunkError::Unavailable("made to fail".to_owned())
}

fn full() -> ChunkError {
    ChunkError::Full("made to fail".to_owned())
}

async fn desk() -> (FaultyCache, Account, Socket) {
    let faulty = FaultyCache::start().await;
    let ada = Account::signup(faulty.url(), "ada").await;
    let socket = Socket::connect(&ada).await;
    (faulty, ada, socket)
}

/// Sends what is missing from `offset` on; it must become a file of exactly `data`, and nothing may be left in the cache.
async fn finish(
    faulty: &FaultyCache,
    ada: &Account,
    socket: &mut Socket,
    data: &[u8],
    offset: usize,
) {
    socket.send_content(1, data, offset).await;
    let completed = socket.complete(1).await;
    assert_eq!(
        completed["digest"],
        content::sha256(data).to_string(),
        "{completed}"
    );
    let file_id = completed["file_id"].as_str().unwrap();
    assert!(ada.content(file_id).await == data);
    assert_eq!(ada.files().await.len(), 1);
    tests::until("the cache to be empty", async || {
        faulty.chunks.list().await.unwrap().is_empty().then_some(())
    })
    .await;
}

/// Says where the upload stands and when to go on.
fn goes_on_later(error: &Value, expected: u64) {
    assert_eq!(error["expected"], expected, "{error}");
    assert!(error["retry_after_ms"].as_u64() > Some(0), "{error}");
}

#[tokio::test]
async fn bytes_that_can_not_be_stored_now_are_sent_again() {
    let (faulty, ada, mut socket) = desk().await;
    let data = content::bytes(1, 3000);
    socket.start(1, "a.dat", data.len()).await;
    socket.send_content(1, &data[..1000], 0).await;
    for (make, code) in [
        (unreachable as fn() -> ChunkError, "unavailable"),
        (full, "storage-full"),
    ] {
        faulty.script.fail_next(ChunkCall::Append, 1, make);
        socket.send_chunk(1, 1000, &data[1000..2000]).await;
        let error = socket.receive_refusal(code).await;
        assert_eq!(error["stream"], 1);
        goes_on_later(&error, 1000);
        // What was sent before the error was heard of is dropped silently.
        socket.send_chunk(1, 2000, &data[2000..]).await;
        assert_eq!(socket.settle().await, [json!(null); 0]);
    }
    finish(&faulty, &ada, &mut socket, &data, 1000).await;
}

#[tokio::test]
async fn what_waits_behind_bytes_that_can_not_be_stored_is_sent_again_too() {
    const CHUNK: usize = 256 << 10;
    let (faulty, ada, mut socket) = desk().await;
    let data = content::bytes(7, 7 * CHUNK + 1000);
    socket.start(1, "a.dat", data.len()).await;
    let gate = faulty.script.gate(ChunkCall::Append);
    socket.send_chunk(1, 0, &data[..CHUNK]).await;
    gate.reached(1).await;
    for (number, chunk) in data.chunks(CHUNK).enumerate().take(7).skip(1) {
        socket.send_chunk(1, number * CHUNK, chunk).await;
    }
    socket.settle().await;
    // The first is stored, the next fails, and others wait behind that.
    faulty
        .script
        .fail_after(ChunkCall::Append, 1, 1, unreachable);
    gate.open();
    let error = socket.receive_refusal("unavailable").await;
    goes_on_later(&error, CHUNK as u64);
    finish(&faulty, &ada, &mut socket, &data, CHUNK).await;
}

#[tokio::test]
async fn a_completion_behind_bytes_that_were_not_stored_is_refused_with_them() {
    let (faulty, ada, mut socket) = desk().await;
    let data = content::bytes(2, 3000);
    socket.start(1, "a.dat", data.len()).await;
    let gate = faulty.script.gate(ChunkCall::Append);
    socket.send_chunk(1, 0, &data).await;
    let complete = json!({"type": "complete-upload", "id": 1001, "stream": 1});
    socket.send(complete).await;
    gate.reached(1).await;
    // The round trip makes sure that the completion is waiting, too.
    socket.settle().await;
    faulty.script.fail_next(ChunkCall::Append, 1, unreachable);
    gate.open();
    let error = socket.receive_error().await;
    assert_eq!(
        (&error["id"], &error["code"]),
        (&json!(1001), &json!("unavailable")),
        "{error}"
    );
    goes_on_later(&error, 0);
    finish(&faulty, &ada, &mut socket, &data, 0).await;
}

#[tokio::test]
async fn an_upload_that_can_not_be_opened_or_sealed_now_can_be_later() {
    let (faulty, ada, mut socket) = desk().await;
    let data = content::bytes(3, 3000);
    let start = json!({"type": "start-transfer", "stream": 1, "name": "a.dat", "size": 3000,
        "key": "0b7e1c52-6f0e-4f5e-9d5c-2f1f6a0a7c11"});
    for (make, code) in [
        (unreachable as fn() -> ChunkError, "unavailable"),
        (full, "storage-full"),
    ] {
        faulty.script.fail_next(ChunkCall::Resume, 1, make);
        let error = socket.ask_refused(start.clone(), code).await;
        assert!(error["retry_after_ms"].as_u64() > Some(0), "{error}");
        socket.send_chunk(1, 0, &data).await;
        let complete = json!({"type": "complete-upload", "stream": 1});
        socket.ask_refused(complete, code).await;
    }
    let started = socket.ask(start).await;
    assert_eq!(
        (&started["type"], &started["offset"]),
        (&json!("transfer-started"), &json!(0)),
        "{started}"
    );
    socket.send_content(1, &data, 0).await;
    faulty.script.fail_next(ChunkCall::Seal, 1, unreachable);
    let complete = json!({"type": "complete-upload", "stream": 1});
    let error = socket.ask_refused(complete, "unavailable").await;
    assert!(error["retry_after_ms"].as_u64() > Some(0), "{error}");
    finish(&faulty, &ada, &mut socket, &data, 3000).await;
}

#[tokio::test]
async fn bytes_that_the_cache_has_lost_are_asked_for_again() {
    let (faulty, ada, mut socket) = desk().await;
    let data = content::bytes(4, 3000);
    let started = socket.start(1, "a.dat", data.len()).await;
    let upload = started["upload_id"].as_str().unwrap().parse().unwrap();
    // In the middle, where the next chunk shows it.
    socket.send_content(1, &data[..2000], 0).await;
    faulty.chunks.remove(upload).await.unwrap();
    socket.send_chunk(1, 2000, &data[2000..]).await;
    let error = socket.receive_refusal("offset-mismatch").await;
    assert_eq!(error["expected"], 0, "less than was acknowledged: {error}");
    // At the end, where completing shows it.
    socket.send_content(1, &data, 0).await;
    faulty.chunks.remove(upload).await.unwrap();
    let complete = json!({"type": "complete-upload", "stream": 1});
    let error = socket.ask_refused(complete, "incomplete").await;
    assert_eq!(error["expected"], 0, "{error}");
    finish(&faulty, &ada, &mut socket, &data, 0).await;
}
