//! What happens until the power is cut, and what clients are told meanwhile.

use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};
use storage::chunks::ChunkCache;
use tests::{Account, Socket, content, until};
use tokio::sync::watch;

/// The files of the scenario.
pub(super) struct Plan {
    pub(super) files: Vec<Planned>,
}

/// A file of the scenario.
pub(super) struct Planned {
    pub(super) name: &'static str,
    pub(super) data: Vec<u8>,
}

/// What a client had been told or had done at some moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Promises {
    /// Where the user's topic stood in the beginning.
    pub(super) since: Value,
    /// Files whose completion was asked for.
    pub(super) asked: BTreeSet<&'static str>,
    /// The `upload-completed` of files.
    pub(super) completed: BTreeMap<&'static str, Value>,
    /// Files that were said to be uploaded successfully.
    pub(super) stored: BTreeSet<&'static str>,
}

impl Plan {
    pub(super) fn new() -> Self {
        let sizes = [
            ("pipelined", 1),
            ("stepwise", 5_000),
            ("resumed", 100_000),
            ("one twin", 70_000),
            ("other twin", 70_001),
            ("left", 40_000),
        ];
        let planned = |(seed, (name, size))| Planned {
            name,
            data: content::bytes(seed, size),
        };
        Self {
            files: (1..).zip(sizes).map(planned).collect(),
        }
    }

    pub(super) fn file(&self, name: &str) -> &Planned {
        let found = self.files.iter().find(|planned| planned.name == name);
        found.unwrap_or_else(|| panic!("no client has sent a file {name:?}"))
    }

    /// What starts, or finds again, the upload of a file.
    pub(super) fn start(&self, name: &str, stream: u32) -> Value {
        let number = self.files.iter().position(|planned| planned.name == name);
        json!({
            "type": "start-transfer",
            "stream": stream,
            "key": format!("01920b6e-7c00-7000-8000-{:012}", number.expect("a file of the plan")),
            "name": name,
            "size": self.file(name).data.len(),
        })
    }
}

/// The scenario, until it is over or the power is cut.
pub(super) struct Life<'a> {
    plan: &'a Plan,
    account: Account,
    is_cut: watch::Receiver<bool>,
    promises: Arc<Mutex<Promises>>,
    at_cut: Arc<Mutex<Promises>>,
}

impl<'a> Life<'a> {
    pub(super) fn new(plan: &'a Plan, account: Account, is_cut: watch::Receiver<bool>) -> Self {
        Self {
            plan,
            account,
            is_cut,
            promises: Arc::default(),
            at_cut: Arc::default(),
        }
    }

    /// What has been promised so far.
    pub(super) fn promises(&self) -> Arc<Mutex<Promises>> {
        self.promises.clone()
    }

    /// What had been promised when the power was cut.
    pub(super) fn promises_at_cut(&self) -> Arc<Mutex<Promises>> {
        self.at_cut.clone()
    }

    fn note(&self, note: impl FnOnce(&mut Promises)) {
        note(&mut self.promises.lock().unwrap());
    }

    /// Sends every file; ends when all but the last are stored and freed.
    pub(super) async fn live(&self, chunks: &dyn ChunkCache) {
        let (mut socket, connected) = Socket::connect_since(&self.account, Value::Null).await;
        let topic = &connected["topics"][0];
        let since = json!({topic["topic"].as_str().unwrap(): {"epoch": topic["epoch"], "offset": topic["offset"]}});
        self.note(|promises| promises.since = since);
        self.pipelined(&mut socket).await;
        self.stepwise(&mut socket).await;
        self.resumed(socket).await;
        let mut socket = Socket::connect(&self.account).await;
        self.twins(&mut socket).await;
        self.left(&mut socket).await;
        until("all but one upload to be freed", async || {
            (chunks.list().await.unwrap().len() == 1).then_some(())
        })
        .await;
    }

    /// Start, chunk and completion at once.
    async fn pipelined(&self, socket: &mut Socket) {
        let name = "pipelined";
        socket.send(with_id(self.plan.start(name, 1), 101)).await;
        socket.send_chunk(1, 0, &self.plan.file(name).data).await;
        self.send_complete(socket, name, 1, 102).await;
        self.completed(socket, name, 102).await;
        self.stored(socket, name).await;
    }

