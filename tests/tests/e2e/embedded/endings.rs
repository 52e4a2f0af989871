//! An upload ends while bytes of it are on their way to the chunk cache.

use storage::faults::ChunkCall;
use tests::{Account, FaultyCache, Socket, content, until};

#[tokio::test]
async fn bytes_on_their_way_to_the_cache_when_the_upload_ends_leave_nothing_behind() {
    let faulty = FaultyCache::start().await;
    let ada = Account::signup(faulty.url(), "ada").await;
    let mut socket = Socket::connect(&ada).await;
    let data = content::bytes(7, 1001);
    let started = socket.start(1, "a.dat", 1000).await;
    socket.send_content(1, &data[..200], 0).await;
    let gate = faulty.script.gate(ChunkCall::Append);
    socket.send_chunk(1, 200, &data[200..500]).await;
    gate.reached(1).await;
    socket.send_chunk(1, 500, &data[500..]).await;
    socket.receive_refusal("size-exceeded").await;
    until("the upload to end", async || {
        let upload = ada.upload(&started["upload_id"]).await;
        (upload["status"] == "rejected").then_some(())
    })
    .await;
    gate.open();
    // By the time that another upload has gone all its way, so has the late write.
    socket.upload(2, "b.dat", &data).await;
    until("the other file to be stored", async || {
        let files = ada.files().await;
        (files[0]["status"] == "uploaded_successfully").then_some(())
    })
    .await;
    until("the cache to be empty", async || {
        faulty.chunks.list().await.unwrap().is_empty().then_some(())
    })
    .await;
    assert_eq!(
        faulty.script.calls(ChunkCall::Open),
        2,
        "nothing was opened again"
    );
    faulty.server.stop().await;
}
