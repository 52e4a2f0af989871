//! Notifications: numbered, in order, none twice and none missing, whatever happens to sockets and servers.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use tests::{Account, Server, Socket, content, until};

/// What a client knows of a topic: where it stands and everything it was told.
#[derive(Default)]
struct Inbox {
    epoch: String,
    offset: u64,
    /// The events of each file, in order.
    events: BTreeMap<String, Vec<String>>,
}

impl Inbox {
    fn new(state: &Value) -> Self {
        Self {
            epoch: state["epoch"].as_str().expect("an epoch").to_owned(),
            offset: state["offset"].as_u64().expect("an offset"),
            events: BTreeMap::new(),
        }
    }

    /// Where the client stands, as it tells when it comes back.
    fn position(&self) -> Value {
        json!({"epoch": self.epoch, "offset": self.offset})
    }

    /// Takes a notification, which must be the next one.
    fn take(&mut self, notification: &Value) {
        assert_eq!(notification["epoch"], self.epoch, "{notification}");
        assert_eq!(
            notification["offset"],
            self.offset + 1,
            "after {}: {notification}",
            self.offset
        );
        self.offset += 1;
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let events = self
            .events
            .entry(text(&notification["data"]["name"]))
            .or_default();
        events.push(text(&notification["event"]));
    }

    /// Reads until this many notifications were taken in all.
    async fn read_to(&mut self, socket: &mut Socket, offset: u64) {
        while self.offset < offset {
            self.take(&socket.receive_notification().await);
        }
    }

    /// Every file must have been cached, then stored, and nothing else.
    fn complete(&self, files: usize) {
        assert_eq!(self.events.len(), files, "{:?}", self.events.keys());
        for (name, events) in &self.events {
            assert_eq!(
                events[..],
                ["file.cached", "file.uploaded_successfully"],
                "{name}"
            );
        }
    }
}

fn own(account: &Account) -> String {
    format!("user:{}", account.grant.user_id)
}

/// Connects with what the inbox knows; answers the topic's state.
async fn back(account: &Account, inbox: &Inbox) -> (Socket, Value) {
    let since = json!({own(account): inbox.position()});
    let (socket, connected) = Socket::connect_since(account, since).await;
    (socket, connected["topics"][0].clone())
}

/// Uploads small files on a socket of their own, and waits until all are stored.
async fn upload(account: &Account, names: impl IntoIterator<Item = String>) {
    let mut socket = Socket::connect(account).await;
    let mut stored = 0;
    for (stream, name) in (1..).zip(names) {
        let data = content::bytes(u64::from(stream), 100 + 10 * stream as usize);
        socket.upload(stream, &name, &data).await;
        stored += 1;
    }
    for _ in 0..stored {
        socket
            .receive("the file to be stored", |message| {
                message["event"] == "file.uploaded_successfully"
            })
            .await;
    }
}

fn names(prefix: &'static str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("{prefix}-{number}.dat"))
}

#[tokio::test]
async fn a_notification_says_what_became_of_a_file() {
    let server = Server::start().await;
    let ada = Account::signup(&server.url(), "ada").await;
    let (mut socket, connected) = Socket::connect_since(&ada, Value::Null).await;
    let state = &connected["topics"][0];
    assert_eq!(
        (&state["topic"], &state["offset"], &state["recovered"]),
        (&json!(own(&ada)), &json!(0), &json!(false))
    );
    let data = content::bytes(1, 3000);
    let completed = socket.upload(1, "a.dat", &data).await;
    for (offset, event, status, attempt) in [
        (1, "file.cached", "cached", json!(null)),
        (
            2,
            "file.uploaded_successfully",
            "uploaded_successfully",
            json!(1),
        ),
    ] {
        let notification = socket.receive_notification().await;
        assert_eq!(
            notification,
            json!({
                "type": "notification", "topic": own(&ada), "epoch": state["epoch"], "offset": offset,
                "event": event, "time": notification["time"],
                "data": {
                    "upload_id": completed["upload_id"], "file_id": completed["file_id"], "name": "a.dat",
                    "size": 3000, "digest": content::sha256(&data).to_string(), "status": status,
                    "owner": {"id": ada.grant.user_id, "name": "ada"}, "pool": null, "attempt": attempt, "reason": null,
                },
            })
        );
        assert!(
            notification["time"]
                .as_str()
                .is_some_and(|time| time.ends_with('Z'))
        );
    }
}

