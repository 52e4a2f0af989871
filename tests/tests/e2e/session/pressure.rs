//! Clients that send more than is taken, or do not take what they are told: the server's memory does not pay for it.

use protocol::frame::Chunk;
use serde_json::json;
use std::sync::Arc;
use storage::faults::ChunkCall;
use tests::{Account, FaultyCache, Server, Socket, content, until};
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

/// What the kernel holds on the connections to this port: sent by one side and not yet read by the other.
fn unread(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel tells about sockets");
    let end = format!(":{port:04X}");
    let queues = table.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (sending, received) = fields.get(4)?.split_once(':')?;
        let counts = if fields[1].ends_with(&end) {
            received
        } else if fields[2].ends_with(&end) {
            sending
        } else {
            return None;
        };
        usize::from_str_radix(counts, 16).ok()
    });
    queues.sum()
}

#[tokio::test]
async fn a_store_that_stands_still_stops_the_sender() {
    const CHUNK: usize = 256 << 10;
    let FaultyCache {
        server,
        script,
        settings,
        ..
    } = &FaultyCache::start().await;
    let window = settings.gateway.window_bytes.as_usize();
    let port = server.url().rsplit_once(':').unwrap().1.parse().unwrap();
    let ada = Account::signup(server.url(), "ada").await;
    let mut socket = Socket::connect(&ada).await;
    let data = content::bytes(1, 48 << 20);
    socket.start(1, "a.dat", data.len()).await;
    let gate = script.gate(ChunkCall::Append);
    let frame = |offset: usize| {
        let payload = data[offset..offset + CHUNK].to_vec();
        Chunk::new(1, offset as u64, payload.into()).encode()
    };
    let (mut sent, mut before) = (0, 0);
    let held_up = until("the connection to take no more", async || {
        while sent < data.len() && socket.send_now(Message::binary(frame(sent))) {
            sent += CHUNK;
        }
        let now = unread(port);
        let stands = now > 0 && now == before && !socket.flushed_now();
        before = now;
        stands.then_some(now)
    })
    .await;
    assert!(sent < data.len(), "the server took everything");
    let taken = sent - held_up;
    assert!(taken <= window + 2 * CHUNK, "the server took {taken} bytes");
    // What was held up was not lost.
    gate.open();
    while sent < data.len() {
        socket.send_binary(frame(sent)).await;
        sent += CHUNK;
    }
    let completed = socket.complete(1).await;
    // The completion may have overtaken the last bytes on their way to the store; it waits for them.
    assert_eq!(
        completed["digest"],
        content::sha256(&data).to_string(),
        "{completed}"
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
