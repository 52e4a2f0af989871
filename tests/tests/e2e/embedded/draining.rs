//! A server that is asked to stop while bytes are being stored finishes that first.

use serde_json::json;
use storage::faults::ChunkCall;
use tests::{Account, FaultyCache, Socket, content};

async fn draining(socket: &mut Socket) {
    socket
        .receive("draining", |message| message["type"] == "draining")
        .await;
}

#[tokio::test]
async fn what_is_in_flight_is_finished_and_acknowledged() {
    let faulty = FaultyCache::start().await;
    let ada = Account::signup(faulty.url(), "ada").await;
    let data = content::bytes(2, 3000);
    // One upload is being completed, the bytes of another are being stored.
    let (mut completing, mut storing) = (Socket::connect(&ada).await, Socket::connect(&ada).await);
    completing.start(1, "a.dat", data.len()).await;
    completing.send_content(1, &data, 0).await;
    storing.start(1, "b.dat", data.len()).await;
    let (sealing, appending) = (
        faulty.script.gate(ChunkCall::Seal),
        faulty.script.gate(ChunkCall::Append),
    );
    completing
        .send(json!({"type": "complete-upload", "id": 100, "stream": 1}))
        .await;
    storing.send_chunk(1, 0, &data).await;
    sealing.reached(1).await;
    appending.reached(1).await;
    let stopped = tokio::spawn(faulty.server.stop());
    draining(&mut completing).await;
    draining(&mut storing).await;
    sealing.open();
    appending.open();
    let completed = completing
        .receive("the completion", |message| message["id"] == 100)
        .await;
    assert_eq!(completed["type"], "upload-completed", "{completed}");
    storing.acked(1, 3000).await;
    assert_eq!(completing.closed().await.code, Some(1012));
    assert_eq!(storing.closed().await.code, Some(1012));
    stopped.await.unwrap();
}
