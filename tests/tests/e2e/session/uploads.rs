//! Several uploads at once on one socket, and small ones sent without waiting.

use serde_json::{Value, json};
use tests::{Account, Server, Socket, content};

/// Reads the replies to these requests, in whatever order they come.
async fn replies(socket: &mut Socket, ids: std::ops::Range<u64>) -> Vec<Value> {
    let mut replies = Vec::new();
    for id in ids {
        let reply = socket.receive("a reply", |message| message["id"] == id);
        replies.push(reply.await);
    }
    replies
}

#[tokio::test]
async fn uploads_share_a_socket() {
    let server = Server::start().await;
    let ada = Account::signup(&server.url(), "ada").await;
    let mut socket = Socket::connect(&ada).await;
    let sizes = [
        1,
        700,
        64 << 10,
        100_000,
        256 << 10,
        300_000,
        1 << 20,
        (1 << 20) + 1,
    ];
    let contents: Vec<_> = (0..)
        .zip(sizes)
        .map(|(seed, size)| content::bytes(seed, size))
        .collect();
    for (stream, data) in (1..).zip(&contents) {
        let started = socket
            .start(stream, &format!("{stream}.dat"), data.len())
            .await;
        assert_eq!(started["stream"], stream, "{started}");
    }
    // A chunk of each in turn, as long as there are any; nothing is waited for, since each has less than a window.
    let mut offset = 0;
    while contents.iter().any(|data| data.len() > offset) {
        for (stream, data) in (1..).zip(&contents) {
            if let Some(rest) = data.get(offset..).filter(|rest| !rest.is_empty()) {
                let piece = &rest[..rest.len().min(60_000)];
                socket.send_chunk(stream, offset, piece).await;
            }
        }
        offset += 60_000;
    }
    for stream in (1..=sizes.len()).rev() {
        let completed = socket.complete(stream as u32).await;
        let data = &contents[stream - 1];
        assert_eq!(
            completed["digest"],
            content::sha256(data).to_string(),
            "{completed}"
        );
        assert!(ada.content(completed["file_id"].as_str().unwrap()).await == *data);
    }
    assert_eq!(ada.files().await.len(), sizes.len());
}

#[tokio::test]
async fn small_files_are_sent_in_one_go() {
    let server = Server::start().await;
    let ada = Account::signup(&server.url(), "ada").await;
    let mut socket = Socket::open(&server.url()).await;
    let connect = json!({"type": "connect", "id": 0, "access_token": ada.token()});
    socket.send(connect).await;
    let contents: Vec<_> = (0..20)
        .map(|seed| content::bytes(seed, 2000 + 997 * seed as usize))
        .collect();
    for (stream, data) in (1_u32..).zip(&contents) {
        let (id, name) = (u64::from(stream) * 2, format!("{stream}.dat"));
        let digest = content::sha256(data).to_string();
        let start = json!({"type": "start-transfer", "id": id, "stream": stream, "name": name, "size": data.len(), "digest": digest});
        socket.send(start).await;
        for (index, piece) in data.chunks(1500).enumerate() {
            socket.send_chunk(stream, index * 1500, piece).await;
        }
        let complete = json!({"type": "complete-upload", "id": id + 1, "stream": stream});
        socket.send(complete).await;
    }
    // Only now the first word of the server is read.
    let replies = replies(&mut socket, 2..42).await;
    for (pair, data) in replies.chunks(2).zip(&contents) {
        assert_eq!(pair[0]["type"], "transfer-started", "{}", pair[0]);
        assert_eq!(pair[1]["type"], "upload-completed", "{}", pair[1]);
        assert_eq!(pair[1]["digest"], content::sha256(data).to_string());
        assert!(ada.content(pair[1]["file_id"].as_str().unwrap()).await == *data);
    }
    assert_eq!(ada.files().await.len(), 20);
}

#[tokio::test]
async fn acknowledgements_keep_a_window_going() {
    let server = Server::start().await;
    let ada = Account::signup(&server.url(), "ada").await;
    let (mut socket, connected) = Socket::connect_since(&ada, json!(null)).await;
    let window = connected["limits"]["window_bytes"].as_u64().unwrap() as usize;
    let data = content::bytes(1, 3 * window + 12_345);
    let blake3 = json!({"type": "start-transfer", "stream": 1, "name": "a", "size": data.len(),
        "digest": format!("blake3:{}", blake3_of(&data))});
    let started = socket.ask(blake3).await;
    let chunk = started["chunk_bytes"].as_u64().unwrap() as usize;
    let (mut sent, mut acked) = (0, 0);
    while acked < data.len() {
        while sent < data.len() && sent + chunk <= acked + window {
            let end = data.len().min(sent + chunk);
            socket.send_chunk(1, sent, &data[sent..end]).await;
            sent = end;
        }
        let message = socket
            .receive("an acknowledgement", |message| {
                message["type"] == "chunk-acked"
            })
            .await;
        let offset = message["offset"].as_u64().unwrap() as usize;
        assert!(
            offset > acked && offset <= sent,
            "{message} after {acked}, with {sent} sent"
        );
        acked = offset;
    }
    let completed = socket.complete(1).await;
    assert_eq!(
        completed["digest"],
        format!("blake3:{}", blake3_of(&data)),
        "{completed}"
    );
}

fn blake3_of(data: &[u8]) -> String {
    let mut hasher = protocol::Hasher::new(protocol::DigestAlgorithm::Blake3);
    hasher.update(data);
    let digest = hasher.finish().to_string();
    digest.trim_start_matches("blake3:").to_owned()
}
