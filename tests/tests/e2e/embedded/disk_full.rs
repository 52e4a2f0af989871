//! The disk is full: before an upload, in the middle of one, and for the databases. What is stored is not harmed, and all goes
//! on when there is room again.

use serde_json::{Value, json};
use tests::{Account, Server, Socket, content, small_disk::SmallDisk, until};

const MIB: usize = 1 << 20;

/// The disk of each test, MiB.
const DISK: u32 = 24;

/// What uploads leave free.
const MIN_FREE: usize = MIB;

async fn server() -> Server {
    let settings = [("SLUICE_CHUNKS__MIN_FREE_BYTES", "1 MiB")];
    Server::start_on(SmallDisk::new(DISK), &settings).await
}

fn assert_storage_full(error: &Value) {
    assert_eq!(error["type"], "error", "{error}");
    assert_eq!(error["code"], "storage-full", "{error}");
    assert_eq!(error["retryable"], true, "{error}");
    assert!(error["retry_after_ms"].as_u64() > Some(0), "{error}");
}

/// Asserts that these files are there, whole, and no others.
async fn assert_files(account: &Account, files: &[(&Value, &[u8])]) {
    assert_eq!(account.files().await.len(), files.len());
    for (upload, data) in files {
        let found = account.content(upload["file_id"].as_str().unwrap()).await;
        assert!(found == *data, "{upload} has another content");
    }
}

