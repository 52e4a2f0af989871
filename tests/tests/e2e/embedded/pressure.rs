//! A chunk cache that stands still holds up who sends, and loses nothing.

use protocol::frame::Chunk;
use storage::faults::ChunkCall;
use tests::{Account, FaultyCache, Socket, content, until};
use tokio_tungstenite::tungstenite::Message;

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
