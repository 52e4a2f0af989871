//! What a server that starts after the cut must show.

use super::life::{Plan, Promises};
use futures::TryStreamExt;
use serde_json::Value;
use sluice::Stores;
use std::collections::BTreeMap;
use tests::{Account, Socket, content, until};

/// Checks the server that `account` is at, over `stores`, against what was promised.
pub(super) async fn check(plan: &Plan, promises: &Promises, account: &Account, stores: &Stores) {
    let visible = visible(plan, promises, account).await;
    for (name, completed) in &promises.completed {
        let file = visible.get(*name);
        let file = file.unwrap_or_else(|| panic!("{name} was completed and is lost"));
        for field in ["file_id", "upload_id", "digest"] {
            assert_eq!(file[field], completed[field], "{name}");
        }
    }
    for name in &promises.stored {
        assert_eq!(visible[*name]["status"], "uploaded_successfully", "{name}");
    }
    let mut socket = finish(plan, promises, account).await;
    until_all_stored(plan, account).await;
    each_told_once(plan, &mut socket).await;
    nothing_is_left_over(plan, account, stores).await;
}

/// What is listed, by name. All of it must be whole, and completed by a client.
async fn visible(plan: &Plan, promises: &Promises, account: &Account) -> BTreeMap<String, Value> {
    let mut visible = BTreeMap::new();
    for file in account.files().await {
        let name = file["name"].as_str().unwrap().to_owned();
        assert!(
            promises.asked.contains(&*name),
            "{name} was never completed"
        );
        let data = &plan.file(&name).data;
        assert_eq!(file["digest"], content::sha256(data).to_string(), "{file}");
        assert_eq!(file["size"], data.len(), "{file}");
        let found = account.content(file["file_id"].as_str().unwrap()).await;
        assert!(found == *data, "{name} has another content");
        let twice = visible.insert(name, file);
        assert!(twice.is_none(), "{twice:?} is there twice");
    }
    visible
}

/// Finishes every upload by its key; answers a socket on which everything is told from the beginning.
async fn finish(plan: &Plan, promises: &Promises, account: &Account) -> Socket {
    let (mut socket, connected) = Socket::connect_since(account, promises.since.clone()).await;
    assert!(
        promises.since.is_null() || connected["topics"][0]["recovered"] == true,
        "{connected}"
    );
    for (stream, planned) in (1..).zip(&plan.files) {
        let (name, data) = (planned.name, &planned.data);
        let started = socket.ask(plan.start(name, stream)).await;
        assert_eq!(started["type"], "transfer-started", "{name}: {started}");
        if let Some(completed) = promises.completed.get(name) {
            assert_eq!(started["upload_id"], completed["upload_id"], "{name}");
        }
        if started["status"] != "open" {
            continue;
        }
        let held = usize::try_from(started["offset"].as_u64().unwrap()).unwrap();
        socket.send_content(stream, data, held).await;
        let completed = socket.complete(stream).await;
        assert_eq!(completed["type"], "upload-completed", "{name}: {completed}");
        assert_eq!(completed["digest"], content::sha256(data).to_string());
    }
    socket
}

async fn until_all_stored(plan: &Plan, account: &Account) {
    let files = until("every file to be stored", async || {
        let files = account.files().await;
        let stored = |file: &Value| file["status"] == "uploaded_successfully";
        files.iter().all(stored).then_some(files)
    })
    .await;
    assert_eq!(files.len(), plan.files.len(), "{files:?}");
    for planned in &plan.files {
        let mut named = files.iter().filter(|file| file["name"] == planned.name);
        let file = named.next().expect("it is listed");
        assert_eq!(named.next(), None, "one file for each key");
        assert_eq!(file["attempts"], 1, "a power cut costs no attempt: {file}");
        let found = account.content(file["file_id"].as_str().unwrap()).await;
        assert!(
            found == planned.data,
            "{} has another content",
            planned.name
        );
    }
}

/// Before the cut and after it together, everything was told once.
async fn each_told_once(plan: &Plan, socket: &mut Socket) {
    let mut told = Vec::new();
    while told.len() < 2 * plan.files.len() {
        let notification = socket.receive_notification().await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        told.push((
            text(&notification["data"]["name"]),
            text(&notification["event"]),
        ));
    }
    let more = socket.settle().await;
    let more: Vec<_> = more
        .iter()
        .filter(|message| message["type"] == "notification")
        .collect();
    assert!(more.is_empty(), "{more:?}");
    told.sort();
    let events = ["file.cached", "file.uploaded_successfully"];
    let names = plan.files.iter().map(|planned| planned.name);
    let mut wanted: Vec<_> = names
        .flat_map(|name| events.map(|event| (name.to_owned(), event.to_owned())))
        .collect();
    wanted.sort();
    assert_eq!(told, wanted);
}

/// Nothing is in the stores that belongs to no file.
async fn nothing_is_left_over(plan: &Plan, account: &Account, stores: &Stores) {
    let chunks = stores.chunks().await.unwrap();
    until("the chunk cache to be freed", async || {
        chunks.list().await.unwrap().is_empty().then_some(())
    })
    .await;
    let blobs = stores.blobs().await.unwrap();
    let blobs: Vec<_> = blobs.list().await.unwrap().try_collect().await.unwrap();
    let blobs: BTreeMap<_, _> = blobs
        .iter()
        .map(|blob| (blob.file.to_string(), blob.size))
        .collect();
    let files = account.files().await;
    let sizes = files.iter().map(|file| {
        let data = &plan.file(file["name"].as_str().unwrap()).data;
        (
            file["file_id"].as_str().unwrap().to_owned(),
            data.len() as u64,
        )
    });
    assert_eq!(blobs, sizes.collect());
}
