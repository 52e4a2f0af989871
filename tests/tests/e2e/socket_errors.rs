//! Every error case of the socket, each leaving nothing changed.

use serde_json::json;
use tests::{Account, Server, Socket, content};

#[tokio::test]
async fn a_damaged_chunk_is_refused_and_can_be_sent_again() {
    let server = Server::start().await;
    let account = Account::signup(&server.url(), "ada").await;
    let mut socket = Socket::connect(&account).await;
    let data = content::bytes(1, 3000);
    let started = socket.start(1, "a.dat", data.len()).await;
    assert_eq!(started["offset"], 0);
    let mut frame = protocol::frame::Chunk::new(1, 0, data[..1000].to_vec().into())
        .encode()
        .to_vec();
    frame[19] ^= 1;
    socket.send_binary(frame).await;
    let error = socket.receive_error().await;
    assert_eq!(
        (&error["code"], &error["expected"]),
        (&json!("checksum-mismatch"), &json!(0))
    );
    socket.send_content(1, &data, 0).await;
    let completed = socket
        .ask(json!({"type": "complete-upload", "stream": 1}))
        .await;
    assert_eq!(completed["digest"], content::sha256(&data).to_string());
    assert_eq!(
        account
            .content(completed["file_id"].as_str().unwrap())
            .await,
        data
    );
}