    /// Each step after the answer to the one before.
    async fn stepwise(&self, socket: &mut Socket) {
        let (name, data) = ("stepwise", &self.plan.file("stepwise").data);
        let started = socket.ask(self.plan.start(name, 2)).await;
        self.expect(started, "transfer-started").await;
        for (at, piece) in [(0, &data[..2000]), (2000, &data[2000..])] {
            socket.send_chunk(2, at, piece).await;
            socket.acked(2, at + piece.len()).await;
        }
        self.send_complete(socket, name, 2, 103).await;
        self.completed(socket, name, 103).await;
        self.stored(socket, name).await;
    }

    /// Half on one socket, the rest on another.
    async fn resumed(&self, mut socket: Socket) {
        let (name, data) = ("resumed", &self.plan.file("resumed").data);
        let started = socket.ask(self.plan.start(name, 3)).await;
        let started = self.expect(started, "transfer-started").await;
        socket.send_chunk(3, 0, &data[..50_000]).await;
        socket.acked(3, 50_000).await;
        socket.cut();
        let mut socket = Socket::connect(&self.account).await;
        let resumed = socket.resume(3, &started["upload_id"]).await;
        let resumed = self.expect(resumed, "transfer-started").await;
        assert_eq!(resumed["offset"], 50_000);
        socket.send_chunk(3, 50_000, &data[50_000..]).await;
        self.send_complete(&mut socket, name, 3, 104).await;
        self.completed(&mut socket, name, 104).await;
        self.stored(&mut socket, name).await;
    }

    /// Two uploads on one socket, their chunks taking turns.
    async fn twins(&self, socket: &mut Socket) {
        let twins = [("one twin", 4), ("other twin", 5)];
        for (name, stream) in twins {
            let id = i64::from(stream) + 100;
            socket
                .send(with_id(self.plan.start(name, stream), id))
                .await;
        }
        for piece in 0..4 {
            for (name, stream) in twins {
                let data = &self.plan.file(name).data;
                let (from, to) = (piece * 20_000, data.len().min((piece + 1) * 20_000));
                socket.send_chunk(stream, from, &data[from..to]).await;
            }
        }
        for (name, stream) in twins {
            self.send_complete(socket, name, stream, 200 + i64::from(stream))
                .await;
        }
        for (name, stream) in twins {
            self.completed(socket, name, 200 + i64::from(stream)).await;
        }
        for (name, _) in twins {
            self.stored(socket, name).await;
        }
    }

    /// An upload that nobody completes.
    async fn left(&self, socket: &mut Socket) {
        let started = socket.ask(self.plan.start("left", 6)).await;
        self.expect(started, "transfer-started").await;
        socket
            .send_chunk(6, 0, &self.plan.file("left").data[..15_000])
            .await;
        socket.acked(6, 15_000).await;
    }

    async fn send_complete(&self, socket: &mut Socket, name: &'static str, stream: u32, id: i64) {
        self.note(|promises| promises.asked.extend([name]));
        let complete = json!({"type": "complete-upload", "stream": stream});
        socket.send(with_id(complete, id)).await;
    }

    async fn completed(&self, socket: &mut Socket, name: &'static str, id: i64) {
        let reply = socket
            .receive("a completion", |message| message["id"] == id)
            .await;
        let reply = self.expect(reply, "upload-completed").await;
        self.note(|promises| promises.completed.extend([(name, reply)]));
    }

    async fn stored(&self, socket: &mut Socket, name: &'static str) {
        let stored = |message: &Value| {
            message["event"] == "file.uploaded_successfully" && message["data"]["name"] == name
        };
        socket.receive("the file to be stored", stored).await;
        self.note(|promises| promises.stored.extend([name]));
    }

    /// Whatever goes wrong once the power is cut is as it should be: what else the client hears does not matter any more.
    async fn expect(&self, reply: Value, kind: &str) -> Value {
        if reply["type"] == kind {
            return reply;
        }
        assert!(*self.is_cut.borrow(), "{reply}");
        std::future::pending().await
    }
}

fn with_id(mut message: Value, id: i64) -> Value {
    message["id"] = id.into();
    message
}