#[tokio::test]
async fn what_was_missed_comes_in_order_after_reconnecting() {
    let mut server = Server::start().await;
    let ada = Account::signup(&server.url(), "ada").await;
    let (mut first, connected) = Socket::connect_since(&ada, Value::Null).await;
    let mut inbox = Inbox::new(&connected["topics"][0]);
    first.upload(1, "here.dat", b"seen while here").await;
    inbox.read_to(&mut first, 2).await;
    first.cut();
    // Away once, and once more across a crash of the server.
    upload(&ada, names("away", 5)).await;
    let (mut second, state) = back(&ada, &inbox).await;
    assert_eq!(
        (&state["offset"], &state["recovered"]),
        (&json!(12), &json!(true)),
        "{state}"
    );
    inbox.read_to(&mut second, 12).await;
    second.cut();
    upload(&ada, names("before", 3)).await;
    server.kill();
    server.restart().await;
    upload(&ada, names("after", 3)).await;
    let (mut third, state) = back(&ada, &inbox).await;
    assert_eq!(
        (&state["offset"], &state["recovered"]),
        (&json!(24), &json!(true)),
        "{state}"
    );
    inbox.read_to(&mut third, 24).await;
    inbox.complete(12);
    // Nothing is told twice: what comes next is the next file.
    third.upload(1, "last.dat", b"the last one").await;
    inbox.read_to(&mut third, 26).await;
    inbox.complete(13);
}

