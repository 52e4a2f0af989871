//! Storing a file fails: what is tried again, what is not, what counts as an attempt, and who is told.

use protocol::UploadId;
use serde_json::{Value, json};
use sluice::{Settings, Stores};
use std::sync::Arc;
use storage::{
    blobs::BlobError,
    chunks::{ChunkCache, SealedContent},
    faults::{BlobCall, FaultyBlobs, Script},
};
use tempfile::TempDir;
use tests::{Account, Embedded, Socket, content, until};

/// A server whose blob store fails to order.
struct Faulty {
    server: Embedded,
    settings: Settings,
    stores: Stores,
    chunks: Arc<dyn ChunkCache>,
    /// What the blob store is told.
    blobs: Script<BlobCall, BlobError>,
    _data: TempDir,
}

impl Faulty {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut settings = Embedded::settings(data.path());
        change(&mut settings);
        let stores = Stores::new(&settings);
        let faulty = FaultyBlobs::new(stores.blobs().await.unwrap());
        let blobs = faulty.script();
        let chunks = stores.chunks().await.unwrap();
        let stores = stores.with_blobs(Arc::new(faulty));
        Self {
            chunks,
            server: Embedded::start(settings.clone(), stores.clone()).await,
            settings,
            stores,
            blobs,
            _data: data,
        }
    }

    /// Stops the server without finishing anything, and starts another on the same data.
    async fn restart(self) -> Self {
        let Self {
            server,
            settings,
            stores,
            chunks,
            blobs,
            _data,
        } = self;
        server.abort().await;
        // What was queued is lost with the process.
        let stores = stores.with_events(storage::open_events("local:").await.unwrap());
        Self {
            chunks,
            server: Embedded::start(settings.clone(), stores.clone()).await,
            settings,
            stores,
            blobs,
            _data,
        }
    }

    async fn account(&self, name: &str) -> Account {
        Account::signup(self.server.url(), name).await
    }

    async fn admin(&self) -> Account {
        self.server.admin(&self.settings, "root").await
    }

    fn chunks(&self) -> &dyn ChunkCache {
        &*self.chunks
    }

    async fn until_cache_is_empty(&self) {
        until("the chunk cache to be freed", async || {
            self.chunks().list().await.unwrap().is_empty().then_some(())
        })
        .await;
    }

    fn puts(&self) -> usize {
        self.blobs.calls(BlobCall::Put)
    }
}

/// The next notification of this event about this upload.
async fn told(socket: &mut Socket, event: &str, upload: &Value) -> Value {
    let notification = socket
        .receive(event, |message| {
            message["type"] == "notification"
                && message["event"] == event
                && message["data"]["upload_id"] == upload["upload_id"]
        })
        .await;
    notification["data"].clone()
}

/// What is told of an upload from its beginning, on a topic that was followed since then, to its end.
async fn story(socket: &mut Socket, upload: &Value) -> Vec<Value> {
    let mut story = Vec::new();
    loop {
        let notification = socket
            .receive("what becomes of the file", |message| {
                message["type"] == "notification"
                    && message["data"]["upload_id"] == upload["upload_id"]
            })
            .await;
        let status = notification["data"]["status"].clone();
        story.push(notification);
        if status == "uploaded_successfully" || status == "upload_failed" {
            return story;
        }
    }
}

fn events(story: &[Value]) -> Vec<&str> {
    story
        .iter()
        .map(|notification| notification["event"].as_str().unwrap())
        .collect()
}

/// Asserts that the account has exactly one file, stored whole at this attempt.
async fn assert_stored(account: &Account, upload: &Value, data: &[u8], attempts: u32) {
    let files = account.files().await;
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(files[0]["file_id"], upload["file_id"]);
    assert_eq!(files[0]["status"], "uploaded_successfully");
    assert_eq!(files[0]["attempts"], attempts, "{}", files[0]);
    assert_eq!(files[0]["reason"], Value::Null);
    assert_eq!(files[0]["digest"], content::sha256(data).to_string());
    assert_eq!(
        account.content(upload["file_id"].as_str().unwrap()).await,
        data
    );
}

/// Asserts that the file failed for good, is listed so and gone.
async fn assert_failed(
    faulty: &Faulty,
    account: &Account,
    upload: &Value,
    attempts: u32,
    reason: &str,
) {
    faulty.until_cache_is_empty().await;
    let files = account.files().await;
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(files[0]["status"], "upload_failed");
    assert_eq!(files[0]["attempts"], attempts, "{}", files[0]);
    assert!(
        files[0]["reason"].as_str().unwrap().contains(reason),
        "{}",
        files[0]
    );
    let path = format!(
        "/api/v1/files/{}/content",
        upload["file_id"].as_str().unwrap()
    );
    assert_eq!(account.get(&path).await.status(), 404);
    let state = account
        .get_json(&format!(
            "/api/v1/uploads/{}",
            upload["upload_id"].as_str().unwrap()
        ))
        .await;
    assert_eq!(state["status"], "upload_failed");
}

