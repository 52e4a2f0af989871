//! Work that is done twice, reports that come twice, and processes that wake up late: each file is there once.

use super::Site;
use protocol::upload::PersistFile;
use reqwest::Method;
use serde_json::{Value, json};
use sluice::Role;
use tests::{Account, Socket, content, signed::Call, until};

/// The event by which a file is to be stored, taken from the queue and put back there `copies` times.
async fn copied(site: &Site, copies: usize) -> PersistFile {
    let events = storage::open_events(&site.cluster.plan().stores().events).await;
    let events = events.expect("the event engine opens");
    let mut work = until("the event engine to give work", async || {
        events.consume(1).await.ok()
    })
    .await;
    let delivery = work.next().await.expect("there is work");
    let event = delivery.event().clone();
    events
        .queue(vec![event.clone(); copies - 1])
        .await
        .expect("the event engine takes it");
    delivery
        .nack()
        .await
        .expect("the event engine takes it back");
    drop(work);
    events.close().await;
    event
}

async fn report(site: &Site, number: usize, body: &Value) -> (u16, Value) {
    let plan = site.cluster.plan();
    let to = plan.internal(Role::Uploader, number);
    let put = (Method::PUT, "/file/update/status");
    let call = Call::new(to, "uploader", plan.keys(), put, body.clone()).await;
    call.make().await
}

/// The file is listed once and stored once, and its story was told once: to who listened, and to who asks for it now.
async fn once(site: &Site, account: &Account, socket: &mut Socket, file_id: &str) {
    let files = account.files().await;
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(
        (&files[0]["status"], &files[0]["attempts"]),
        (&json!("uploaded_successfully"), &json!(1)),
        "{files:?}"
    );
    site.until_cache_is_empty().await;
    assert_eq!(site.blobs().await, [file_id]);
    let rest = socket.settle().await;
    assert!(rest.is_empty(), "{rest:?}");
    let (_, connected) = Socket::connect_since(account, Value::Null).await;
    assert_eq!(connected["topics"][0]["offset"], 2, "{connected}");
}

async fn stored(socket: &mut Socket) {
    for event in ["file.cached", "file.uploaded_successfully"] {
        let told = socket.receive_notification().await;
        assert_eq!(told["event"], event, "{told}");
    }
}

#[tokio::test]
async fn whatever_comes_twice_or_late_happens_once() {
    let mut site = Site::new().await;
    let ada = site.account("ada").await;
    let mut socket = Socket::connect(&ada).await;
    for number in 0..2 {
        site.process(Role::FileManager, number).kill();
    }
    let data = content::bytes(1, 300_000);
    let completed = socket.upload(1, "a.dat", &data).await;
    let file_id = completed["file_id"].as_str().unwrap();
    // Two file-managers get the same work at the same time, and some of it once more.
    let event = copied(&site, 4).await;
    for number in 0..2 {
        site.process(Role::FileManager, number).start();
    }
    stored(&mut socket).await;
    once(&site, &ada, &mut socket, file_id).await;

    // The work once more, when everything is over.
    let events = storage::open_events(&site.cluster.plan().stores().events).await;
    let events = events.unwrap();
    events.queue(vec![event; 3]).await.unwrap();
    // A file that is queued behind it has gone all its way.
    let bob = site.account("bob").await;
    let mut bobs = Socket::connect(&bob).await;
    bobs.upload(1, "b.dat", b"behind").await;
    stored(&mut bobs).await;
    assert_eq!(site.blobs().await.len(), 2);

    // Reports that come again, to either uploader, and one that contradicts.
    let upload_id = &completed["upload_id"];
    let at = ada.files().await[0]["stored_at"].clone();
    let again = json!({"upload_id": upload_id, "attempt": 1,
        "outcome": {"status": "uploaded_successfully", "stored_at": at}});
    let other = json!({"upload_id": upload_id, "attempt": 1,
        "outcome": {"status": "upload_failed", "reason": "not at all", "permanent": true}});
    for body in [&again, &other, &again] {
        for number in 0..2 {
            let (status, answer) = report(&site, number, body).await;
            assert_eq!(status, 200, "{answer}");
            assert_eq!(
                answer["upload"]["status"], "uploaded_successfully",
                "{answer}"
            );
        }
    }
    let files = ada.files().await;
    assert_eq!(
        (files.len(), &files[0]["status"]),
        (1, &json!("uploaded_successfully"))
    );
    assert!(ada.content(file_id).await == data);
    let rest = socket.settle().await;
    assert!(rest.is_empty(), "{rest:?}");
}

#[tokio::test]
async fn a_gateway_that_wakes_in_the_middle_of_a_completion_changes_nothing() {
    let mut site = Site::new().await;
    let ada = site.account("ada").await;
    let data = content::bytes(2, 300_000);
    let mut first = Socket::connect(&ada).await;
    let started = first.start(1, "a.dat", data.len()).await;
    first.send_content(1, &data, 0).await;
    site.process(Role::Gateway, 0).freeze();
    first
        .send(json!({"type": "complete-upload", "id": 77, "stream": 1}))
        .await;

    let elsewhere = ada.at(&site.url(1));
    let mut second = Socket::connect(&elsewhere).await;
    let complete = json!({"type": "complete-upload", "upload_id": started["upload_id"]});
    let completed = second.ask(complete).await;
    assert_eq!(completed["type"], "upload-completed", "{completed}");
    stored(&mut second).await;
    site.process(Role::Gateway, 0).thaw();
    let late = first
        .receive("the late answer", |message| message["id"] == 77)
        .await;
    assert_eq!(
        (&late["type"], &late["file_id"]),
        (&json!("upload-completed"), &completed["file_id"]),
        "{late}"
    );
    let file_id = completed["file_id"].as_str().unwrap();
    once(&site, &elsewhere, &mut second, file_id).await;
}
