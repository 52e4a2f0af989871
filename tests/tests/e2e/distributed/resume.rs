//! An upload that was begun at one gateway goes on at another.

use super::Site;
use serde_json::Value;
use sluice::Role;
use tests::{Account, Socket, content};

const SIZE: usize = 600_000;
const HALF: usize = 300_000;

/// A user who is half-way through an upload at the first gateway.
async fn half_way(site: &Site, name: &str, data: &[u8]) -> (Account, Socket, Value) {
    let account = site.account(name).await;
    let mut socket = Socket::connect(&account).await;
    let started = socket.start(1, "a.dat", SIZE).await;
    socket.send_content(1, &data[..HALF], 0).await;
    (account, socket, started["upload_id"].clone())
}

/// Takes the upload over at the second gateway.
async fn take_over(site: &Site, account: &Account, upload_id: &Value) -> Socket {
    let mut socket = Socket::connect(&account.at(&site.url(1))).await;
    let resumed = socket.resume(7, upload_id).await;
    assert_eq!(
        resumed["offset"], HALF,
        "every byte acknowledged is there: {resumed}"
    );
    socket
}

/// Sends the rest; it must become a file of exactly `data`.
async fn finish(site: &Site, account: &Account, mut socket: Socket, data: &[u8]) {
    socket.send_content(7, data, HALF).await;
    let completed = socket.complete(7).await;
    let digest = content::sha256(data).to_string();
    assert_eq!(completed["digest"], digest, "{completed}");
    socket
        .receive("the file to be stored", |message| {
            message["event"] == "file.uploaded_successfully"
        })
        .await;
    let account = account.at(&site.url(1));
    assert_eq!(account.files().await.len(), 1);
    let file_id = completed["file_id"].as_str().unwrap();
    assert!(
        account.content(file_id).await == data,
        "it is another content"
    );
}

#[tokio::test]
async fn an_upload_goes_on_elsewhere_while_its_gateway_lives_is_frozen_or_is_dead() {
    let mut site = Site::new().await;
    let junk = content::bytes(99, 100_000);

    let data = content::bytes(1, SIZE);
    let (ada, mut first, upload) = half_way(&site, "ada", &data).await;
    let second = take_over(&site, &ada, &upload).await;
    first.send_chunk(1, HALF, &junk).await;
    first.receive_refusal("superseded").await;
    finish(&site, &ada, second, &data).await;

    let data = content::bytes(2, SIZE);
    let (bob, mut first, upload) = half_way(&site, "bob", &data).await;
    site.process(Role::Gateway, 0).freeze();
    first.send_chunk(1, HALF, &junk).await;
    let second = take_over(&site, &bob, &upload).await;
    finish(&site, &bob, second, &data).await;
    // It wakes up with a write in its hands, and changes nothing.
    site.process(Role::Gateway, 0).thaw();
    let error = first.receive_error().await;
    let known = ["superseded", "not-found"].map(Value::from);
    assert!(known.contains(&error["code"]), "{error}");

    let data = content::bytes(3, SIZE);
    let (eve, _, upload) = half_way(&site, "eve", &data).await;
    site.process(Role::Gateway, 0).kill();
    let second = take_over(&site, &eve, &upload).await;
    finish(&site, &eve, second, &data).await;

    site.until_cache_is_empty().await;
    assert_eq!(site.blobs().await.len(), 3, "one for each file");
}
