//! A server that is asked to stop: clients are told, what was begun is finished, and the process ends well.

use serde_json::Value;
use tests::{Account, Server, Socket, content};

async fn draining(socket: &mut Socket) -> Value {
    socket
        .receive("draining", |message| message["type"] == "draining")
        .await
}

#[tokio::test]
async fn a_terminated_server_says_goodbye_and_keeps_its_word() {
    let mut server = Server::start().await;
    let ada = Account::signup(&server.url(), "ada").await;
    let mut idle = Socket::connect(&ada).await;
    let mut unconnected = Socket::open(&server.url()).await;
    let mut busy = Socket::connect(&ada).await;
    let data = content::bytes(1, 2_000_000);
    let started = busy.start(1, "a.dat", data.len()).await;
    for (index, piece) in data[..1_500_000].chunks(50_000).enumerate() {
        busy.send_chunk(1, index * 50_000, piece).await;
    }
    busy.receive("an acknowledgement", |message| {
        message["type"] == "chunk-acked"
    })
    .await;
    server.terminate();
    for socket in [&mut idle, &mut busy] {
        let told = draining(socket).await;
        assert!(
            (1..=5000).contains(&told["retry_after_ms"].as_u64().unwrap()),
            "{told}"
        );
    }
    assert_eq!(idle.closed().await.code, Some(1012));
    assert_eq!(unconnected.closed().await.code, Some(1012));
    let closed = busy.closed().await;
    assert_eq!(closed.code, Some(1012));
    assert!(
        server.ended().await,
        "the exit code says that all went well:\n{}",
        server.log()
    );

    let acked = closed
        .messages
        .iter()
        .filter(|message| message["type"] == "chunk-acked");
    let acked = acked
        .filter_map(|message| message["offset"].as_u64())
        .max()
        .unwrap_or(0);
    server.restart().await;
    let mut again = Socket::connect(&ada).await;
    let resumed = again.resume(1, &started["upload_id"]).await;
    let offset = resumed["offset"].as_u64().unwrap();
    assert!(offset >= acked, "{resumed} after {acked} were acknowledged");
    again.send_content(1, &data, offset as usize).await;
    let completed = again.complete(1).await;
    assert_eq!(completed["digest"], content::sha256(&data).to_string());
}