async fn followed_by_admin(admin: &Account) -> Socket {
    let mut socket = Socket::connect(admin).await;
    let subscribed = socket
        .ask(json!({"type": "subscribe", "topic": "admin"}))
        .await;
    assert_eq!(subscribed["type"], "subscribed", "{subscribed}");
    socket
}

#[tokio::test]
async fn a_store_that_fails_once_is_tried_again() {
    let faulty = Faulty::start().await;
    faulty.blobs.fail_next(BlobCall::Put, 1, || {
        BlobError::Failed("a bad sector".to_owned())
    });
    let account = faulty.account("ada").await;
    let mut socket = Socket::connect(&account).await;
    let data = content::bytes(1, 10_000);
    let upload = socket.upload(1, "a.dat", &data).await;

    let retrying = told(&mut socket, "file.retrying", &upload).await;
    assert_eq!(retrying["attempt"], 1);
    assert_eq!(retrying["status"], "retrying");
    assert!(
        retrying["reason"]
            .as_str()
            .unwrap()
            .contains("a bad sector"),
        "{retrying}"
    );
    let stored = told(&mut socket, "file.uploaded_successfully", &upload).await;
    assert_eq!(
        (&stored["attempt"], &stored["reason"]),
        (&json!(2), &Value::Null)
    );

    assert_stored(&account, &upload, &data, 2).await;
    faulty.until_cache_is_empty().await;
    assert_eq!(faulty.puts(), 2);
    drop(socket);
    faulty.server.stop().await;
}

#[tokio::test]
async fn a_store_that_always_fails_is_tried_three_times() {
    let faulty = Faulty::start().await;
    faulty.blobs.fail_always(BlobCall::Put, || {
        BlobError::Failed("a bad sector".to_owned())
    });
    let mut admin = followed_by_admin(&faulty.admin().await).await;
    let account = faulty.account("ada").await;
    let mut socket = Socket::connect(&account).await;
    let upload = socket.upload(1, "a.dat", &content::bytes(1, 10_000)).await;

    for socket in [&mut socket, &mut admin] {
        let story = story(socket, &upload).await;
        let expected = [
            "file.cached",
            "file.retrying",
            "file.retrying",
            "file.upload_failed",
        ];
        assert_eq!(events(&story), expected);
        let attempts: Vec<_> = story
            .iter()
            .map(|told| told["data"]["attempt"].clone())
            .collect();
        assert_eq!(attempts, [Value::Null, json!(1), json!(2), json!(3)]);
        for failed in &story[1..] {
            assert!(
                failed["data"]["reason"]
                    .as_str()
                    .unwrap()
                    .contains("a bad sector"),
                "{failed}"
            );
        }
    }
    assert_failed(&faulty, &account, &upload, 3, "a bad sector").await;
    assert_eq!(faulty.puts(), 3);
    drop((admin, socket));
    faulty.server.stop().await;
}

#[tokio::test]
async fn a_full_store_is_waited_for_and_costs_no_attempt() {
    let faulty = Faulty::start().await;
    faulty.blobs.fail_always(BlobCall::Put, || {
        BlobError::Full("0 bytes are left".to_owned())
    });
    let account = faulty.account("ada").await;
    let mut socket = Socket::connect(&account).await;
    let data = content::bytes(1, 10_000);
    let upload = socket.upload(1, "a.dat", &data).await;
    until("several tries", async || (faulty.puts() > 3).then_some(())).await;
    faulty.blobs.heal();
    told(&mut socket, "file.uploaded_successfully", &upload).await;
    assert_stored(&account, &upload, &data, 1).await;
    drop(socket);
    faulty.server.stop().await;
}