async fn until_stored(account: &Account, files: usize) {
    until("the files to be stored", async || {
        let listed = account.files().await;
        let stored = |file: &Value| file["status"] == "uploaded_successfully";
        (listed.len() == files && listed.iter().all(stored)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_does_not_fit_is_refused_and_reserves_nothing() {
    let server = server().await;
    let account = Account::signup(&server.url(), "ada").await;
    let mut socket = Socket::connect(&account).await;
    let free = usize::try_from(server.disk().free()).unwrap();
    let refused = socket.start(1, "large.dat", free - MIN_FREE + 4096).await;
    assert_storage_full(&refused);
    assert!(server.cached().is_empty());
    assert!(account.files().await.is_empty());

    // Nothing of it is reserved: nearly as much still fits, beside some room for the databases.
    let size = free - 2 * MIN_FREE;
    let started = socket.start(2, "fits.dat", size).await;
    assert_eq!(started["type"], "transfer-started", "{started}");
    let data = content::bytes(1, size);
    socket.send_content(2, &data, 0).await;
    let completed = socket.complete(2).await;
    assert_eq!(completed["type"], "upload-completed", "{completed}");
    until_stored(&account, 1).await;
    assert_files(&account, &[(&completed, &data)]).await;
}

#[tokio::test]
async fn reservations_together_never_exceed_the_disk() {
    let server = server().await;
    let ada = Account::signup(&server.url(), "ada").await;
    let bob = Account::signup(&server.url(), "bob").await;
    let mut sockets = [Socket::connect(&ada).await, Socket::connect(&bob).await];
    let mut started = Vec::new();
    let refused = loop {
        let n = started.len();
        assert!(n < DISK as usize, "more was promised than the disk holds");
        let reply = sockets[n % 2].start(n as u32, "a.dat", 2 * MIB).await;
        if reply["type"] != "transfer-started" {
            break reply;
        }
        started.push(reply);
    };
    assert_storage_full(&refused);
    assert!(
        started.len() >= 8,
        "only {} MiB were promised",
        2 * started.len()
    );

    // What was promised can be had: everyone sends everything.
    let data = content::bytes(1, 2 * MIB);
    for n in 0..started.len() {
        sockets[n % 2].send_content(n as u32, &data, 0).await;
    }
    // Room that is given back is there for others.
    let aborted = sockets[0]
        .ask(json!({"type": "abort-upload", "stream": 0}))
        .await;
    assert_eq!(aborted["type"], "upload-aborted", "{aborted}");
    let again = sockets[1].start(99, "b.dat", 2 * MIB).await;
    assert_eq!(again["type"], "transfer-started", "{again}");
    for n in 1..started.len() {
        let completed = sockets[n % 2].complete(n as u32).await;
        assert_eq!(completed["type"], "upload-completed", "{completed}");
    }
    until_stored(&ada, started.len().div_ceil(2) - 1).await;
    until_stored(&bob, started.len() / 2).await;
}

#[tokio::test]
async fn an_upload_goes_on_when_there_is_room_again() {
    let server = server().await;
    let account = Account::signup(&server.url(), "ada").await;
    let mut socket = Socket::connect(&account).await;
    let before = content::bytes(1, MIB);
    let first = socket.upload(1, "before.dat", &before).await;
    until_stored(&account, 1).await;

    let data = content::bytes(2, 4 * MIB);
    let started = socket.start(2, "a.dat", data.len()).await;
    socket.send_chunk(2, 0, &data[..100_000]).await;
    socket.acked(2, 100_000).await;
    let filler = server.disk().fill(0);
    // The last page may have some room left.
    socket.send_chunk(2, 100_000, &data[100_000..300_000]).await;
    let error = socket.receive_error().await;
    assert_storage_full(&error);
    assert_eq!(error["stream"], 2);
    let expected = usize::try_from(error["expected"].as_u64().unwrap()).unwrap();
    assert_eq!(
        expected, 100_000,
        "nothing of a chunk counts that did not fit"
    );
    // What is sent behind it is dropped, and what was stored before is not harmed.
    socket.send_chunk(2, 300_000, &data[300_000..400_000]).await;
    assert_files(&account, &[(&first, &before)]).await;
    let state = account.upload(&started["upload_id"]).await;
    assert_eq!(
        (&state["status"], &state["offset"]),
        (&json!("open"), &json!(100_000))
    );

    drop(filler);
    socket.send_content(2, &data, expected).await;
    let completed = socket.complete(2).await;
    assert_eq!(
        completed["digest"],
        content::sha256(&data).to_string(),
        "{completed}"
    );
    assert_eq!(completed["upload_id"], started["upload_id"]);
    until_stored(&account, 2).await;
    assert_files(&account, &[(&first, &before), (&completed, &data)]).await;
}

#[tokio::test]
async fn databases_without_room_refuse_and_recover() {
    let mut server = server().await;
    let account = Account::signup(&server.url(), "ada").await;
    let mut socket = Socket::connect(&account).await;
    let before = content::bytes(1, MIB);
    let first = socket.upload(1, "before.dat", &before).await;
    until_stored(&account, 1).await;

    let data = content::bytes(2, 300_000);
    let key = "01920b6e-7c00-7000-8000-0000000000ab";
    let start = json!({"type": "start-transfer", "stream": 2, "key": key, "name": "a.dat", "size": data.len()});
    let started = socket.ask(start.clone()).await;
    assert_eq!(started["type"], "transfer-started", "{started}");
    socket.send_content(2, &data, 0).await;
    let filler = server.disk().fill(0);

    // Each is refused in a way that says that it can be tried again, and how long to wait.
    let asked = [
        json!({"type": "complete-upload", "stream": 2}),
        json!({"type": "start-transfer", "stream": 3, "name": "b.dat", "size": 10}),
        json!({"type": "complete-upload", "stream": 2}),
    ];
    for request in asked {
        let error = socket.ask(request.clone()).await;
        assert_eq!(error["type"], "error", "{request}: {error}");
        assert!(
            matches!(error["code"].as_str(), Some("storage-full" | "unavailable")),
            "{request}: {error}"
        );
        assert_eq!(error["retryable"], true, "{request}: {error}");
        assert!(
            error["retry_after_ms"].as_u64() > Some(0),
            "{request}: {error}"
        );
    }
    let signup = tests::account::http()
        .post(format!("{}/auth/signup", server.url()))
        .json(&json!({"user_name": "bob", "password": tests::PASSWORD}));
    let refused = signup.send().await.unwrap();
    assert!(
        matches!(refused.status().as_u16(), 503 | 507),
        "{}",
        refused.status()
    );
    let problem: Value = refused.json().await.unwrap();
    assert!(
        matches!(
            problem["code"].as_str(),
            Some("storage-full" | "unavailable")
        ),
        "{problem}"
    );
    // Reading needs no room.
    assert_files(&account, &[(&first, &before)]).await;

    // A kill in this state loses nothing either; there is room for a new process to start.
    drop(filler);
    let completed = socket.complete(2).await;
    assert_eq!(completed["type"], "upload-completed", "{completed}");
    until_stored(&account, 2).await;
    assert_files(&account, &[(&first, &before), (&completed, &data)]).await;
    Account::signup(&server.url(), "bob").await;

    server.restart().await;
    assert_files(&account, &[(&first, &before), (&completed, &data)]).await;
    let mut socket = Socket::connect(&account).await;
    let again = socket.ask(start).await;
    assert_eq!(again["status"], "uploaded_successfully", "{again}");
    assert_eq!(again["upload_id"], started["upload_id"]);
}

#[tokio::test]
async fn a_server_that_is_killed_on_a_full_disk_starts_again() {
    let mut server = server().await;
    let account = Account::signup(&server.url(), "ada").await;
    let mut socket = Socket::connect(&account).await;
    let before = content::bytes(1, MIB);
    let first = socket.upload(1, "before.dat", &before).await;
    until_stored(&account, 1).await;
    let data = content::bytes(2, 2 * MIB);
    let started = socket.start(2, "a.dat", data.len()).await;
    socket.send_chunk(2, 0, &data[..100_000]).await;
    socket.acked(2, 100_000).await;
    let filler = server.disk().fill(0);
    socket.send_chunk(2, 100_000, &data[100_000..200_000]).await;
    assert_storage_full(&socket.receive_error().await);

    server.kill();
    drop(filler);
    server.restart().await;
    assert_files(&account, &[(&first, &before)]).await;
    let mut socket = Socket::connect(&account).await;
    let resumed = socket.resume(1, &started["upload_id"]).await;
    assert_eq!(resumed["offset"], 100_000, "{resumed}");
    socket.send_content(1, &data, 100_000).await;
    let completed = socket.complete(1).await;
    assert_eq!(
        completed["digest"],
        content::sha256(&data).to_string(),
        "{completed}"
    );
    until_stored(&account, 2).await;
}