#[tokio::test]
async fn recovered_is_a_yes_or_a_no() {
    let settings = [("SLUICE_GATEWAY__REPLAY_LIMIT", "4")];
    let server = Server::start_with(&settings).await;
    let ada = Account::signup(&server.url(), "ada").await;
    upload(&ada, names("old", 4)).await;
    let (_, connected) = Socket::connect_since(&ada, Value::Null).await;
    let head = Inbox::new(&connected["topics"][0]);
    assert_eq!(
        (head.offset, &connected["topics"][0]["recovered"]),
        (8, &json!(false))
    );
    let at = |epoch: &str, offset: u64| json!({"epoch": epoch, "offset": offset});
    for (since, recovered) in [
        (at(&head.epoch, 8), true),
        (at(&head.epoch, 4), true),
        // Too far behind, ahead of what there is, or of another history.
        (at(&head.epoch, 3), false),
        (at(&head.epoch, 0), false),
        (at(&head.epoch, 9), false),
        (at(&head.epoch, u64::MAX), false),
        (at("another", 8), false),
        (at("", 6), false),
    ] {
        let described = since.to_string();
        let (mut socket, connected) = Socket::connect_since(&ada, json!({own(&ada): since})).await;
        let state = &connected["topics"][0];
        assert_eq!(
            (&state["recovered"], &state["offset"], &state["epoch"]),
            (&json!(recovered), &json!(8), &json!(head.epoch)),
            "{described}"
        );
        let expected = if recovered {
            8 - since["offset"].as_u64().unwrap()
        } else {
            0
        };
        for missed in 0..expected {
            let offset = socket.receive_notification().await["offset"].clone();
            assert_eq!(offset, 8 - expected + 1 + missed, "{described}");
        }
        assert_eq!(socket.settle().await, [json!(null); 0], "{described}");
    }
    // Topics that nobody may hear are no reason to refuse.
    let other = json!({"user:01920000-0000-7000-8000-000000000000": at(&head.epoch, 1)});
    let (_, connected) = Socket::connect_since(&ada, other).await;
    assert_eq!(connected["topics"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn replay_precedes_what_is_live() {
    const FILES: usize = 60;
    let server = Server::start().await;
    let ada = Account::signup(&server.url(), "ada").await;
    let (socket, connected) = Socket::connect_since(&ada, Value::Null).await;
    let start = Inbox::new(&connected["topics"][0]);
    socket.cut();
    let uploading = tokio::spawn({
        let ada = ada.clone();
        async move {
            tokio::join!(
                upload(&ada, names("a", FILES / 3)),
                upload(&ada, names("b", FILES / 3)),
                upload(&ada, names("c", FILES / 3))
            )
        }
    });
    // Clients come back again and again while files arrive, from the beginning or from where they were.
    let mut restless = Inbox::new(&connected["topics"][0]);
    while restless.offset < 2 * FILES as u64 {
        let (mut socket, state) = back(&ada, &restless).await;
        assert_eq!(state["recovered"], true);
        let goal = restless.offset + 7;
        restless
            .read_to(&mut socket, goal.min(2 * FILES as u64))
            .await;
        socket.cut();
    }
    restless.complete(FILES);
    uploading.await.unwrap();
    let mut late = start;
    let (mut socket, _) = back(&ada, &late).await;
    late.read_to(&mut socket, 2 * FILES as u64).await;
    late.complete(FILES);
}

#[tokio::test]
async fn every_socket_of_a_user_hears_everything() {
    const FILES: u64 = 10;
    let server = Server::start().await;
    let ada = Account::signup(&server.url(), "ada").await;
    let mut listeners = Vec::new();
    for _ in 0..20 {
        let (socket, connected) = Socket::connect_since(&ada, Value::Null).await;
        listeners.push((socket, Inbox::new(&connected["topics"][0])));
    }
    upload(&ada, names("a", FILES as usize)).await;
    for (socket, inbox) in &mut listeners {
        inbox.read_to(socket, 2 * FILES).await;
        inbox.complete(FILES as usize);
    }
}

#[tokio::test]
async fn admins_hear_of_every_file_of_their_tenant() {
    let server = Server::start().await;
    let ada = Account::signup(&server.url(), "ada").await;
    let bob = Account::signup(&server.url(), "bob").await;
    let root = server.admin("root").await;
    let (mut socket, connected) = Socket::connect_since(&root, Value::Null).await;
    assert_eq!(connected["user"]["role"], "admin");
    assert_eq!(
        connected["topics"].as_array().map(Vec::len),
        Some(1),
        "only by subscribe"
    );
    upload(&ada, names("early", 1)).await;
    let subscribed = socket
        .ask(json!({"type": "subscribe", "topic": "admin"}))
        .await;
    assert_eq!(
        (
            &subscribed["type"],
            &subscribed["topic"],
            &subscribed["offset"],
            &subscribed["recovered"]
        ),
        (
            &json!("subscribed"),
            &json!("admin"),
            &json!(2),
            &json!(false)
        ),
        "{subscribed}"
    );
    let mut inbox = Inbox::new(&subscribed);
    upload(&ada, names("ada", 2)).await;
    upload(&bob, names("bob", 2)).await;
    inbox.read_to(&mut socket, 10).await;
    inbox.complete(4);
    // Unsubscribed, it hears nothing; subscribed again, it is told what it missed, and once only if it subscribes twice.
    let unsubscribed = socket
        .ask(json!({"type": "unsubscribe", "topic": "admin"}))
        .await;
    assert_eq!(unsubscribed["type"], "unsubscribed", "{unsubscribed}");
    upload(&bob, names("later", 1)).await;
    assert_eq!(socket.settle().await, [json!(null); 0]);
    let since = inbox.position();
    let request = json!({"type": "subscribe", "topic": "admin", "since": since});
    let subscribed = socket.ask(request).await;
    assert_eq!(
        (&subscribed["offset"], &subscribed["recovered"]),
        (&json!(12), &json!(true)),
        "{subscribed}"
    );
    inbox.read_to(&mut socket, 12).await;
    let again = json!({"type": "subscribe", "topic": "admin", "since": inbox.position()});
    assert_eq!(socket.ask(again).await["recovered"], true);
    upload(&ada, names("last", 1)).await;
    inbox.read_to(&mut socket, 14).await;
    assert_eq!(socket.settle().await, [json!(null); 0]);
    // The files themselves are open to the admin as well.
    let history = socket
        .ask(json!({"type": "get-history", "user": bob.grant.user_id}))
        .await;
    assert_eq!(
        history["files"].as_array().map(Vec::len),
        Some(3),
        "{history}"
    );
    assert_eq!(root.files().await.len(), 7);
}

#[tokio::test]
async fn history_agrees_with_what_was_told() {
    let server = Server::start().await;
    let ada = Account::signup(&server.url(), "ada").await;
    upload(&ada, names("a", 5)).await;
    let mut socket = Socket::connect(&ada).await;
    let mut found = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let page = socket
            .ask(json!({"type": "get-history", "limit": 2, "cursor": cursor}))
            .await;
        let files = page["files"].as_array().unwrap();
        assert!(
            files.len() <= 2
                && files
                    .iter()
                    .all(|file| file["status"] == "uploaded_successfully")
        );
        found.extend(
            files
                .iter()
                .map(|file| file["name"].as_str().unwrap().to_owned()),
        );
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    let newest_first: Vec<_> = names("a", 5)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect();
    assert_eq!(found, newest_first);
    let stored = json!({"type": "get-history", "status": "uploaded_successfully"});
    assert_eq!(
        socket.ask(stored).await["files"].as_array().map(Vec::len),
        Some(5)
    );
    let failed = json!({"type": "get-history", "status": "upload_failed"});
    assert_eq!(socket.ask(failed).await["files"], json!([]));
    until("nothing to be cached", async || {
        server.cached().is_empty().then_some(())
    })
    .await;
}
