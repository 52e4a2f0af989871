//! Clients that send more than is taken, or do not take what they are told: the server's memory does not pay for it.

use serde_json::json;
use std::sync::Arc;
use tests::{Account, Server, Socket, content, until};
use tokio_tungstenite::tungstenite::Message;

/// Connects a client whose machine keeps little of what it does not read.
async fn narrow(account: &Account) -> Socket {
    let mut socket = Socket::open_narrow(&account.url).await;
    let connect = json!({"type": "connect", "access_token": account.token()});
    assert_eq!(socket.ask(connect).await["type"], "connected");
    socket
}

/// Gives the account files of which a list takes more than 100 KB.
async fn with_long_lists(url: &str) -> Account {
    let ada = Account::signup(url, "ada").await;
    let mut socket = Socket::connect(&ada).await;
    for stream in 1..=12 {
        let start = json!({"type": "start-transfer", "stream": stream, "name": "a.dat", "size": 4,
            "description": "x".repeat(10_000)});
        assert_eq!(socket.ask(start).await["type"], "transfer-started");
        socket.send_content(stream, b"data", 0).await;
        assert_eq!(socket.complete(stream).await["type"], "upload-completed");
    }
    ada
}

/// Asks for lists without end and never reads one, until the server closes the socket as that of a slow consumer.
async fn ask_until_closed(server: &Server, socket: &mut Socket) {
    let question = json!({"type": "get-history", "id": 7}).to_string();
    until("the slow client to be closed", async || {
        for _ in 0..20 {
            socket.send_now(Message::text(question.as_str()));
        }
        let closes = server.metric("sluice_session_closes_total{code=\"4410\"}");
        (closes.await >= 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_lets_too_much_wait_is_a_slow_consumer() {
    let settings = [("SLUICE_GATEWAY__SLOW_READER_BYTES", "64 KiB")];
    let server = Server::start_with(&settings).await;
    let ada = with_long_lists(&server.url()).await;
    let mut quick = Socket::connect(&ada).await;
    let mut slow = narrow(&ada).await;
    ask_until_closed(&server, &mut slow).await;
    // The close comes behind what waited, if it is still taken; the others never noticed.
    assert!(matches!(slow.closed().await.code, Some(4410) | None));
    quick.upload(1, "a.dat", b"not impressed").await;
}

#[tokio::test]
async fn who_takes_nothing_for_two_heartbeats_is_a_slow_consumer() {
    let settings = [
        ("SLUICE_GATEWAY__HEARTBEAT", "400ms"),
        ("SLUICE_GATEWAY__SLOW_READER_BYTES", "1 GiB"),
    ];
    let server = Server::start_with(&settings).await;
    let ada = with_long_lists(&server.url()).await;
    let mut slow = narrow(&ada).await;
    ask_until_closed(&server, &mut slow).await;
    // It was not read any more, so its silence did not count against it.
    assert_eq!(
        server
            .metric("sluice_session_closes_total{code=\"4408\"}")
            .await,
        0.0
    );
}

#[tokio::test]
async fn large_uploads_on_many_sockets_need_little_memory() {
    const LIMIT: u64 = 120 << 20;
    let server = Server::start().await;
    let ada = Account::signup(&server.url(), "ada").await;
    let data = Arc::new(content::bytes(2, 24 << 20));
    let mut uploads = tokio::task::JoinSet::new();
    for number in 0..6 {
        let (ada, data) = (ada.clone(), data.clone());
        uploads.spawn(async move {
            let mut socket = Socket::connect(&ada).await;
            socket.start(1, &format!("{number}.dat"), data.len()).await;
            // Not a word of the server is read before everything is sent.
            for (index, piece) in data.chunks(128 << 10).enumerate() {
                socket.send_chunk(1, index * (128 << 10), piece).await;
            }
            socket.complete(1).await
        });
    }
    let digest = content::sha256(&data).to_string();
    while let Some(completed) = uploads.join_next().await {
        assert_eq!(completed.unwrap()["digest"], digest);
    }
    let peak = server.peak_memory();
    assert!(peak < LIMIT, "the server had {} MiB", peak >> 20);
}