#[tokio::test]
async fn damaged_content_is_not_tried_again() {
    let faulty = Faulty::start().await;
    let gate = faulty.blobs.gate(BlobCall::Put);
    let account = faulty.account("ada").await;
    let mut socket = Socket::connect(&account).await;
    let upload = socket.upload(1, "a.dat", &content::bytes(1, 10_000)).await;
    gate.reached(1).await;
    let id: UploadId = upload["upload_id"].as_str().unwrap().parse().unwrap();
    let SealedContent::File(sealed) = faulty.chunks().sealed(id).await.unwrap() else {
        panic!("a cache on disk seals into files");
    };
    let sealed = std::fs::File::options().write(true).open(sealed).unwrap();
    sealed.set_len(9_999).unwrap();
    gate.open();

    let story = story(&mut socket, &upload).await;
    assert_eq!(events(&story), ["file.cached", "file.upload_failed"]);
    assert_failed(&faulty, &account, &upload, 1, "bytes").await;
    assert_eq!(faulty.puts(), 1);
    drop(socket);
    faulty.server.stop().await;
}

#[tokio::test]
async fn an_unreachable_store_costs_no_attempt() {
    let faulty = Faulty::start().await;
    faulty.blobs.unreachable();
    let account = faulty.account("ada").await;
    let mut socket = Socket::connect(&account).await;
    let data = content::bytes(1, 10_000);
    let upload = socket.upload(1, "a.dat", &data).await;
    until("several probes of the store", async || {
        (faulty.blobs.calls(BlobCall::Ping) >= 4).then_some(())
    })
    .await;

    let ready = tests::account::http().get(format!("{}/readyz", faulty.server.url()));
    let ready = ready.send().await.unwrap();
    assert_eq!(ready.status(), 503);
    let problem: Value = ready.json().await.unwrap();
    let reason = problem["checks"]["file-manager"].as_str().unwrap();
    assert!(
        reason.contains("unreachable: by order of the test"),
        "{problem}"
    );

    // Others go on uploading, and what is cached can be read.
    let other = faulty.account("bob").await;
    let mut others = Socket::connect(&other).await;
    let others_data = content::bytes(2, 200_000);
    let others_upload = others.upload(1, "b.dat", &others_data).await;
    for (account, upload, data) in [
        (&account, &upload, &data),
        (&other, &others_upload, &others_data),
    ] {
        let files = account.files().await;
        assert!(
            matches!(files[0]["status"].as_str(), Some("cached" | "storing")),
            "{files:?}"
        );
        assert_eq!(
            &account.content(upload["file_id"].as_str().unwrap()).await,
            data
        );
    }

    faulty.blobs.heal();
    for (socket, upload) in [(&mut socket, &upload), (&mut others, &others_upload)] {
        let story = story(socket, upload).await;
        assert_eq!(
            events(&story),
            ["file.cached", "file.uploaded_successfully"]
        );
        assert_eq!(story[1]["data"]["attempt"], 1);
    }
    assert_stored(&account, &upload, &data, 1).await;
    assert_stored(&other, &others_upload, &others_data, 1).await;
    let ready = tests::account::http().get(format!("{}/readyz", faulty.server.url()));
    assert_eq!(ready.send().await.unwrap().status(), 200);
    drop((socket, others));
    faulty.server.stop().await;
}

#[tokio::test]
async fn attempts_are_counted_across_restarts() {
    // Long enough for the first restart to come before the second attempt.
    let faulty = Faulty::start_with(|settings| {
        settings.uploader.retry_backoff = service_kit::config::Millis(1000);
    });
    let faulty = faulty.await;
    faulty.blobs.fail_next(BlobCall::Put, 1, || {
        BlobError::Failed("a bad sector".to_owned())
    });
    let account = faulty.account("ada").await;
    let (mut socket, connected) = Socket::connect_since(&account, Value::Null).await;
    let data = content::bytes(1, 10_000);
    let upload = socket.upload(1, "a.dat", &data).await;
    told(&mut socket, "file.retrying", &upload).await;

    // Killed between the first attempt and the second.
    let faulty = faulty.restart().await;
    assert_eq!(
        faulty.puts(),
        1,
        "the restart was meant to come before the second attempt"
    );
    let second = faulty.blobs.gate(BlobCall::Put);
    second.reached(1).await;
    // Killed in the middle of the second.
    let faulty = faulty.restart().await;
    second.reached(2).await;
    second.open();

    let account = account.at(faulty.server.url());
    let topic = &connected["topics"][0];
    let since = json!({topic["topic"].as_str().unwrap(): {"epoch": topic["epoch"], "offset": topic["offset"]}});
    let (mut socket, _) = Socket::connect_since(&account, since).await;
    let story = story(&mut socket, &upload).await;
    assert_eq!(
        events(&story),
        ["file.cached", "file.retrying", "file.uploaded_successfully"]
    );
    assert_eq!(story[2]["data"]["attempt"], 2);
    assert_stored(&account, &upload, &data, 2).await;
    drop(socket);
    faulty.server.stop().await;
}
